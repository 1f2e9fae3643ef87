"""Several attributes an image, each there or not: a float32 table (N, A), 1, 0 or NaN for unknown;
sigmoid and binary cross-entropy, mean average precision (arXiv:1704.04861, section 4.5).

No attribute is weighted up where it is rare: the metric ranks images, which a weight does not
change for the better, and the sigmoids would not be probabilities any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision

from mobilenets.archs import Arch
from mobilenets.errors import DataError
from mobilenets.tasks.confidence import (
    CHANCE,
    FEW,
    Lost,
    chance_of_ranking,
    lost_on_average,
    middle,
    resampled_precision,
)
from mobilenets.tasks.geometry import Geometry
from mobilenets.tasks.targets import Indices, Shown, Strata, Targets
from mobilenets.tasks.task import Answer, Arrays, Floats, Outputs, percent, with_logits
from mobilenets.text import counted


@dataclass(frozen=True, slots=True, eq=False)
class AttributeTable:
    """What is known of each image: `values` float32 (N, A), 1 there, 0 not, NaN unknown."""

    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Indices) -> AttributeTable:
        return AttributeTable(self.values[indices])

    def strata(self) -> Strata:
        """By the rarest attribute that an image has; those that have none are one more."""
        has = self.values == 1
        by_rarity = np.argsort(has.sum(axis=0), kind="stable")
        rarest = np.where(has.any(axis=1), has[:, by_rarity].argmax(axis=1), has.shape[1])
        return Strata(rarest, np.logical_not(np.isnan(self.values).all(axis=1)))

    def counts(self, names: Sequence[str]) -> dict[str, int]:
        return dict(zip(names, (self.values == 1).sum(axis=0).tolist(), strict=True))

    def check_enough(self, names: Sequence[str], *, needed: int) -> None:
        """An attribute of which nothing is known may be for a teacher to tell."""
        for name, column in zip(names, self.values.T, strict=True):
            there, known = int((column == 1).sum()), int((~np.isnan(column)).sum())
            few = min(there, known - there)
            if known and few < needed:
                raise DataError(
                    f"attribute {name!r} is 1 in {there} and 0 in {known - there} of the usable "
                    f"training images and needs at least {needed} of each; add images, or "
                    "leave the column out"
                )

    def shown(self, index: int, names: Sequence[str]) -> Shown:
        """Those that it has; and those that are not known, with a question mark."""
        row = self.values[index]
        has = [name for name, value in zip(names, row, strict=True) if value == 1]
        unknown = [f"{name}?" for name, value in zip(names, row, strict=True) if np.isnan(value)]
        return Shown(", ".join([*has, *unknown]) or "none")


class AttributeScore(NamedTuple):
    """Of `images` images: the mean average precision in percent over the attributes that any of
    them has (None: no label is known), and a record of each attribute. `learned` says whether any
    is ranked better than chance explains (None: no attribute is both there and not); `interval` is
    the 95 % interval of few images."""

    map: float | None
    images: int
    attributes: list[dict[str, Any]]
    learned: bool | None = None
    interval: tuple[float, float] | None = None

    @property
    def value(self) -> float | None:
        return self.map

    def figures(self) -> dict[str, float | None]:
        return {"map": self.map}

    def details(self) -> dict[str, Any]:
        return {
            "attributes": self.attributes,
            "map_interval": self.interval and list(self.interval),
            "learned": self.learned,
            "warning": self._warning(),
            "spread": self._spread(),
        }

    def to_json(self) -> dict[str, Any]:
        return self.figures() | {"images": self.images} | self.details()

    def words(self) -> str:
        ends = self.interval
        told = f" (95 % interval {ends[0]:.1f} to {ends[1]:.1f} %)" if ends else ""
        figures = f"mean average precision {percent(self.map)}{told} of {self.images:,} images"
        return "\n".join(filter(None, [self._warning(), figures, self._spread()]))

    def _warning(self) -> str | None:
        if self.learned is not False:
            return None
        return (
            "trained, but no better than guessing: no attribute is ranked better than chance "
            f"explains, as far as {counted(self.images, 'image')} can tell"
        )

    def _spread(self) -> str | None:
        """What stands behind the mean."""
        ranked = [one for one in self.attributes if one["average_precision"] is not None]
        if len(ranked) < 2:
            return None
        worst = min(ranked, key=lambda one: one["average_precision"])
        chances = [_share(one) for one in ranked]
        return (
            f"guessing would give {percent(sum(chances) / len(chances))}; average precision of "
            f"{worst['attribute']!r} {percent(worst['average_precision'])}, the worst (guessing: "
            f"{percent(_share(worst))})"
        )


@dataclass(frozen=True)
class Attributes:
    """An `AttributeTable` with a column for each of `labels`, the attributes; while training also
    shares between 0 and 1. The network gives logits (N, A)."""

    labels: tuple[str, ...] = ()
    name: ClassVar[str] = "attributes"
    kind: ClassVar[str] = "attribute"
    kinds: ClassVar[str] = "attributes"
    metric: ClassVar[str] = "map"
    title: ClassVar[str] = "mean average precision"
    adapts: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    fewest: ClassVar[int] = 2
    head: ClassVar[str] = "classify"
    answers: ClassVar[Mapping[str, float]] = {}

    @property
    def does(self) -> str:
        return f"a multi-label image classifier of {len(self.labels):,} attributes"

    def with_answers(self, answers: Mapping[str, float]) -> Attributes:
        """It has none."""
        return self

    def recipe(self, *, started: bool) -> str | None:
        return None

    def network(self, backbone: Arch) -> Arch:
        """With its own head, and a logit for each of the attributes."""
        return with_logits(backbone, len(self.labels))

    def for_network(self, arch: Arch) -> Attributes:
        return self

    def places(self, target: Tensor) -> None:
        """Attributes are of the whole image."""

    def check(self, targets: Targets, *, taught: bool) -> None:
        unknown = np.isnan(targets.values).all(axis=0)
        if unknown.any() and not taught:
            names = [name for name, one in zip(self.labels, unknown, strict=True) if one]
            raise DataError(
                f"no training image says whether it has {', '.join(names[:5])}; fill the "
                "columns, leave them out, or give a teacher that knows (--teacher) and whose "
                "logits are matched"
            )

    def balance(self, targets: Targets) -> Tensor:
        raise DataError(
            "class weights are for one class an image, and these images have attributes; leave "
            "--class-weights out"
        )

    def follow(self, target: Tensor, geometry: Geometry) -> Tensor:
        """An attribute stays, wherever it is in the image."""
        return target

    def knows_all(self, target: Tensor) -> bool:
        return not bool(target.isnan().any())

    def loss(
        self,
        outputs: Outputs,
        target: Tensor,
        *,
        smoothing: float = 0.0,
        teacher: Outputs | None = None,
        weights: Tensor | None = None,
        reduction: str = "mean",
    ) -> Tensor:
        """Binary cross-entropy, the mean over the attributes, unknown ones counting 0, or what the
        teacher says of them. `smoothing` is that of a softmax over "there" and "not"."""
        known = ~target.isnan()
        shares = target.nan_to_num() * (1 - smoothing) + smoothing / 2
        if teacher is not None:
            shares = torch.where(known, shares, teacher["logits"].sigmoid())
            known = torch.ones_like(known)
        logits = outputs["logits"]
        losses = binary_cross_entropy_with_logits(logits, shares, reduction="none") * known
        return losses.mean() if reduction == "mean" else losses.mean(dim=1).sum()

    def imitation(self, ours: Outputs, theirs: Outputs, *, temperature: float) -> Tensor:
        """Cross-entropy to the teacher's probabilities, averaged over the attributes, as in the
        paper: at a temperature of 1 whatever is given."""
        return binary_cross_entropy_with_logits(ours["logits"], theirs["logits"].sigmoid())

    def meter(self, count: int) -> Metric:
        return MeanAveragePrecision()

    def score(self, outputs: Arrays, targets: Targets) -> AttributeScore:
        logits, table = outputs["logits"], targets.values
        precisions = average_precisions(torch.from_numpy(logits), torch.from_numpy(table))
        found = [
            _one(*of)
            for of in zip(self.labels, precisions.tolist(), logits.T, table.T, strict=True)
        ]
        chances = [chance_of_ranking(*of) for of in zip(logits.T, table.T, strict=True)]
        tried = [one for one in chances if one is not None]
        few = 0 < len(table) < FEW and bool((table == 1).any())
        return AttributeScore(
            map=_mean([one["average_precision"] for one in found]),
            images=len(table),
            attributes=found,
            learned=min(tried) < CHANCE / len(tried) if tried else None,  # Bonferroni's correction
            interval=middle(resampled_precision(logits, table)) if few else None,
        )

    def lost(self, ours: Arrays, theirs: Arrays, targets: Targets) -> Lost:
        """Bounded by the bootstrap: the same images drawn for both."""
        table = targets.values
        points = _map(theirs["logits"], table) - _map(ours["logits"], table)
        mine, other = (resampled_precision(one["logits"], table) for one in (ours, theirs))
        return lost_on_average(self.title, points, other - mine, images=len(table))

    def agreement(self, ours: Arrays, theirs: Arrays) -> float:
        """Of the attributes of all images."""
        return 100 * float(((ours["logits"] > 0) == (theirs["logits"] > 0)).mean())

    def decode(self, outputs: Arrays) -> list[Answer]:
        """Every attribute, in order."""
        chances = torch.from_numpy(outputs["logits"]).double().sigmoid().tolist()
        return [Answer(*one) for one in zip(self.labels, chances, strict=True)]

    def busy(self, arch: Arch) -> None:
        """Outputs are answers but for a sort."""

    def tuned(self, outputs: Arrays, targets: Targets) -> dict[str, float]:
        """Nothing is to be chosen."""
        return {}

    def in_order(self, targets: Targets, names: tuple[str, ...]) -> AttributeTable:
        """What the data does not tell of is unknown."""
        ours = np.full((len(targets), len(self.labels)), np.nan, np.float32)
        for name, column in zip(names, targets.values.T, strict=True):
            if name in self.labels:
                ours[:, self.labels.index(name)] = column
        return AttributeTable(ours)

    def known(self, targets: Targets, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """All: of each it tells the attributes that it knows."""
        return np.ones(len(targets), bool)


def _map(logits: Floats, table: Floats) -> float:
    """The mean average precision in percent; 0 where no label is known."""
    found = average_precisions(torch.from_numpy(logits), torch.from_numpy(table))
    return 100 * float(found.nanmean().nan_to_num())


def average_precisions(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each attribute (A,), 0 to 1, over the images where it is known; NaN where none has it."""
    logits, labels = logits.cpu().double(), labels.cpu()  # so that sigmoids near 1 stay apart
    found = torch.full((labels.shape[1],), torch.nan, dtype=torch.float64)
    for at in range(labels.shape[1]):
        known = ~labels[:, at].isnan()
        if labels[known, at].any():
            found[at] = binary_average_precision(logits[known, at], labels[known, at].long())
    return found


class MeanAveragePrecision(Metric):
    """The mean of `average_precisions` over the attributes that any image has, 0 to 1. Of several
    processes each brings its images."""

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, outputs: Outputs, target: Tensor) -> None:
        self.logits.append(outputs["logits"].detach().float())
        self.labels.append(target)

    def compute(self) -> Tensor:
        logits, labels = (
            torch.cat(list(state)) if isinstance(state, list) else state
            for state in (self.logits, self.labels)
        )
        return average_precisions(logits, labels).nanmean()


def _one(name: str, precision: float, logits: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """The record of one attribute; percentages are None where nothing is known."""
    known = ~np.isnan(labels)
    right = (logits[known] > 0) == (labels[known] > 0.5)
    return {
        "attribute": name,
        "average_precision": None if np.isnan(precision) else 100 * precision,
        "accuracy": 100 * float(right.mean()) if known.any() else None,
        "present": int((labels == 1).sum()),
        "known": int(known.sum()),
    }


def _share(one: dict[str, Any]) -> float:
    """The percentage that has it: the average precision of guesses."""
    return 100 * one["present"] / one["known"]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
