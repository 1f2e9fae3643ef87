"""One class an image: int64 labels (N,), softmax and cross-entropy, top-1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from mobilenets.tasks.task import Answer, Floats


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
    """Labels are numbers (N,) into `labels`, the classes; while training also shares (N, C)."""

    labels: tuple[str, ...] = ()
    name: ClassVar[str] = "classification"
    metric: ClassVar[str] = "top1"
    title: ClassVar[str] = "top-1"

    @property
    def does(self) -> str:
        return f"an image classifier of {len(self.labels):,} classes"

    def check(self, labels: NDArray[Any], *, taught: bool) -> None:
        """Every image has its class."""

    def loss(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        smoothing: float = 0.0,
        theirs: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy; no label is unknown."""
        return cross_entropy(logits, labels, label_smoothing=smoothing)

    def imitation(self, ours: Tensor, theirs: Tensor, *, temperature: float) -> Tensor:
        """The Kullback-Leibler divergence of softmax(logits / temperature), times temperature^2
        (arXiv:1503.02531)."""
        logs = log_softmax(ours / temperature, 1), log_softmax(theirs / temperature, 1)
        return temperature**2 * kl_div(*logs, reduction="batchmean", log_target=True)

    def meter(self, count: int) -> Metric:
        return MulticlassAccuracy(count, average="micro")

    def score(self, logits: Floats, labels: NDArray[Any]) -> Accuracy:
        ranks = np.argsort(-logits, axis=1, kind="stable")[:, :5]
        hits = ranks == labels[:, None]
        top1, top5 = (100 * int(one.sum()) / len(labels) for one in (hits[:, 0], hits.any(axis=1)))
        return Accuracy(top1, top5, len(labels))

    def agreement(self, ours: Floats, theirs: Floats) -> float:
        """Of the images."""
        return 100 * float((ours.argmax(1) == theirs.argmax(1)).mean())

    def answers(self, logits: Floats) -> list[Answer]:
        """The most likely class."""
        chances = softmax(logits[None])[0]
        best = int(chances.argmax())
        return [Answer(self.labels[best], float(chances[best]))]

    def in_order(self, labels: NDArray[Any], names: tuple[str, ...]) -> NDArray[Any]:
        return np.array([self.labels.index(name) for name in names])[labels]


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits (N, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
