"""Successive halving: candidates train briefly on the user's images, and the best of them is taken.

The expected accuracy that ranks candidates comes from ImageNet and weeks of training. On other
images, and in minutes, a cheaper network may get further: it sees the images more often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, log2
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch
from mobilenets.files import remove
from mobilenets.progress import staged
from mobilenets.runs.layout import BEST, LAST
from mobilenets.runs.stages import Stages
from mobilenets.shapes import Number, Positive
from mobilenets.tasks import percent
from mobilenets.text import counted
from mobilenets.train import Recipe
from mobilenets.train.job import TRAINING_STAGE, Trained, TrainingJob

log = logging.getLogger(__name__)

# Candidates that are tried where time is short, and nobody says how many.
TRIALS = 4
# In so few of the recipe's epochs a cheaper network gets further (docs/explanation/choice.md).
_HURRIED = 0.1
# What the trials may take of the minutes that bound a training; the winner has what is left.
_PART = 0.5


@dataclass(frozen=True)
class Trial:
    """A candidate's brief training in a round, the first being 1. `loss` and `score`, the task's
    metric in percent, are on the holdout, after the best of `epochs`; `seconds` are those of all.
    """

    name: str
    round: Positive
    epochs: Number
    seconds: Number
    loss: Number
    score: Number

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def successive_halving(
    shortlist: Sequence[Arch],
    trial: Callable[[Arch, int, float], Trial],
    *,
    enough: Callable[[Trial], bool] = lambda first: False,
) -> tuple[Arch, list[Trial]]:
    """The winner, and all trials: successive halving (arXiv:1502.07943).

    `trial(arch, round, share)` trains one anew, for `share` of what all trials may take; the half
    with the least loss go on to the next round, and train twice as long. The first candidate wins
    at once where its first trial is `enough`.
    """
    left, trials = list(shortlist), list[Trial]()
    rounds = ceil(log2(len(left)))
    with staged("trials", rounds) as told:  # each round takes about as long
        for number in range(1, rounds + 1):
            share = 1 / (rounds * len(left))
            log.info(f"round {number} of {rounds}: {counted(len(left), 'network')}")
            ran = dict[Arch, Trial]()
            for arch in left:
                ran[arch] = trial(arch, number, share)
                told(number - 1 + len(ran) / len(left))
                if not trials and len(ran) == 1 and enough(ran[arch]):
                    return arch, [ran[arch]]
            trials += ran.values()
            left = sorted(left, key=lambda arch: ran[arch].loss)[: ceil(len(left) / 2)]
        return left[0], trials


def train_trial(
    job: TrainingJob, number: int, share: float, folder: Path, *, minutes: float | None = None
) -> Trial:
    """The trial of `job` for `share` of what all trials may take: of its recipe's epochs, or of
    half its minutes, of which there may be fewer by now, `minutes`. Kept in `folder`: called again,
    what is done is not done again."""
    job = replace(job, recipe=_part(job, share))
    now = minutes and share * _PART * minutes
    stages = Stages(folder, first=TRAINING_STAGE.name)
    trained = stages.run(TRAINING_STAGE, job.inputs(), lambda: job.run(folder, minutes=now))
    for name in (LAST, BEST):  # a trial is never longer
        remove(folder / name)
    found = _trial(job, number, trained)
    log.info(
        f"{found.name}: loss {found.loss:.3f}, {job.images.task.title} "
        f"{percent(found.score)} on the held-out images after {counted(found.epochs, 'epoch')} in "
        f"{found.seconds:.0f} s"
    )
    return found


def _part(job: TrainingJob, share: float) -> Recipe:
    recipe = job.recipe
    minutes = None if recipe.minutes is None else share * _PART * recipe.minutes
    return replace(recipe, epochs=max(1, round(share * recipe.epochs)), minutes=minutes)


def hurried(epochs: float, recipe_epochs: int) -> bool:
    """Whether so few of a recipe's epochs are better spent on a cheaper network."""
    return epochs < _HURRIED * recipe_epochs


def has_time(trial: Trial, recipe: Recipe) -> bool:
    """Whether a network with this trial sees the images often enough in the recipe's minutes."""
    if recipe.minutes is None:
        return True
    epochs = trial.epochs * 60 * recipe.minutes / max(trial.seconds, 0.1)
    short = hurried(epochs, recipe.epochs)
    if short:
        log.info(
            f"{recipe.minutes:.3g} minutes are {epochs:.2g} of the recipe's {recipe.epochs} "
            "epochs: cheaper networks are tried as well"
        )
    return not short


def after(trials: Sequence[Trial], recipe: Recipe) -> Recipe:
    """The recipe with the minutes that the trials left of its own."""
    if recipe.minutes is None or not trials:
        return recipe
    left = recipe.minutes - sum(trial.seconds for trial in trials) / 60
    return replace(recipe, minutes=float(f"{max(left, (1 - _PART) * recipe.minutes):.3g}"))


def _trial(job: TrainingJob, number: int, trained: Trained) -> Trial:
    best = trained.best
    return Trial(
        name=job.arch.full_name,
        round=number,
        epochs=trained.epochs,
        seconds=trained.seconds,
        loss=best["holdout_loss"],
        score=best[f"holdout_{job.images.task.metric}"],
    )
