"""`fit --race`: candidates train briefly on the user's images, and what they learnt decides.

The expected accuracy that ranks candidates comes from ImageNet and weeks of training. On other
images, and in minutes, a cheaper network may get further: it sees the images more often.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, log2
from pathlib import Path
from typing import Any

from mobilenets import group
from mobilenets.archs import Arch
from mobilenets.nn import Checkpoint
from mobilenets.stages import Stages
from mobilenets.tasks import TASKS, percent
from mobilenets.train import Recipe
from mobilenets.train.job import TRAINED, TrainingJob
from mobilenets.train.named import seconds_in
from mobilenets.words import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lap:
    """A contender's training in a round, the first being 1. `loss` and `score`, the task's metric
    in percent, are on the holdout, after the best of `epochs`; `seconds` are those of all."""

    name: str
    round: int
    epochs: float
    seconds: float
    loss: float
    score: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def race(
    contenders: Sequence[Arch], lap: Callable[[Arch, int, float], Lap]
) -> tuple[Arch, list[Lap]]:
    """The contender that wins, and all laps: successive halving (arXiv:1502.07943).

    `lap(arch, round, share)` trains one anew, for `share` of what its training may take; the half
    with the least loss go on to the next round, and train twice as long. All together takes as long
    as one training.
    """
    left, laps = list(contenders), list[Lap]()
    rounds = ceil(log2(len(left)))
    for number in range(1, rounds + 1):
        share = 1 / (rounds * len(left))
        log.info(f"round {number} of {rounds}: {counted(len(left), 'network')}")
        ran = {arch: lap(arch, number, share) for arch in left}
        laps += ran.values()
        left = sorted(left, key=lambda arch: ran[arch].loss)[: ceil(len(left) / 2)]
    return left[0], laps


def train_lap(job: TrainingJob, number: int, share: float, folder: Path) -> Lap:
    """The lap of `job` for `share` of its recipe's epochs and minutes, kept in `folder`: called
    again, what is done is not done again. Several processes train together."""
    job = replace(job, recipe=_part(job, share))
    stages = Stages(folder, first="trained")
    stages.run("trained", job.inputs(), TRAINED, lambda: job.run(folder), together=True)
    found = group.decided(lambda: _lap(job, number, folder))
    if group.rank() == 0:
        log.info(
            f"{found.name}: loss {found.loss:.3f}, {TASKS[job.images.task].title} "
            f"{percent(found.score)} of the holdout after {counted(found.epochs, 'epoch')} in "
            f"{found.seconds:.0f} s"
        )
    return found


def _part(job: TrainingJob, share: float) -> Recipe:
    recipe = job.recipe
    minutes = None if recipe.minutes is None else share * recipe.minutes
    return replace(recipe, epochs=max(1, round(share * recipe.epochs)), minutes=minutes)


def _lap(job: TrainingJob, number: int, folder: Path) -> Lap:
    with (folder / "metrics.csv").open(newline="") as file:
        best = min(csv.DictReader(file), key=lambda row: float(row["holdout_loss"]))
    return Lap(
        name=job.arch.full_name,
        round=number,
        epochs=Checkpoint.load(folder / "trained.safetensors").training["epochs"],
        seconds=round(seconds_in(folder / "metrics.csv"), 1),
        loss=float(best["holdout_loss"]),
        score=float(best[f"holdout_{TASKS[job.images.task].metric}"]),
    )
