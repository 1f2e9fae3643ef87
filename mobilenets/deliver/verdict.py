"""Does the exported file give the trained network's answers, and does it meet the budget?"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenets.archs import Budget, cost
from mobilenets.archs.budget import LIMIT_NAMES, Use, describe
from mobilenets.data import Images
from mobilenets.deliver.predictor import Predictor, as_predictor, load
from mobilenets.deliver.record import read_verdict
from mobilenets.files import remove
from mobilenets.measuring.device import LOCAL, current, subject
from mobilenets.measuring.latency import Latency, measure
from mobilenets.measuring.loop import undisturbed
from mobilenets.nn import Checkpoint
from mobilenets.runs.layout import REPORT, VERDICT
from mobilenets.runtimes import Engine
from mobilenets.runtimes.artifact import is_intact, size_of
from mobilenets.tasks import Arrays, Score, Task, get_task, joined, percent
from mobilenets.tasks.confidence import Lost
from mobilenets.tasks.targets import Indices
from mobilenets.text import counted

# fp32 against fp32: the runtime sums in another order, nothing more. In int8 logits differ.
MAX_RELATIVE_ERROR = {"fp32": 1e-3, "int8": math.inf}
MAX_LOSS = 0.1  # of the task's metric, percent
# A p50 that is not this part below its limit is measured again: all of three must be within it.
_CLOSE = 0.1
# Where three sessions do not decide, up to so many more, so many seconds apart: a minute in all.
_MORE, _PAUSE_S = 6, 7.0
# Quiet sessions that disagree decide from so many on, where so large a part is on one side.
_ENOUGH, _MOST = 6, 0.75
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What verification found. Scores are of the validation images.

    `lost` is what the artifact loses against the checkpoint, image by image: where that decides, on
    the validation and the holdout images together (`verify`).

    `outputs` are the artifact's, (N, ...) each; `agreement` is the percentage of images (of
    attributes) of which checkpoint and artifact say the same; `max_relative_error` is the largest
    difference of an output's number over its largest. `sessions` are the artifact's latencies, the
    slowest last, on `device`.
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
    device: str = LOCAL.name

    @property
    def latency(self) -> Latency:
        """Of the slowest session."""
        return self.sessions[-1]

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
        return all(use.spent <= use.allowed for use in self.uses) and not self.undecided

    @property
    def undecided(self) -> bool:
        """Whether the latency has a limit and the device was too noisy to decide on it."""
        return too_noisy(self.sessions, self._limit_ms)

    def complaints(self) -> list[str]:
        """What is wrong, a sentence each."""
        found = [
            f"{LIMIT_NAMES[use.limit]} is {describe(use.limit, use.spent)}, "
            f"{100 * (use.fraction - 1):.1f} % over the limit of {describe(use.limit, use.allowed)}"
            for use in self.uses
            if use.spent > use.allowed and not (self.undecided and use.limit == "latency_ms")
        ]
        if self.undecided:
            latency = self.latency
            found.append(
                f"{subject(self.device)} is too noisy to decide on the limit of "
                f"{describe('latency_ms', self._limit_ms)}: {self._seen()} (spread "
                f"{100 * latency.spread:.0f} %; co-tenant load took its cores "
                f"{100 * latency.waited:.0f} % and disturbed them {100 * latency.slowed:.0f} % of "
                "the time); run again when it is quiet"
            )
        if not self.intact:
            found.append("the artifact was changed after its export: its checksum differs")
        if not self.verified and self.intact:
            found.append(f"the artifact differs from the checkpoint: {self._difference()}")
        return found

    @property
    def unclear(self) -> str | None:
        """A sentence where more seems to be lost than allowed, and so few images cannot tell."""
        return cannot_tell(self.lost, self.max_loss)

    @property
    def _limit_ms(self) -> float:
        """Infinite where the latency has none."""
        limits = (use.allowed for use in self.uses if use.limit == "latency_ms")
        return next(limits, math.inf)

    def _difference(self) -> str:
        scores = (
            f"{self.task.title} {percent(self.artifact.value)} against "
            f"{percent(self.checkpoint.value)}"
        )
        if self.latency.precision == "int8":
            return (
                f"{self.lost.words}, {scores} in float, and int8 may lose {self.max_loss:g} points"
            )
        return f"{scores}, logits by up to {self.max_relative_error:.1e} of the largest"

    def _seen(self) -> str:
        """The p50 of all sessions, in words."""
        ends = (self.sessions[0], self.sessions[-1])
        least, most = (describe("latency_ms", one.p50_ms) for one in ends)
        count = len(self.sessions)
        return most if count == 1 else f"{least} to {most} in {count} sessions"

    def to_json(self) -> dict[str, Any]:
        return {
            "verified": self.verified,
            "within_budget": self.within_budget,
            "undecided": self.undecided,
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
            "latency": self.latency.to_json(),
            "device": self.device,
            "limits": [
                {**use._asdict(), "limit": LIMIT_NAMES[use.limit], "met": use.spent <= use.allowed}
                for use in self.uses
            ],
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
) -> Verdict:
    """Score the artifact and the checkpoint on all validation images, time the artifact, weigh it.

    `runtime` times it; None is that of its file's suffix. The artifact may lose `max_loss` percent
    of the task's metric. It fails where the loss is larger with 95 % confidence. Where the
    validation images seem to show more, and always in int8, the holdout images count as well.
    Raises `FileError` for a file that cannot be read.
    """
    artifact = Path(artifact)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint.load(Path(checkpoint))
    both = _Both(as_predictor(checkpoint, artifact), load(artifact), images)
    outputs, reference = both.outputs(images.val)
    targets, task = images.targets.take(images.val), get_task(checkpoint.task, checkpoint.labels)
    sessions = time_artifact(artifact, budget, runtime=runtime, threads=threads)
    lost = task.lost(outputs, reference, targets)
    if lost.points > max_loss or sessions[-1].precision == "int8":
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
            latency_ms=sessions[-1].p50_ms,
            macs=costs.macs,
            params=costs.params,
            size_bytes=size,
            memory_bytes=costs.peak_activation_bytes.fp32,
        ),
        size_bytes=size,
        macs=costs.macs,
        params=costs.params,
        max_loss=max_loss,
        device=current().name,
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


def too_noisy(sessions: Sequence[Latency], limit_ms: float) -> bool:
    """Whether a noisy latency is close to its limit or over it, or sessions disagree on the limit.
    Noise makes no network faster: one far below its limit is within it all the same."""
    close = (1 - _CLOSE) * limit_ms
    within = {one.p50_ms <= limit_ms for one in sessions}
    return len(within) > 1 or any(one.noisy and one.p50_ms > close for one in sessions)


def time_artifact(
    artifact: Path,
    budget: Budget,
    *,
    runtime: str | Engine | None = None,
    threads: int = 1,
    pause: Callable[[float], object] = time.sleep,
) -> tuple[Latency, ...]:
    """The artifact's latency in as many sessions as its limit needs, the slowest last.

    Where it is close to its limit or over it, three sessions, each of which must then be within the
    limit. One in which the core was slower all along than in another does not count. Where the
    machine is too noisy to decide by them, more, spread over a minute (`pause` waits).
    """

    def session() -> Latency:
        return measure([artifact], runtime=runtime, threads=threads)[0]

    first = session()
    limit = budget.latency_ms
    if limit is None or first.p50_ms <= (1 - _CLOSE) * limit:
        return (first,)
    sessions = [first, session(), session()]
    found = _deciding(sessions, limit)
    for _ in range(_MORE):
        if not too_noisy(found, limit):
            break
        log.info(f"too noisy to decide on {describe('latency_ms', limit)}: measuring again")
        pause(_PAUSE_S)
        sessions.append(session())
        found = _deciding(sessions, limit)
    return tuple(sorted(found, key=lambda one: one.p50_ms))


def _deciding(sessions: Sequence[Latency], limit: float) -> list[Latency]:
    """The sessions that count: those with the core at its best, and of them the quiet ones, where
    there are three or one far below the limit. Where many disagree, those of the clear majority."""
    close = (1 - _CLOSE) * limit
    counted = list(compress(sessions, undisturbed([one.probe_ns for one in sessions])))
    quiet = [one for one in counted if not one.noisy or one.p50_ms <= close]
    if len(quiet) < 3 and not any(one.p50_ms <= close for one in quiet):
        return counted
    within = [one for one in quiet if one.p50_ms <= limit]
    over = [one for one in quiet if one.p50_ms > limit]
    if len(quiet) >= _ENOUGH:
        for side in (within, over):
            if len(side) >= _MOST * len(quiet):
                return side
    return quiet
