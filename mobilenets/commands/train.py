"""`mobilenets train`: one network that the user names, trained on the user's images."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, Resolution, cost, get_arch
from mobilenets.commands.beginning import asked_of, begun
from mobilenets.data import AUTO_READING, Images, Reading, name_of
from mobilenets.deliver.advice import circumstances
from mobilenets.deliver.record import read_score
from mobilenets.files import write_json
from mobilenets.nn import Checkpoint
from mobilenets.runs.layout import SCORE, TRAINED
from mobilenets.runs.stages import Stage
from mobilenets.tasks import get_task
from mobilenets.train.group import led
from mobilenets.train.job import TRAINING_STAGE, How, Trained, TrainingJob, read_images
from mobilenets.train.recipe import Limits
from mobilenets.train.scoring import score

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What to train, on what, and how (`How`). `out` None is runs/DATA-NETWORK; with `restart`,
    what it holds is set aside."""

    name: str
    data: str | Path
    width: float | None = None
    resolution: Resolution | None = None
    weights: str | None = "auto"
    recipe: str | None = None
    teacher: Path | None = None
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    out: Path | None = None
    task: str | None = None
    reading: Reading = AUTO_READING
    restart: bool = False

    @property
    def arch(self) -> Arch:
        """The network that is named, before weights bring their conventions."""
        return get_arch(self.name, width=self.width, resolution=self.resolution)

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.out or Path("runs", f"{name_of(self.data)}-{self.arch.full_name}")

    def asked(self) -> dict[str, Any]:
        """All that a run is of, but for the images and how long is trained."""
        return {"network": self.arch.full_name} | asked_of(self)

    @property
    def how(self) -> How:
        """The part that `fit` takes too."""
        return How(self.weights, self.recipe, self.teacher, self.task, reading=self.reading)


_SCORED = Stage("scored", (SCORE,), read_score)


@led
def train_named(job: Training) -> dict[str, Any]:
    """Train, score on the validation images, and tell: the record that `--json` prints.

    Everything is in the run folder, `trained.safetensors` above all; the same call goes on where a
    killed one was. `seconds` are those of all epochs with their evaluations, of broken runs too.
    """
    folder, how = job.folder, job.how
    how.check()
    stages = begun(folder, TRAINING_STAGE.name, job.asked, restart=job.restart)
    start = how.start(job.arch, folder) if how.named else None  # what is mistyped is said at once
    images = read_images(job.data, folder, seed=job.seed, task=job.task, reading=job.reading)
    how = how.settled(images, folder, job.arch.name)
    start = start or how.start(job.arch, folder)
    training = how.job(job.arch, images, start, limits=job.limits, seed=job.seed)
    trained = stages.run(TRAINING_STAGE, training.inputs(), lambda: training.run(folder))
    scores = stages.run(_SCORED, [], lambda: _score(trained.checkpoint, images, folder))
    return _record(training, trained, scores) | {"checkpoint": str(folder / TRAINED)}


def _score(checkpoint: Checkpoint, images: Images, folder: Path) -> None:
    log.info(f"scoring on {len(images.val)} validation images")
    found = score(checkpoint, images)
    task = get_task(checkpoint.task, checkpoint.labels)
    told = {task.metric: found.value, "images": found.images} | found.details()
    write_json(folder / SCORE, told)


def _record(training: TrainingJob, trained: Trained, scores: dict[str, Any]) -> dict[str, Any]:
    arch, costs, seen = training.arch, cost(training.arch), len(training.images.train)
    return {
        "name": arch.name,
        "width": arch.width,
        "resolution": arch.resolution,
        "params": costs.params,
        "macs": costs.macs,
        **scores,
        **circumstances(trained.checkpoint, training.images),
        "epochs": trained.epochs,
        "recipe_epochs": training.recipe.epochs,
        "seconds": round(trained.seconds, 3),
        "images_per_second": round(seen * trained.epochs / trained.seconds, 1),
    }
