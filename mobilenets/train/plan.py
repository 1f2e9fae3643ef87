"""How many epochs fit into the time that is left, by a timed trial."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from mobilenets.files import broken, read_json, write_json
from mobilenets.runs.layout import PLAN
from mobilenets.shapes import Positive
from mobilenets.train import group
from mobilenets.train.deadline import TimeLeft
from mobilenets.train.hardware import accelerator, autocast, precision
from mobilenets.train.loaders import Loaders
from mobilenets.train.module import Learner
from mobilenets.train.norm import IMAGES
from mobilenets.train.recipe import Recipe

log = logging.getLogger(__name__)

# What of the time may go into finding out how long a step takes.
_TRIAL = 0.1


class _Plan(TypedDict):
    epochs: Positive
    steps: NotRequired[Positive]


def planned(
    module: Callable[[Recipe, int], Learner],
    recipe: Recipe,
    loaders: Loaders,
    folder: Path,
    left: TimeLeft | None,
) -> tuple[Recipe, int]:
    """The recipe with the epochs that fit into the time that is left (None: all), and how many
    steps each has: as planned before, or timed now."""
    whole = len(loaders[0])
    if left is None:
        return recipe, whole
    path = folder / PLAN
    plan = group.decided(lambda: read_json(path, _Plan) if path.exists() else None)
    if plan is None:
        trial = copy.deepcopy(module(recipe, whole))
        step, evaluation = _seconds(trial, loaders, within=_TRIAL * left())
        epoch, remaining = whole * step + evaluation, left()
        epochs = max(1, min(recipe.epochs, int(remaining / epoch)))
        steps = max(1, min(whole, int((remaining - evaluation) / step)))
        timed = {"epochs": epochs, "steps": steps, "seconds_per_epoch": epoch}
        plan = group.decided(lambda: _kept(timed, path))
        fitting = epochs_seen(plan["epochs"] * plan["steps"], whole)
        if fitting < recipe.epochs:
            minutes = left.seconds / 60
            log.info(
                f"{fitting} of the recipe's {recipe.epochs} epochs fit into {minutes:.3g} "
                f"minutes; all of them take {math.ceil(recipe.epochs * epoch / 60)}"
            )
    epochs, steps = plan["epochs"], plan.get("steps", whole)  # older plans: all
    if epochs > recipe.epochs or steps > whole:
        raise broken(path, f"it has {epochs} epochs of {steps} steps")
    return replace(recipe, epochs=epochs), steps


def _kept(plan: dict[str, Any], path: Path) -> dict[str, Any]:
    write_json(path, plan)
    return plan


def epochs_seen(steps: int, whole: int) -> float:
    """How often all images are seen in `steps`, where `whole` show them all."""
    return float(f"{steps / whole:.3g}") if steps % whole else steps // whole


def _seconds(
    trial: Learner, loaders: Loaders, *, within: float, steps: int = 10
) -> tuple[float, float]:
    """Of a training step of `trial`, the median of a few after warm-up, of fewer where those take
    longer than `within` seconds; and of an epoch's evaluation: the holdout, and the images that
    batch norm is estimated from, at a third of their price an image (no backward pass)."""
    trial.train().to(accelerator())
    optimizer = trial.configure_optimizers()["optimizer"]
    times = []
    for batch, _ in zip(_forever(loaders[0]), range(steps + 3), strict=False):
        begin = time.perf_counter()
        _step_(trial, optimizer, batch.pixels.to(trial.device), batch.target.to(trial.device))
        times.append(time.perf_counter() - begin)
        if group.size() == 1 and sum(times) > within:
            break
    settled = sorted(times[3:] or times[-1:])
    step = settled[len(settled) // 2]
    training, holdout = (len(loader.dataset) for loader in loaders)  # type: ignore[arg-type]
    estimates = trial.recipe.ema is not None and trial.recipe.batch_norm != "frozen"
    looked_at = holdout + (min(IMAGES, training) if estimates else 0)
    return step, step * looked_at * group.size() / trial.recipe.batch_size / 3


def _step_(
    trial: Learner, optimizer: torch.optim.Optimizer, pixels: Tensor, target: Tensor
) -> None:
    """A training step, the gradients summed over the processes, until it is done."""
    optimizer.zero_grad()
    where = trial.device.type
    with autocast(where, precision(where, mixed=trial.recipe.mixed_precision)):
        loss = trial.loss(pixels, target)
    loss.backward()  # type: ignore[no-untyped-call]
    if group.size() > 1:
        for weight in trial.parameters():
            if weight.grad is not None:
                dist.all_reduce(weight.grad)
    optimizer.step()
    if where != "cpu":
        torch.accelerator.synchronize()


def _forever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader
