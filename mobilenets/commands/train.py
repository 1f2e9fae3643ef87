"""`mobilenets train`: one network that the user names, trained on the user's images."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, Resolution, cost, get_arch
from mobilenets.data import Images
from mobilenets.files import read_json, write_json
from mobilenets.nn import Checkpoint
from mobilenets.processes import group
from mobilenets.runs.stages import Stages
from mobilenets.tasks import get_task
from mobilenets.train.job import TRAINED, How, TrainingJob, read_images, seconds_in
from mobilenets.train.recipe import Limits, Recipe
from mobilenets.train.scoring import score

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What to train, on what, and how (`How`). `out` None is runs/DATA-NETWORK."""

    name: str
    data: str | Path
    width: float | None = None
    resolution: Resolution | None = None
    weights: str | None = None
    recipe: str | None = None
    teacher: Path | None = None
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    out: Path | None = None
    task: str | None = None

    @property
    def arch(self) -> Arch:
        """The network that is named, before weights bring their conventions."""
        return get_arch(self.name, width=self.width, resolution=self.resolution)

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.out or Path("runs", f"{Path(self.data).resolve().stem}-{self.arch.full_name}")

    @property
    def how(self) -> How:
        """The part that `fit` takes too."""
        return How(self.weights, self.recipe, self.teacher, self.task)

    def recipe_for(self, images: Images) -> Recipe:
        """The recipe for these images, within the limits."""
        return self.how.recipe_for(images, self.limits)


@group.joined()
def train_named(training: Training) -> dict[str, Any]:
    """Train, score on the validation images, and tell: the record that `--json` prints.

    Everything is in the run folder, `trained.safetensors` above all; the same call goes on where a
    killed one was. `seconds` are those of all epochs with their evaluations, of broken runs too.
    """
    folder = training.folder
    job = group.decided(lambda: _prepared(training))
    stages = Stages(folder, first="trained")
    stages.run("trained", job.inputs(), TRAINED, lambda: job.run(folder), together=True)
    stages.run("scored", [], ["score.json"], lambda: _score(job.images, folder))
    return group.decided(lambda: _record(job.arch, job.images, folder))


def _prepared(training: Training) -> TrainingJob:
    how, arch = training.how, training.arch
    how.check()
    start = how.start(arch)
    images = read_images(training.data, training.folder, seed=training.seed, task=training.task)
    return how.job(arch, images, start, limits=training.limits, seed=training.seed)


def _score(images: Images, folder: Path) -> None:
    log.info(f"scoring on {len(images.val)} validation images")
    checkpoint = Checkpoint.load(folder / "trained.safetensors")
    found = score(checkpoint, images)
    task = get_task(checkpoint.task, checkpoint.labels)
    write_json(folder / "score.json", {task.metric: found.value} | found.details())


def _record(arch: Arch, images: Images, folder: Path) -> dict[str, Any]:
    training = Checkpoint.load(folder / "trained.safetensors").training
    seconds = seconds_in(folder / "metrics.csv")
    costs = cost(arch)
    return {
        "name": arch.name,
        "width": arch.width,
        "resolution": arch.resolution,
        "params": costs.params,
        "macs": costs.macs,
        **read_json(folder / "score.json"),
        "epochs": training["epochs"],
        "seconds": round(seconds, 3),
        "images_per_second": round(len(images.train) * training["epochs"] / seconds, 1),
        "checkpoint": str(folder / "trained.safetensors"),
    }
