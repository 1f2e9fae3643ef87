"""`Images`: labelled images with their split, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mobilenets.archs import Resolution
from mobilenets.data.content import Digests
from mobilenets.data.grey import Values
from mobilenets.data.preprocess import Preprocess
from mobilenets.data.read import GreyRange
from mobilenets.data.source import Source
from mobilenets.data.split import SPLITS, SplitRule
from mobilenets.tasks import Targets, Task
from mobilenets.tasks.targets import Indices


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Labelled images and which of them train, choose and report.

    `task` is what they are for, and names their classes or attributes; `targets` are of its kind.

    `train`, `holdout`, `val` and `test` index `source` and `targets`. `holdout` is a part of the
    training images for whatever chooses (early stop, best checkpoint); `val` and `test` only
    report, and `test` may be empty. `skipped` holds (name, reason) of the images that cannot be
    read. `digests` tell which images are copies: a number for each, of the bytes of its file; and
    `fingerprint` is of all of them, with their names, labels and given splits, wherever they lie.
    `native_size` is the median short side in pixels. `flip` says whether a mirrored image
    means the same. `origin` says where val and test come from. `notes` are sentences for the user:
    how the data was read, what was left out, what is odd about it. `values` say which values of
    deep grey are black and white, and how images of any shape are resized.
    """

    name: str
    task: Task
    source: Source
    targets: Targets
    train: Indices
    holdout: Indices
    val: Indices
    test: Indices
    skipped: tuple[tuple[str, str], ...]
    ignored: int
    native_size: int
    digests: Digests
    fingerprint: str
    flip: bool
    rule: SplitRule
    origin: dict[str, str]
    notes: tuple[str, ...] = ()
    values: Values = field(default_factory=Values)

    @property
    def seed(self) -> int:
        """The seed of the cuts that were made here."""
        return self.rule.seed

    @property
    def grey_range(self) -> GreyRange | None:
        """The values of 16-bit, 32-bit and float grey that are black and white (`read_image`)."""
        return self.values.grey_range

    def preprocess(self, resolution: Resolution) -> Preprocess:
        """The rule of a network that is trained on these images."""
        return Preprocess(resolution, grey_range=self.values.grey_range, resize=self.values.resize)

    def to_json(self) -> dict[str, Any]:
        """The record of what was read, what was skipped and why, and how it was split."""
        return {
            "name": self.name,
            "task": self.task.name,
            "classes": list(self.task.labels),
            "counts": {split: len(getattr(self, split)) for split in SPLITS},
            "class_counts": {split: self._class_counts(split) for split in SPLITS},
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
            "ignored": self.ignored,
            "notes": list(self.notes),
            "values": self.values.to_json(),
            "split": self._split_record(),
            "native_size": self.native_size,
            "flip": self.flip,
            "fingerprint": self.fingerprint,
        }

    def _class_counts(self, split: str) -> dict[str, int]:
        """How many images are of each class, or have each attribute."""
        return self.targets.take(getattr(self, split)).counts(self.task.labels)

    def _split_record(self) -> dict[str, Any]:
        cut = {"val_fraction": self.rule.val_fraction} if self.origin["val"] == "stratified" else {}
        return {
            **self.origin,
            "holdout": "stratified",
            **cut,
            "holdout_fraction": self.rule.holdout_fraction,
            "seed": self.seed,
        }
