"""What two processes do for tests/test_ddp.py: torchrun -m tests.ddp_program FOLDER; and the
training that one process repeats there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch

from mobilenets.archs import Arch, get_arch
from mobilenets.commands.train import Training, train_named
from mobilenets.data import Augment, Images, load_images
from mobilenets.errors import MobileNetsError
from mobilenets.nn import Checkpoint
from mobilenets.train import Limits, Recipe, Teacher, get_recipe, group, train
from mobilenets.train.job import read_images
from mobilenets.train.norm import MeanStatistics

NETWORK = "mobilenet_v1_0.25_8_os4"
ARCH: Arch = get_arch("mobilenet_v3_small_0.35_16_os8", classes=10)


def digits() -> Images:
    return load_images("digits")


def plain() -> Recipe:
    """60 steps in which only batch norm tells two processes from one: nothing is drawn. The rate is
    a 16th of the recipe's, and the loss still falls by a tenth."""
    recipe = get_recipe("from_scratch").limited(Limits(epochs=3, learning_rate=2.5e-4))
    return replace(recipe, augment=Augment.none(), dropout=0.0)


def named(folder: Path) -> Training:
    return Training(NETWORK, "digits", limits=Limits(epochs=4, flip=False), out=folder)


def averaged() -> float:
    """A running mean, at first this process's rank, before an evaluation."""
    network = torch.nn.BatchNorm2d(1)
    network.running_mean.fill_(group.rank())
    MeanStatistics().on_validation_epoch_start(None, SimpleNamespace(network=network))
    return network.running_mean.item()


def refused(work: Callable[[], object]) -> str:
    """What an error of ours says."""
    try:
        work()
    except MobileNetsError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Each process calls all of it, as a program does that knows of no others; writes FOLDER/0.pt
    and FOLDER/1.pt."""
    train(ARCH, digits(), plain(), folder=folder / "plain")
    # Averaged weights, a teacher, images varied and blended, in as many epochs as are planned.
    modern = replace(get_recipe("modern", flip=False), minutes=1e-6)
    teacher = Teacher(Checkpoint.fresh(ARCH, seed=2).network())
    checkpoint = train(ARCH, digits(), modern, folder=folder / "modern", teacher=teacher)
    found = {
        "weights": dict(checkpoint.weights),
        "epochs": checkpoint.training["epochs"],
        "named": train_named(named(folder / "named"))["top1"],
        "nowhere": refused(lambda: train_named(replace(named(folder / "no"), data="/nowhere"))),
        "mean": group.led(partial(group.by_all, averaged))(),
        "alone": refused(lambda: read_images("digits", folder / "alone", seed=0)),
    }
    torch.save(found, folder / f"{group.rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
