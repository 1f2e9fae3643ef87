"""Does the exported file give the trained network's answers, and does it meet the budget?"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenets.archs import Budget, cost
from mobilenets.archs.budget import Use
from mobilenets.data import Images
from mobilenets.deliver.host import host_ms
from mobilenets.deliver.judged import Judged
from mobilenets.deliver.predictor import Predictor, as_predictor, load
from mobilenets.deliver.record import read_verdict
from mobilenets.files import remove
from mobilenets.measuring.device import LOCAL, current
from mobilenets.measuring.latency import Latency, Predicted
from mobilenets.measuring.sessions import time_artifact
from mobilenets.nn import Checkpoint
from mobilenets.runs.layout import REPORT, VERDICT
from mobilenets.runtimes import Engine
from mobilenets.runtimes.artifact import is_intact, size_of
from mobilenets.tasks import Arrays, Score, Task, joined, percent
from mobilenets.tasks.confidence import Lost
from mobilenets.tasks.targets import Indices
from mobilenets.text import counted

# fp32 against fp32: the runtime sums in another order, nothing more. In int8 logits differ.
MAX_RELATIVE_ERROR = {"fp32": 1e-3, "int8": math.inf}
OF_ANSWERS = "the artifact "  # so complaints begin that are not of the budget
MAX_LOSS = 0.1  # of the task's metric, percent
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What verification found. Scores are of the validation images.

    `lost` is what the artifact loses against the checkpoint, image by image: where that decides, on
    the validation and the holdout images together (`verify`).

    `outputs` are the artifact's, (N, ...) each; `agreement` is the percentage of images (of
    attributes) of which checkpoint and artifact say the same; `max_relative_error` is the largest
    difference of an output's number over its largest. `sessions` are the artifact's latencies, the
    slowest last, on `device`; to each comes `host_ms`, which this machine takes to make answers of
    an image's outputs.
    """

    task: Task
    checkpoint: Score
    artifact: Score
    lost: Lost
    outputs: Arrays
    agreement: float
    max_relative_error: float
    intact: bool
    sessions: tuple[Latency, ...]
    uses: tuple[Use, ...]
    size_bytes: int
    macs: int
    params: int
    max_loss: float
    predicted: Predicted | None = None
    device: str = LOCAL.name
    host_ms: float = 0.0

    @property
    def judged(self) -> Judged:
        """Whether it meets the budget."""
        return Judged(self.sessions, self.uses, self.predicted, self.device, self.host_ms)

    @property
    def latency(self) -> Latency | Predicted:
        """Of the slowest session."""
        return self.judged.latency

    @property
    def verified(self) -> bool:
        """Whether the artifact gives the checkpoint's answers: but for what it may lose, as far as
        so many images can tell."""
        return (
            self.intact
            and self.max_relative_error <= MAX_RELATIVE_ERROR[self.latency.precision]
            and not self.lost.is_beyond(self.max_loss)
        )

    @property
    def within_budget(self) -> bool:
        """Whether the artifact meets every limit, as far as its device can tell: a latency that
        it was too noisy to measure meets none."""
        return self.judged.within_budget

    @property
    def undecided(self) -> bool:
        """Whether the latency has a limit and the device was too noisy to decide on it."""
        return self.judged.undecided

    def complaints(self) -> list[str]:
        """What is wrong, a sentence each."""
        found = self.judged.complaints()
        if not self.intact:
            found.append(f"{OF_ANSWERS}was changed after its export: its checksum differs")
        if not self.verified and self.intact:
            found.append(f"{OF_ANSWERS}differs from the checkpoint: {self._difference()}")
        return found

    @property
    def unclear(self) -> str | None:
        """A sentence where more seems to be lost than allowed, and so few images cannot tell."""
        return cannot_tell(self.lost, self.max_loss)

    def _difference(self) -> str:
        scores = (
            f"{self.task.title} {percent(self.artifact.value)} against "
            f"{percent(self.checkpoint.value)}"
        )
        if self.latency.precision == "int8":
            return (
                f"{self.lost.words}, {scores} in float, and int8 may lose {self.max_loss:g} points"
            )
        return f"{scores}, outputs by up to {self.max_relative_error:.1e} of the largest"

    def to_json(self) -> dict[str, Any]:
        return {
            "verified": self.verified,
            **self.judged.to_json(),
            "unclear": self.unclear,
            "complaints": self.complaints(),
            **{f"{key}_checkpoint": value for key, value in self.checkpoint.figures().items()},
            **{f"{key}_artifact": value for key, value in self.artifact.figures().items()},
            **self.artifact.details(),
            "images": self.artifact.images,
            "lost": asdict(self.lost),
            "agreement": self.agreement,
            "max_relative_error": self.max_relative_error,
            "intact": self.intact,
            "device": self.device,
            "size_bytes": self.size_bytes,
            "macs": self.macs,
            "params": self.params,
        }


def verify(
    artifact: str | Path,
    checkpoint: Checkpoint | str | Path,
    images: Images,
    budget: Budget,
    *,
    runtime: str | Engine | None = None,
    threads: int = 1,
    max_loss: float = MAX_LOSS,
    predicted: Predicted | None = None,
) -> Verdict:
    """Score the artifact and the checkpoint on all validation images, time the artifact, weigh it.

    `runtime` times it; None is that of its file's suffix. The artifact may lose `max_loss` percent
    of the task's metric. It fails where the loss is larger with 95 % confidence. Where the
    validation images seem to show more, and always in int8, the holdout images count as well.
    Where a latency is `predicted`, that stands for one that is to be measured later.
    Raises `FileError` for a file that cannot be read.
    """
    artifact = Path(artifact)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint.load(Path(checkpoint))
    both = _Both(as_predictor(checkpoint, artifact), load(artifact), images)
    outputs, reference = both.outputs(images.val)
    targets, task = images.targets.take(images.val), both.checkpoint.task
    host = host_ms(task, outputs)
    sessions = (
        ()
        if predicted
        else time_artifact(artifact, budget.for_graph(host), runtime=runtime, threads=threads)
    )
    latency = predicted or sessions[-1]
    lost = task.lost(outputs, reference, targets)
    if lost.points > max_loss or latency.precision == "int8":
        lost = both.lost_on_all(task, outputs, reference)
    costs = cost(checkpoint.arch)
    size = size_of(artifact)
    return Verdict(
        task=task,
        checkpoint=task.score(reference, targets),
        artifact=task.score(outputs, targets),
        lost=lost,
        outputs=outputs,
        agreement=task.agreement(outputs, reference),
        max_relative_error=max(relative_error(outputs[name], reference[name]) for name in outputs),
        intact=is_intact(artifact),
        sessions=sessions,
        uses=budget.uses(
            latency_ms=latency.p50_ms + host,
            macs=costs.macs,
            params=costs.params,
            size_bytes=size,
            memory_bytes=costs.peak_activation_bytes.fp32,
        ),
        size_bytes=size,
        macs=costs.macs,
        params=costs.params,
        max_loss=max_loss,
        predicted=predicted,
        device=current().name,
        host_ms=host,
    )


@dataclass(frozen=True)
class _Both:
    """The checkpoint and the artifact beside each other on a data set."""

    checkpoint: Predictor
    artifact: Predictor
    images: Images

    def outputs(self, indices: Indices) -> tuple[Arrays, Arrays]:
        """The artifact's and the checkpoint's of these images."""
        return (
            self.artifact.score(self.images, indices),
            self.checkpoint.score(self.images, indices),
        )

    def lost_on_all(self, task: Task, ours: Arrays, theirs: Arrays) -> Lost:
        """On the validation images, whose outputs are these, and the holdout images."""
        images = self.images
        if len(images.holdout) == 0:
            return task.lost(ours, theirs, images.targets.take(images.val))
        more = self.outputs(images.holdout)
        targets = images.targets.take(np.concatenate([images.val, images.holdout]))
        return task.lost(joined([ours, more[0]]), joined([theirs, more[1]]), targets)


def cannot_tell(lost: Lost, allowed: float) -> str | None:
    """A sentence where more than `allowed` points seem to be lost, and so few images cannot tell:
    "43 images cannot tell 1 point: 1 fewer right of 43"."""
    if not lost.is_unclear(allowed):
        return None
    points = f"{allowed:g} point{'' if allowed == 1 else 's'}"
    return f"{counted(lost.images, 'image')} cannot tell {points}: {lost.words}"


def drop_undecided(folder: Path) -> None:
    """Remove the verdict of a run whose machine was too noisy to decide, and the report of it: the
    next call verifies again."""
    path = folder / VERDICT
    if path.exists() and read_verdict(folder).get("undecided"):
        for made in (folder / REPORT, path):
            remove(made)


def relative_error(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """The largest difference over the largest value: a V3's logits may all be tiny."""
    return float(np.abs(logits - reference).max() / np.abs(reference).max())
