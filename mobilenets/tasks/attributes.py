"""Several attributes an image, each there or not: float32 labels (N, A), 1, 0 or NaN for unknown;
sigmoid and binary cross-entropy, mean average precision (arXiv:1704.04861, section 4.5).

No attribute is weighted up where it is rare: the metric ranks images, which a weight does not
change for the better, and the sigmoids would not be probabilities any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision

from mobilenets.errors import DataError
from mobilenets.tasks.task import Answer, Floats, percent


class AttributeScore(NamedTuple):
    """Of `images` images: the mean average precision in percent over the attributes that any of
    them has (None: no label is known), and a record of each attribute."""

    map: float | None
    images: int
    attributes: list[dict[str, Any]]

    @property
    def value(self) -> float | None:
        return self.map

    def figures(self) -> dict[str, float | None]:
        return {"map": self.map}

    def details(self) -> dict[str, Any]:
        return {"attributes": self.attributes}

    def to_json(self) -> dict[str, Any]:
        return self._asdict()

    def words(self) -> str:
        return f"mean average precision {percent(self.map)} of {self.images:,} images"


@dataclass(frozen=True)
class Attributes:
    """Labels are 1, 0 or NaN (N, A), a column for each of `labels`, the attributes; while training
    also shares between 0 and 1."""

    labels: tuple[str, ...] = ()
    name: ClassVar[str] = "attributes"
    metric: ClassVar[str] = "map"
    title: ClassVar[str] = "mean average precision"

    @property
    def does(self) -> str:
        return f"a multi-label image classifier of {len(self.labels):,} attributes"

    def check(self, labels: NDArray[Any], *, taught: bool) -> None:
        unknown = np.isnan(labels).all(axis=0)
        if unknown.any() and not taught:
            names = [name for name, one in zip(self.labels, unknown, strict=True) if one]
            raise DataError(
                f"no training image says whether it has {', '.join(names[:5])}; fill the columns, "
                "remove them, or give a teacher that knows (--teacher) and whose logits are matched"
            )

    def loss(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        smoothing: float = 0.0,
        theirs: Tensor | None = None,
    ) -> Tensor:
        """Binary cross-entropy, the mean over images and attributes, unknown ones counting 0, or
        what the teacher says of them. `smoothing` is that of a softmax over "there" and "not"."""
        known = ~labels.isnan()
        targets = labels.nan_to_num() * (1 - smoothing) + smoothing / 2
        if theirs is not None:
            targets = torch.where(known, targets, theirs.sigmoid())
            known = torch.ones_like(known)
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (losses * known).mean()

    def imitation(self, ours: Tensor, theirs: Tensor, *, temperature: float) -> Tensor:
        """Cross-entropy to the teacher's probabilities, averaged over the attributes, as in the
        paper: at a temperature of 1 whatever is given."""
        return binary_cross_entropy_with_logits(ours, theirs.sigmoid())

    def meter(self, count: int) -> Metric:
        return MeanAveragePrecision()

    def score(self, logits: Floats, labels: NDArray[Any]) -> AttributeScore:
        precisions = average_precisions(torch.from_numpy(logits), torch.from_numpy(labels))
        found = [
            _one(*of)
            for of in zip(self.labels, precisions.tolist(), logits.T, labels.T, strict=True)
        ]
        return AttributeScore(
            _mean([one["average_precision"] for one in found]), len(labels), found
        )

    def agreement(self, ours: Floats, theirs: Floats) -> float:
        """Of the attributes of all images."""
        return 100 * float(((ours > 0) == (theirs > 0)).mean())

    def answers(self, logits: Floats) -> list[Answer]:
        """Every attribute, in order."""
        chances = torch.from_numpy(logits).double().sigmoid().tolist()
        return [Answer(*one) for one in zip(self.labels, chances, strict=True)]

    def in_order(self, labels: NDArray[Any], names: tuple[str, ...]) -> NDArray[Any]:
        """What the data does not tell of is unknown."""
        ours = np.full((len(labels), len(self.labels)), np.nan, np.float32)
        ours[:, [self.labels.index(name) for name in names]] = labels
        return ours


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

    def update(self, logits: Tensor, labels: Tensor) -> None:
        self.logits.append(logits.detach().float())
        self.labels.append(labels)

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


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
