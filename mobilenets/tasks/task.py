"""What training, verification and reports ask of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from mobilenets.archs import Arch
from mobilenets.errors import ArchError
from mobilenets.tasks.confidence import Lost
from mobilenets.tasks.geometry import Geometry, Places
from mobilenets.tasks.targets import Targets

Floats = NDArray[np.float32]
# What a network gives, by the names of its outputs: of a batch (N, ...), or of one image.
Outputs = Mapping[str, Tensor]
Arrays = Mapping[str, Floats]


def joined(parts: Sequence[Arrays]) -> dict[str, Floats]:
    """The outputs of several batches as those of one."""
    return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}


Box = tuple[float, float, float, float]


class Answer(NamedTuple):
    """What a network says of an image: `probability`, 0 to 1, is of `label`; where it has a place,
    in `box`: x1, y1, x2, y2 in parts of the image's width and height."""

    label: str
    probability: float
    box: Box | None = None


class Score(Protocol):
    """How good the outputs of `images` images are."""

    @property
    def images(self) -> int: ...

    @property
    def value(self) -> float | None:
        """The task's metric in percent; None where no label is known."""

    def figures(self) -> dict[str, float | None]:
        """The percentages, by their key in JSON; the task's metric is among them."""

    def details(self) -> dict[str, Any]:
        """What more there is to tell, by its key in JSON: among it `learned`, whether the network
        is better than an answer that does not look at the image (None: not to be told); `warning`,
        a sentence where it is not; and `spread`, a sentence on what stands behind the metric."""

    def to_json(self) -> dict[str, Any]:
        """What `eval --json` prints."""

    def words(self) -> str:
        """The figures in a line, the warning before it and the spread after it."""


def percent(value: float | None) -> str:
    """A percentage with two digits; "unknown" where there was no label to tell."""
    return "unknown" if value is None else f"{value:.2f} %"


def with_logits(backbone: Arch, count: int) -> Arch:
    """The network with `count` logits an image; raises `ArchError` where it gives none such."""
    if not backbone.classifies:
        raise ArchError(
            f"{backbone.full_name} gives {', '.join(backbone.outputs)} and no logits an image; "
            "take a network that classifies"
        )
    return backbone.with_classes(count)


class Task(Protocol):
    """What is asked of an image. `Targets` and batches of them are of the task's own kind."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the outputs tell of, in their order."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """What a label is, in a word: "class"."""

    @property
    def kinds(self) -> str:
        """Of several: "classes"."""

    @property
    def metric(self) -> str:
        """Its key in JSON; the holdout images' is "holdout_" before it."""

    @property
    def title(self) -> str:
        """The metric in words."""

    @property
    def does(self) -> str:
        """What a network for it is, in words."""

    @property
    def adapts(self) -> bool:
        """Whether NetAdapt may cut networks for it."""

    @property
    def whole(self) -> bool:
        """Whether images are resized whole, so that nothing that is labelled is cut off."""

    @property
    def fewest(self) -> int:
        """The least number of labels that can be learned."""

    @property
    def head(self) -> str:
        """The head of its networks, one of `archs.HEADS`."""

    @property
    def answers(self) -> Mapping[str, float]:
        """The numbers by which outputs become answers, kept in every file; may be none."""

    def with_answers(self, answers: Mapping[str, float]) -> Task:
        """With these of the `answers`."""

    def recipe(self, *, started: bool) -> str | None:
        """The recipe for it where nobody says, from trained weights or not; None: by the images."""

    def network(self, backbone: Arch) -> Arch:
        """The rows of `backbone` with a head for these labels; raises `ArchError` for a network
        whose own head is for something else."""

    def for_network(self, arch: Arch) -> Task:
        """The same for what a network of `arch` gives before its graph is exported: `loss`,
        `imitation` and `meter` take these outputs; all others those of an artifact."""

    def places(self, target: Tensor) -> Places | None:
        """Where in its images the batch's target is; None where it is nowhere."""

    def check(self, targets: Targets, *, taught: bool) -> None:
        """Raise `DataError` where nothing can be learned from these targets of the training images;
        `taught` says whether a teacher's answers stand in for what is unknown."""

    def balance(self, targets: Targets) -> Tensor:
        """The loss weight of each label with which all count alike, however many of these training
        images it has; raises `DataError` where the task has none."""

    def follow(self, target: Tensor, geometry: Geometry) -> Tensor:
        """The batch's target as it is once `geometry` has moved the images."""

    def knows_all(self, target: Tensor) -> bool:
        """Whether nothing in the batch's target is for a teacher to tell."""

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
        """Over the images the mean, or with `reduction` "sum" their sum. A teacher's outputs stand
        in for what is unknown; `weights` are those of `balance`."""

    def imitation(self, ours: Outputs, theirs: Outputs, *, temperature: float) -> Tensor:
        """How far our outputs are from a teacher's, the mean over the images."""

    def meter(self, count: int) -> Metric:
        """What gathers (outputs, target) of batches, `count` labels an image, and computes the
        metric, 0 to 1; NaN where no label is known."""

    def score(self, outputs: Arrays, targets: Targets) -> Score: ...

    def lost(self, ours: Arrays, theirs: Arrays, targets: Targets) -> Lost:
        """What `ours` lose of the metric against `theirs`, paired image by image."""

    def agreement(self, ours: Arrays, theirs: Arrays) -> float:
        """The percentage of answers in which both outputs agree."""

    def decode(self, outputs: Arrays) -> list[Answer]:
        """What to print of one image's outputs."""

    def busy(self, arch: Arch) -> Arrays | None:
        """Outputs of `arch` for images (N, ...) that give `decode` much to do; None where that
        takes no time."""

    def tuned(self, outputs: Arrays, targets: Targets) -> dict[str, float]:
        """The `answers` that suit these outputs for held-out images best."""

    def in_order(self, targets: Targets, names: tuple[str, ...]) -> Targets:
        """Targets of data whose classes or attributes are `names`, as this task numbers them."""

    def known(self, targets: Targets, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which of the images of such data (N,) are labelled with something that it knows."""
