"""`mobilenets train`: one network that the user names, trained on the user's images."""

from __future__ import annotations

import csv
import logging
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mobilenets.archs import Arch, cost, get_arch, to_json
from mobilenets.data import Images, Preprocess, decode, load_images
from mobilenets.files import read_json, write_json
from mobilenets.nn import Checkpoint, Deployed
from mobilenets.stages import Stages
from mobilenets.train.distil import Teacher, teacher_in
from mobilenets.train.recipe import Limits, Recipe
from mobilenets.train.recipes import get_recipe
from mobilenets.train.start import starting_point
from mobilenets.train.train import train

log = logging.getLogger(__name__)
_BATCH = 256


@dataclass(frozen=True)
class Training:
    """What to train, on what, and how.

    `weights` are words for `starting_point`; `recipe` None is fine_tune with weights and
    from_scratch without; `teacher` is a checkpoint's file. `out` None is runs/DATA-NETWORK.
    """

    name: str
    data: str | Path
    width: float | None = None
    resolution: int | None = None
    weights: str | None = None
    recipe: str | None = None
    teacher: Path | None = None
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    out: Path | None = None

    @property
    def arch(self) -> Arch:
        """The network that is named, before weights bring their conventions."""
        return get_arch(self.name, width=self.width, resolution=self.resolution)

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.out or Path("runs", f"{Path(self.data).resolve().stem}-{self.arch.full_name}")

    def recipe_for(self, images: Images) -> Recipe:
        """The recipe that is named, for so many images, within the limits: a learning rate the user
        gives is the one that trains."""
        name = self.recipe or ("fine_tune" if self.weights else "from_scratch")
        recipe = get_recipe(name, flip=images.flip)
        started = self.weights is not None
        return recipe.for_images(len(images.train), started=started).limited(self.limits)


def train_named(training: Training) -> dict[str, Any]:
    """Train, score on the validation images, and tell: the record that `--json` prints.

    Everything is in the run folder, `trained.safetensors` above all; the same call goes on where a
    killed one was. `seconds` are those of all epochs with their evaluations, of broken runs too.
    """
    folder, arch = training.folder, training.arch
    get_recipe(training.recipe or "from_scratch")
    start = None if training.weights is None else starting_point(training.weights, arch)
    arch = arch if start is None else start.arch
    images = _images(training, folder)
    recipe = training.recipe_for(images)
    teacher = None if training.teacher is None else _teacher(training.teacher, recipe)
    arch = arch.with_classes(len(images.classes))
    stages = Stages(folder)
    inputs = [
        {"data": images.fingerprint, "rule": asdict(images.rule), "skipped": images.skipped},
        to_json(arch), asdict(recipe), training.seed,
        start and start.digest(), teacher and teacher.digest(),
    ]  # fmt: skip
    work = partial(
        train, arch, images, recipe, folder=folder, seed=training.seed, start=start, teacher=teacher
    )
    files = ["trained.safetensors", "metrics.csv"]
    stages.run("trained", inputs, files, lambda: _save(work(), folder))
    stages.run("scored", [], ["score.json"], lambda: _score(images, folder))
    return _record(arch, images, folder)


def _images(training: Training, folder: Path) -> Images:
    path = folder / "images.json"
    known = read_json(path) if path.exists() else None
    log.info(f"reading {training.data}")
    images = load_images(training.data, seed=training.seed, known=known)
    write_json(path, images.to_json())
    return images


def _teacher(path: Path, recipe: Recipe) -> Teacher:
    return teacher_in(path, match=recipe.distil.match)


def _save(checkpoint: Checkpoint, folder: Path) -> None:
    checkpoint.save(folder / "trained.safetensors")
    for name in ("last.ckpt", "best.ckpt"):
        (folder / name).unlink(missing_ok=True)


def _score(images: Images, folder: Path) -> None:
    log.info(f"scoring on {len(images.val)} validation images")
    checkpoint = Checkpoint.load(folder / "trained.safetensors")
    write_json(folder / "score.json", {"top1": top1(checkpoint, images)})


@torch.inference_mode()
def top1(checkpoint: Checkpoint, images: Images) -> float:
    """The percentage of the validation images that are recognised."""
    network = Deployed(checkpoint).to(memory_format=torch.channels_last)
    pixels = decode(images, images.val, Preprocess.from_json(checkpoint.preprocess))
    best = torch.cat(
        [network(part.float() / 255).argmax(1) for part in torch.split(pixels, _BATCH)]
    )
    return 100 * float((best == torch.from_numpy(images.labels[images.val])).double().mean())


def _record(arch: Arch, images: Images, folder: Path) -> dict[str, Any]:
    training = Checkpoint.load(folder / "trained.safetensors").training
    with (folder / "metrics.csv").open(newline="") as file:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    costs = cost(arch)
    return {
        "name": arch.name,
        "width": arch.width,
        "resolution": arch.resolution,
        "params": costs.params,
        "macs": costs.macs,
        "top1": read_json(folder / "score.json")["top1"],
        "epochs": training["epochs"],
        "seconds": round(seconds, 3),
        "images_per_second": round(len(images.train) * training["epochs"] / seconds, 1),
        "checkpoint": str(folder / "trained.safetensors"),
    }
