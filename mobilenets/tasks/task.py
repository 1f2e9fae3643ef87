"""What training, verification and reports ask of a task."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

Floats = NDArray[np.float32]


class Answer(NamedTuple):
    """What a network says of an image: `probability`, 0 to 1, is of `label`."""

    label: str
    probability: float


class Score(Protocol):
    """How good the logits of `images` images are."""

    @property
    def images(self) -> int: ...

    @property
    def value(self) -> float | None:
        """The task's metric in percent; None where no label is known."""

    def figures(self) -> dict[str, float | None]:
        """The percentages, by their key in JSON; the task's metric is among them."""

    def details(self) -> dict[str, Any]:
        """What more there is to tell, by its key in JSON."""

    def to_json(self) -> dict[str, Any]:
        """What `eval --json` prints."""

    def words(self) -> str:
        """The figures in a line."""


def percent(value: float | None) -> str:
    """A percentage with two digits; "unknown" where there was no label to tell."""
    return "unknown" if value is None else f"{value:.2f} %"


class Task(Protocol):
    """Of logits (N, C) and the labels of N images, which each task has in its own shape."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the logits are of, in their order."""

    @property
    def name(self) -> str: ...

    @property
    def metric(self) -> str:
        """Its key in JSON; the holdout images' is "holdout_" before it."""

    @property
    def title(self) -> str:
        """The metric in words."""

    @property
    def does(self) -> str:
        """What a network for it is, in words."""

    def check(self, labels: NDArray[Any], *, taught: bool) -> None:
        """Raise `DataError` where nothing can be learned from these labels of the training images;
        `taught` says whether a teacher's answers stand in for what is unknown."""

    def loss(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        smoothing: float = 0.0,
        theirs: Tensor | None = None,
    ) -> Tensor:
        """The mean over the images. `theirs`, a teacher's logits, stand in for unknown labels."""

    def imitation(self, ours: Tensor, theirs: Tensor, *, temperature: float) -> Tensor:
        """How far our logits are from a teacher's, the mean over the images."""

    def meter(self, count: int) -> Metric:
        """What gathers (logits, labels), `count` logits an image, and computes the metric, 0 to 1;
        NaN where no label is known."""

    def score(self, logits: Floats, labels: NDArray[Any]) -> Score: ...

    def agreement(self, ours: Floats, theirs: Floats) -> float:
        """The percentage of answers in which both logits agree."""

    def answers(self, logits: Floats) -> list[Answer]:
        """What to print of one image's logits (C,)."""

    def in_order(self, labels: NDArray[Any], names: tuple[str, ...]) -> NDArray[Any]:
        """Labels of data whose classes or attributes are `names`, as this task numbers them."""
