"""What two processes do for tests/test_ddp.py: torchrun -m tests.ddp_program FOLDER; and the
trainings that one process repeats there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from mobilenets.archs import Arch, get_arch
from mobilenets.commands.train import Training, train_named
from mobilenets.data import Images, load_images
from mobilenets.errors import DataError
from mobilenets.nn import Checkpoint
from mobilenets.processes import group
from mobilenets.train import Limits, Recipe, Teacher, get_recipe, train
from mobilenets.train.module import Learner
from mobilenets.train.norm import share_

NETWORK = "mobilenet_v1_0.25_8_os4"
ARCH = get_arch("mobilenet_v3_small_0.35_16_os8", classes=10)  # squeeze-and-excite, dropout 0.2
# Recipes and their learning rate. "modern" is everything at once: images varied and blended,
# averaged weights, a teacher, statistics anew. AdamW at the full rate lets rounding grow: one
# process on one and on two threads differs by 0.1 within 50 steps; `fine_tune` at its own by 1e-4
# on one CPU and 4e-4 on another.
RECIPES = {"fine_tune": 1e-5, "modern": 1e-5}


def digits() -> Images:
    return load_images("digits")


def recipe(name: str) -> Recipe:
    """50 steps: an epoch of the digits has 20 batches."""
    return get_recipe(name, flip=False).limited(Limits(epochs=3, learning_rate=RECIPES.get(name)))


def named(folder: Path) -> Training:
    return Training(NETWORK, "digits", limits=Limits(epochs=4, flip=False), out=folder)


@contextmanager
def losses() -> Iterator[list[float]]:
    """The training losses of the steps within, in this process."""
    found: list[float] = []
    plain = Learner.training_step

    def step(module: Learner, batch: object, index: int) -> torch.Tensor:
        loss = plain(module, batch, index)
        found.append(loss.item())
        return loss

    Learner.training_step = step
    try:
        yield found
    finally:
        Learner.training_step = plain


def trained(name: str, folder: Path, arch: Arch = ARCH) -> tuple[list[float], Checkpoint]:
    """A training by the recipe of that name: its losses and what comes out."""
    start = Checkpoint.fresh(arch, seed=1)
    teacher = Teacher(Checkpoint.fresh(arch, seed=2).network()) if name == "modern" else None
    with losses() as found:
        checkpoint = train(
            arch, digits(), recipe(name), folder=folder, start=start, teacher=teacher
        )
    return found, checkpoint


def normalised(norm: torch.nn.Module, x: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """Two batches through a batch norm, and what it keeps; the gradients of the weighted sum."""
    x.requires_grad_()
    for _ in range(2):
        y = norm(x)
    (y * weights).sum().backward()
    kept = [norm.running_mean, norm.running_var, norm.weight.grad, norm.bias.grad]
    return [y.detach(), x.grad, *kept]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Channels far from zero, as activations may be: 7 images, which two cannot share evenly."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn((7, 3, 4, 5), generator=draw) + torch.tensor([0.0, 30, -5]).view(1, -1, 1, 1)
    return x, torch.randn((7, 3, 4, 5), generator=draw)


def half() -> slice:
    return slice(0, 3) if group.rank() == 0 else slice(3, 7)


def main(folder: Path) -> None:
    """Writes FOLDER/0.pt and FOLDER/1.pt."""
    found: dict[str, object] = {"weights": {}, "losses": {}, "norms": []}
    with group.joined():
        for momentum in (0.1, None):
            network = torch.nn.Sequential(torch.nn.BatchNorm2d(3, momentum=momentum))
            share_(network, "cpu")
            x, weights = (part[half()].clone() for part in batch())
            found["norms"].append(normalised(network[0], x, weights))
        for name in RECIPES:
            found["losses"][name], checkpoint = trained(name, folder / name)
            found["weights"][name] = dict(checkpoint.weights)
        train_named(named(folder / "named"))
        minutes = replace(recipe("from_scratch"), minutes=1e-6)
        planned = train(ARCH, digits(), minutes, folder=folder / "minutes")
        found["epochs"] = planned.training["epochs"]
        try:
            train_named(replace(named(folder / "none"), data="/nowhere"))
        except DataError as error:
            found["error"] = str(error)
        torch.save(found, folder / f"{group.rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
