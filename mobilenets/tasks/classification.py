"""One class an image: int64 class numbers (N,), softmax and cross-entropy, top-1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from mobilenets.archs import Arch
from mobilenets.errors import DataError
from mobilenets.tasks.confidence import (
    CHANCE,
    Lost,
    by_chance,
    fewer_right,
    interval,
    interval_words,
)
from mobilenets.tasks.geometry import Geometry
from mobilenets.tasks.targets import Indices, Shown, Strata, Targets
from mobilenets.tasks.task import Answer, Arrays, Floats, Outputs, percent, with_logits
from mobilenets.text import counted


@dataclass(frozen=True, slots=True, eq=False)
class ClassNumbers:
    """The number of each image's class: `values` int64 (N,)."""

    values: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Indices) -> ClassNumbers:
        return ClassNumbers(self.values[indices])

    def strata(self) -> Strata:
        """Each class; of every image it is known."""
        return Strata(self.values, np.ones(len(self), bool))

    def counts(self, names: Sequence[str]) -> dict[str, int]:
        counts = np.bincount(self.values, minlength=len(names)).tolist()
        return dict(zip(names, counts, strict=True))

    def check_enough(self, names: Sequence[str], *, needed: int) -> None:
        parts = "train, holdout and val" if needed == 3 else "train and holdout"
        for name, count in self.counts(names).items():
            if count < needed:
                raise DataError(
                    f"class {name!r} has {count} usable training images and needs at least "
                    f"{needed}, one each for {parts}; add images, or "
                    "move the class elsewhere"
                )

    def shown(self, index: int, names: Sequence[str]) -> Shown:
        return Shown(names[self.values[index]])


class Common(NamedTuple):
    """The largest class of scored images, and how saying it of every image compares: it is right
    for `share` percent of them. The network is right for `gained` others, and wrong for `lost` of
    these."""

    label: str
    share: float
    gained: int
    lost: int

    @property
    def beaten(self) -> bool:
        """Whether the network is better, by more than chance explains."""
        return by_chance(self.gained, self.lost) < CHANCE


class Worst(NamedTuple):
    """The class that is found least often: in percent of its `images`."""

    label: str
    recall: float
    images: int


class Accuracy(NamedTuple):
    """Accuracies in percent over `images` images; top-5 is 100 for at most five classes. `balanced`
    is the mean of the recalls of all classes that have images; `common` and `worst` are None where
    only one has."""

    top1: float
    top5: float
    images: int
    balanced: float
    common: Common | None = None
    worst: Worst | None = None

    @property
    def value(self) -> float:
        return self.top1

    def figures(self) -> dict[str, float | None]:
        return {"top1": self.top1, "top5": self.top5}

    def details(self) -> dict[str, Any]:
        common, worst = self.common, self.worst
        ends = interval(self.top1, self.images) if self.images else (0.0, 100.0)
        return {
            "top1_interval": list(ends),
            "balanced_accuracy": self.balanced,
            "largest_class": common and common.label,
            "largest_share": common and common.share,
            "worst_class": worst and worst.label,
            "worst_recall": worst and worst.recall,
            "learned": common and common.beaten,
            "warning": self._warning(),
            "spread": self._spread(),
        }

    def to_json(self) -> dict[str, Any]:
        return self.figures() | {"images": self.images} | self.details()

    def words(self) -> str:
        top1 = f"{percent(self.top1)}{interval_words(self.top1, self.images)}"
        figures = f"top-1 {top1}, top-5 {percent(self.top5)} of {counted(self.images, 'image')}"
        return "\n".join(filter(None, [self._warning(), figures, self._spread()]))

    def _warning(self) -> str | None:
        """Where nothing more than the largest class was learned, as far as the images tell."""
        common = self.common
        if common is None or common.beaten:
            return None
        more = common.gained - common.lost
        always = f"always saying {common.label!r}"
        if more <= 0:
            return (
                f"trained, but no better than {always}, right for {_short(common.share)} of images"
            )
        return (
            f"trained, but not clearly better than {always}: {more:,} more right of "
            f"{self.images:,}, which can be chance"
        )

    def _spread(self) -> str | None:
        """What stands behind the top-1."""
        common, worst = self.common, self.worst
        if common is None or worst is None:
            return None
        return (
            f"{_short(common.share)} of images are {common.label!r}; recall of {worst.label!r} "
            f"{_short(worst.recall)}, the worst; balanced accuracy {_short(self.balanced)}"
        )


@dataclass(frozen=True)
class Classification:
    """`ClassNumbers` into `labels`, the classes; while training also shares (N, C). The network
    gives logits (N, C)."""

    labels: tuple[str, ...] = ()
    name: ClassVar[str] = "classification"
    kind: ClassVar[str] = "class"
    kinds: ClassVar[str] = "classes"
    metric: ClassVar[str] = "top1"
    title: ClassVar[str] = "top-1"
    adapts: ClassVar[bool] = True
    whole: ClassVar[bool] = False
    fewest: ClassVar[int] = 2
    head: ClassVar[str] = "classify"
    answers: ClassVar[Mapping[str, float]] = {}

    @property
    def does(self) -> str:
        return f"an image classifier of {len(self.labels):,} classes"

    def with_answers(self, answers: Mapping[str, float]) -> Classification:
        """It has none."""
        return self

    def recipe(self, *, started: bool) -> str | None:
        return None

    def network(self, backbone: Arch) -> Arch:
        """With its own head, and a logit for each of the classes."""
        return with_logits(backbone, len(self.labels))

    def for_network(self, arch: Arch) -> Classification:
        return self

    def places(self, target: Tensor) -> None:
        """A class is of the whole image."""

    def check(self, targets: Targets, *, taught: bool) -> None:
        """Every image has its class."""

    def balance(self, targets: Targets) -> Tensor:
        counts = torch.from_numpy(np.bincount(targets.values, minlength=len(self.labels)))
        there = int((counts > 0).sum())
        weights = len(targets) / (there * counts.clamp(min=1))
        return torch.where(counts > 0, weights, 1.0).float()

    def follow(self, target: Tensor, geometry: Geometry) -> Tensor:
        """A class stays, wherever it is in the image."""
        return target

    def knows_all(self, target: Tensor) -> bool:
        return True

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
        """Cross-entropy; no label is unknown. Weights of the classes (C,) multiply each image's
        loss: over images as those they were taken from their mean is 1."""
        logits = outputs["logits"]
        if weights is None:
            return cross_entropy(logits, target, label_smoothing=smoothing, reduction=reduction)
        # torch's own mean divides by the weights of the batch, which gives them back to the rest.
        sums = cross_entropy(
            logits, target, weight=weights, label_smoothing=smoothing, reduction="sum"
        )
        return sums / len(target) if reduction == "mean" else sums

    def imitation(self, ours: Outputs, theirs: Outputs, *, temperature: float) -> Tensor:
        """The Kullback-Leibler divergence of softmax(logits / temperature), times temperature^2
        (arXiv:1503.02531)."""
        mine, other = (log_softmax(one["logits"] / temperature, 1) for one in (ours, theirs))
        return temperature**2 * kl_div(mine, other, reduction="batchmean", log_target=True)

    def meter(self, count: int) -> Metric:
        return _Top1(count, average="micro")

    def score(self, outputs: Arrays, targets: Targets) -> Accuracy:
        numbers = targets.values
        ranks = np.argsort(-outputs["logits"], axis=1, kind="stable")[:, :5]
        hits = ranks == numbers[:, None]
        top1, top5 = (100 * int(one.sum()) / len(numbers) for one in (hits[:, 0], hits.any(axis=1)))
        common, worst, balanced = self._by_class(hits[:, 0], numbers)
        return Accuracy(top1, top5, len(numbers), balanced, common, worst)

    def _by_class(
        self, right: NDArray[np.bool_], numbers: NDArray[np.int64]
    ) -> tuple[Common | None, Worst | None, float]:
        """What stands behind the top-1, from which images are right (N,); and the mean recall."""
        counts = np.bincount(numbers, minlength=len(self.labels))
        there = np.flatnonzero(counts)
        recalls = 100 * np.bincount(numbers[right], minlength=len(counts))[there] / counts[there]
        balanced = float(recalls.mean()) if len(there) else 0.0
        if len(there) < 2:
            return None, None, balanced
        largest, least = int(counts.argmax()), int(recalls.argmin())
        of_largest = numbers == largest
        common = Common(
            self.labels[largest],
            100 * float(of_largest.mean()),
            gained=int((right & ~of_largest).sum()),
            lost=int((of_largest & ~right).sum()),
        )
        worst = Worst(self.labels[there[least]], float(recalls[least]), int(counts[there[least]]))
        return common, worst, balanced

    def lost(self, ours: Arrays, theirs: Arrays, targets: Targets) -> Lost:
        mine, other = (one["logits"].argmax(1) == targets.values for one in (ours, theirs))
        return fewer_right(mine, other)

    def agreement(self, ours: Arrays, theirs: Arrays) -> float:
        """Of the images."""
        mine, other = (one["logits"].argmax(1) for one in (ours, theirs))
        return 100 * float((mine == other).mean())

    def decode(self, outputs: Arrays) -> list[Answer]:
        """The most likely class."""
        chances = softmax(outputs["logits"][None])[0]
        best = int(chances.argmax())
        return [Answer(self.labels[best], float(chances[best]))]

    def busy(self, arch: Arch) -> None:
        """Outputs are answers but for a sort."""

    def tuned(self, outputs: Arrays, targets: Targets) -> dict[str, float]:
        """Nothing is to be chosen."""
        return {}

    def in_order(self, targets: Targets, names: tuple[str, ...]) -> ClassNumbers:
        ours = {name: number for number, name in enumerate(self.labels)}
        return ClassNumbers(np.array([ours.get(name, -1) for name in names])[targets.values])

    def known(self, targets: Targets, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """Those of a class that it knows."""
        return self.in_order(targets, names).values >= 0


def _short(percentage: float) -> str:
    return f"{percentage:.{0 if percentage in (0, 100) else 1}f} %"


class _Top1(MulticlassAccuracy):
    """Of outputs."""

    def update(self, outputs: Outputs, target: Tensor) -> None:  # type: ignore[override]
        super().update(outputs["logits"], target)


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits (N, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
