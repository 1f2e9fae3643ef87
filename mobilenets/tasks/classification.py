"""One class an image: int64 class numbers (N,), softmax and cross-entropy, top-1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from mobilenets.archs import Arch, Head
from mobilenets.errors import DataError
from mobilenets.tasks.geometry import Geometry
from mobilenets.tasks.targets import Indices, Strata, Targets
from mobilenets.tasks.task import Answer, Arrays, Floats, Outputs, logits_head


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
                    f"{needed}, one each for {parts}; add images or remove the class"
                )


class Accuracy(NamedTuple):
    """Accuracies in percent over `images` images; top-5 is 100 for at most five classes."""

    top1: float
    top5: float
    images: int

    @property
    def value(self) -> float:
        return self.top1

    def figures(self) -> dict[str, float | None]:
        return {"top1": self.top1, "top5": self.top5}

    def details(self) -> dict[str, Any]:
        return {}

    def to_json(self) -> dict[str, Any]:
        return self._asdict()

    def words(self) -> str:
        return f"top-1 {self.top1:.2f} %, top-5 {self.top5:.2f} % of {self.images:,} images"


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

    @property
    def does(self) -> str:
        return f"an image classifier of {len(self.labels):,} classes"

    def head(self, backbone: Arch) -> Head:
        """Its own, with a logit for each of the classes."""
        return logits_head(backbone, len(self.labels))

    def check(self, targets: Targets, *, taught: bool) -> None:
        """Every image has its class."""

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
        reduction: str = "mean",
    ) -> Tensor:
        """Cross-entropy; no label is unknown."""
        logits = outputs["logits"]
        return cross_entropy(logits, target, label_smoothing=smoothing, reduction=reduction)

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
        return Accuracy(top1, top5, len(numbers))

    def agreement(self, ours: Arrays, theirs: Arrays) -> float:
        """Of the images."""
        mine, other = (one["logits"].argmax(1) for one in (ours, theirs))
        return 100 * float((mine == other).mean())

    def decode(self, outputs: Arrays) -> list[Answer]:
        """The most likely class."""
        chances = softmax(outputs["logits"][None])[0]
        best = int(chances.argmax())
        return [Answer(self.labels[best], float(chances[best]))]

    def in_order(self, targets: Targets, names: tuple[str, ...]) -> ClassNumbers:
        return ClassNumbers(np.array([self.labels.index(name) for name in names])[targets.values])


class _Top1(MulticlassAccuracy):
    """Of outputs."""

    def update(self, outputs: Outputs, target: Tensor) -> None:  # type: ignore[override]
        super().update(outputs["logits"], target)


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits (N, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
