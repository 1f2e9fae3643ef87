"""`train`: arch, images, recipe -> checkpoint. Killed and called again, it goes on."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from mobilenets.archs import Arch, digest
from mobilenets.data import (
    EpochSampler,
    Images,
    MemoryPixels,
    Part,
    PartSampler,
    Preprocess,
    StreamedPixels,
    decode,
    train_pixels,
    whole,
)
from mobilenets.errors import FileError, MobileNetsError, TrainingStopped
from mobilenets.files import read_json, write_json
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.processes import group
from mobilenets.tasks import Task
from mobilenets.train.callbacks import Mended, Metrics, Stoppable, WholeFiles, averaging
from mobilenets.train.distil import Teacher
from mobilenets.train.hardware import accelerator, autocast, precision
from mobilenets.train.heap import kept_memory
from mobilenets.train.module import Learner
from mobilenets.train.norm import IMAGES, Reestimate, lags
from mobilenets.train.recipe import Recipe

log = logging.getLogger(__name__)

_Loaders = tuple[DataLoader[Any], DataLoader[Any]]
_EVAL_BATCH = 256
# Trained past the planned time, for a machine that slowed down, before training is cut short.
_GRACE = 1.25


@group.joined()
def train(
    arch: Arch,
    images: Images,
    recipe: Recipe,
    *,
    folder: Path,
    seed: int = 0,
    start: Checkpoint | None = None,
    teacher: Teacher | None = None,
) -> Checkpoint:
    """The checkpoint with the lowest holdout loss of a run of `recipe`.

    Where `recipe.minutes` limits the run, its number of epochs is planned from a timed trial; where
    not one fits, its only epoch is of as many images as do. The run's state lives in `folder`:
    called again with the same arguments it goes on after the last whole epoch, with others it
    starts anew. `start` gives the first weights, and how images are
    normalised; its classifier only where it has the same classes. `teacher` is imitated as
    `recipe.distil` says. Raises `TrainingStopped`, `TrainingDiverged`.

    Started by torchrun, the processes train together, each on its part of every batch: what comes
    out is what one process would give, but for rounding. All of them call this with the same
    arguments, and are given the same checkpoint.
    """
    preprocess = Preprocess(arch.resolution)
    task = images.task
    taught = teacher is not None and recipe.distil.match == "logits"
    task.check(images.targets.take(images.train), taught=taught)
    recipe = recipe.for_images(len(images.train), started=start is not None)
    if start is not None:
        recipe = replace(recipe, mean=start.mean, std=start.std)
    inputs = {
        "arch": digest(arch),
        "images": images.fingerprint,
        "split": asdict(images.rule),
        "recipe": asdict(recipe),
        "seed": seed,
        "start": None if start is None else start.digest(),
        "teacher": None if teacher is None else teacher.digest(),
    }
    part = _part(images, recipe)
    group.decided(lambda: _claim(folder, inputs))
    loaders = _loaders(images, recipe, preprocess, seed, part)
    network = _first_network(arch, start, seed, task)

    def module(recipe: Recipe, steps: int) -> Learner:
        total = recipe.epochs * steps
        return Learner(
            network, recipe, seed=seed, total_steps=total, teacher=teacher, task=task, part=part
        )

    mended = Mended(len(images.train))
    with kept_memory():
        recipe, steps = _plan(module, recipe, loaders, folder)
        care = _care(images, recipe, start, network, steps)
        trainer, best = _run(module(recipe, steps), loaders, folder, [*care, mended])
    state = group.decided(
        lambda: torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    )
    return Checkpoint(
        arch=arch,
        weights=_weights_in(state),
        labels=task.labels,
        preprocess=preprocess.to_json(),
        mean=recipe.mean,
        std=recipe.std,
        training={
            "recipe": asdict(recipe),
            "epochs": _epochs(trainer.current_epoch, steps, len(loaders[0])),
            "seed": seed,
            "images": images.name,
            "fingerprint": images.fingerprint,
            "train_images": len(images.train),
            "holdout_loss": float(best.best_model_score or 0),
            "batch_norm": state["batch_norm"],
            "start": None if start is None else start.training,
            "teacher": inputs["teacher"],
            "unreadable": mended.found,
        },
        task=task.name,
    )


def _part(images: Images, recipe: Recipe) -> Part:
    """What this process takes of each batch; raises `MobileNetsError` where batches cannot be
    shared out evenly."""
    batch, processes = min(recipe.batch_size, len(images.train)), group.size()
    if batch % processes:
        raise MobileNetsError(
            f"batches of {batch} images cannot be shared out evenly to {processes} processes; "
            f"start as many as divide {batch}"
        )
    blends = processes > 1 and (recipe.mixup > 0 or recipe.cutmix > 0)
    return Part(group.rank(), processes, overlap=int(blends))


def _claim(folder: Path, inputs: dict[str, Any]) -> None:
    """Make `folder` the run of these inputs: what another run left there is removed."""
    inputs = json.loads(json.dumps(inputs))  # tuples become lists, as in the file
    path = folder / "training.json"
    if path.exists() and read_json(path) == inputs:
        return
    for name in ("last.ckpt", "best.ckpt", "plan.json", "metrics.csv"):
        (folder / name).unlink(missing_ok=True)
    write_json(path, inputs)


def _loaders(
    images: Images, recipe: Recipe, preprocess: Preprocess, seed: int, part: Part
) -> _Loaders:
    """Training batches in an order set by (seed, epoch), of each this process's part; holdout
    batches as the artefact sees them. Both hand over whole batches."""
    pixels = train_pixels(images, preprocess.size)
    batches = BatchSampler(
        EpochSampler(len(images.train), seed),
        batch_size=min(recipe.batch_size, len(images.train)),
        drop_last=True,
    )
    chosen = images.holdout
    if len(chosen) >= part.processes:  # else each takes them all, and the mean is the same
        chosen = chosen[part.rank :: part.processes]
    holdout = MemoryPixels(
        decode(images, chosen, preprocess), torch.from_numpy(images.targets.take(chosen).values)
    )
    cores = max((os.cpu_count() or 1) // group.local_size(), 1)
    workers = cores if isinstance(pixels, StreamedPixels) else 0
    return (
        DataLoader(
            pixels, batch_sampler=PartSampler(batches, part), collate_fn=whole, num_workers=workers,
            persistent_workers=workers > 0, generator=torch.Generator(),
        ),
        DataLoader(
            holdout, batch_size=_EVAL_BATCH, collate_fn=whole, generator=torch.Generator()
        ),
    )  # fmt: skip


def _first_network(arch: Arch, start: Checkpoint | None, seed: int, task: Task) -> MobileNet:
    torch.manual_seed(seed)
    network = MobileNet(arch)
    if start is not None:
        network.load_state_dict(_without_classifier(network, start), strict=False)
        if (start.task, start.labels) == (task.name, task.labels):
            network.load_state_dict(start.weights)
    return network


def _without_classifier(network: MobileNet, start: Checkpoint) -> Mapping[str, Tensor]:
    """The weights of `start` but for its classifier; raises `FileError` where shapes differ."""
    last = "head.classifier."
    ours = {k: v.shape for k, v in network.state_dict().items() if not k.startswith(last)}
    theirs = {k: v for k, v in start.weights.items() if k in ours}
    if {k: v.shape for k, v in theirs.items()} != ours:
        raise FileError(
            f"the start's weights are those of {start.arch.full_name} and do not fit "
            f"{network.arch.full_name}; start from a network of the same family, width and rule"
        )
    return theirs


def _plan(
    module: Callable[[Recipe, int], Learner], recipe: Recipe, loaders: _Loaders, folder: Path
) -> tuple[Recipe, int]:
    """The recipe with the epochs that fit into its minutes, and how many steps each has: as planned
    before, or timed now."""
    whole = len(loaders[0])
    if recipe.minutes is None:
        return recipe, whole
    path = folder / "plan.json"
    if not group.decided(path.exists):
        step, evaluation = _seconds(copy.deepcopy(module(recipe, whole)), loaders)
        epoch, given = whole * step + evaluation, 60 * recipe.minutes
        epochs = max(1, min(recipe.epochs, int(given / epoch)))
        steps = max(1, min(whole, int((given - evaluation) / step)))
        timed = {"epochs": epochs, "steps": steps, "seconds_per_epoch": epoch}
        group.decided(lambda: write_json(path, timed))
        fitting = _epochs(epochs, steps, whole)
        if fitting < recipe.epochs and group.rank() == 0:
            log.info(
                f"{fitting} of the recipe's {recipe.epochs} epochs fit into {recipe.minutes:g} "
                f"minutes; all of them take {math.ceil(recipe.epochs * epoch / 60)}"
            )
    plan = group.decided(lambda: read_json(path))
    return replace(recipe, epochs=plan["epochs"]), plan.get("steps", whole)  # older plans: all


def _epochs(epochs: int, steps: int, whole: int) -> float:
    """How often all images are seen in `epochs` of `steps`, where `whole` show them all."""
    return epochs if steps == whole else float(f"{epochs * steps / whole:.3g}")


def _seconds(trial: Learner, loaders: _Loaders, *, steps: int = 10) -> tuple[float, float]:
    """Of a training step of `trial`, the median of a few after warm-up; and of an epoch's
    evaluation: the holdout, and the images that batch norm is estimated from, at a third of their
    price an image (no backward pass)."""
    trial.train().to(accelerator())
    optimiser = trial.configure_optimizers()["optimizer"]
    times = []
    for batch, _ in zip(_forever(loaders[0]), range(steps + 3), strict=False):
        begin = time.perf_counter()
        _step_(trial, optimiser, batch.pixels.to(trial.device), batch.target.to(trial.device))
        times.append(time.perf_counter() - begin)
    step = sorted(times[3:])[steps // 2]
    processes = trial.part.processes
    looked_at = len(loaders[1]) * _EVAL_BATCH + (IMAGES / processes if trial.recipe.ema else 0)
    return step, step * looked_at * processes / trial.recipe.batch_size / 3


def _step_(
    trial: Learner, optimiser: torch.optim.Optimizer, pixels: Tensor, target: Tensor
) -> None:
    """A training step, the gradients summed over the processes, until it is done."""
    optimiser.zero_grad()
    where = trial.device.type
    with autocast(where, precision(where, mixed=trial.recipe.mixed_precision)):
        loss = trial.loss(pixels, target)
    loss.backward()  # type: ignore[no-untyped-call]
    if trial.part.processes > 1:
        for weight in trial.parameters():
            if weight.grad is not None:
                dist.all_reduce(weight.grad)
    optimiser.step()
    if where != "cpu":
        torch.accelerator.synchronize()


def _forever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _care(
    images: Images, recipe: Recipe, start: Checkpoint | None, network: MobileNet, steps: int
) -> list[Reestimate]:
    """What estimates batch norm's statistics anew, where this run ever needs it; `steps` are those
    before its first evaluation."""
    carried = start is not None and "surgery" in start.training
    lagging = recipe.ema is not None or lags(steps, recipe.bn_momentum, network)
    if not carried and (recipe.batch_norm == "frozen" or not lagging):
        return []
    order = np.random.default_rng(0).permutation(len(images.train))[:IMAGES]
    pixels = decode(images, images.train[np.sort(order)], Preprocess(network.arch.resolution))
    part = Part(group.rank(), group.size())
    return [Reestimate(pixels, recipe, at_start=carried, part=part)]


def _trainer(
    module: Learner, folder: Path, more: Sequence[pl.Callback]
) -> tuple[pl.Trainer, ModelCheckpoint]:
    recipe = module.recipe
    best = ModelCheckpoint(
        folder, "best", monitor="holdout_loss", mode="min", enable_version_counter=False
    )
    last = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    callbacks: list[pl.Callback] = [
        Metrics(folder / "metrics.csv", module.task),
        EarlyStopping("holdout_loss", patience=recipe.patience, check_finite=True),
        best,
        last,
    ]
    if recipe.ema is not None:
        callbacks.append(averaging(recipe.ema, module.total_steps))
    callbacks += more  # after the averaging, which puts its weights in place
    if group.size() > 1:
        callbacks.append(Stoppable())
    if sys.stderr.isatty():
        callbacks.append(TQDMProgressBar())
    if recipe.minutes is not None:
        limit = timedelta(minutes=_GRACE * recipe.minutes)
        callbacks.append(Timer(limit, interval="epoch", verbose=False))
    trainer = pl.Trainer(
        max_epochs=recipe.epochs,
        limit_train_batches=module.total_steps // recipe.epochs,
        callbacks=callbacks,
        precision=precision(accelerator(), mixed=recipe.mixed_precision),
        use_distributed_sampler=False,
        **_processes(recipe),
        logger=False,
        enable_progress_bar=sys.stderr.isatty(),
        default_root_dir=folder,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    return trainer, best


def _processes(recipe: Recipe) -> dict[str, Any]:
    """Lightning's settings for where and by how many processes is trained."""
    if group.size() == 1:
        plugins = [WholeFiles(), LightningEnvironment()]
        return {"accelerator": accelerator(), "devices": 1, "plugins": plugins}
    strategy = DDPStrategy(
        broadcast_buffers=False,  # they are the same everywhere: see `norm.share_`
        find_unused_parameters=recipe.head_epochs > 0,  # all but the classifier, for so long
    )
    return {
        "accelerator": accelerator(),
        "devices": group.local_size(),
        "num_nodes": group.size() // group.local_size(),
        "strategy": strategy,
        "plugins": [WholeFiles(), TorchElasticEnvironment()],
    }


def _run(
    module: Learner, loaders: _Loaders, folder: Path, more: Sequence[pl.Callback]
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """Train, from `last.ckpt` where it is there; raises `TrainingStopped` on Ctrl-C and SIGTERM,
    which Lightning turns into a quiet exit (SIGTERM's with status 0)."""
    last = folder / "last.ckpt"
    start = group.decided(lambda: last if last.exists() else None)
    with _quiet():
        trainer, best = _trainer(module, folder, more)
        try:
            trainer.fit(module, *loaders, ckpt_path=start, weights_only=True)
            stopped = trainer.interrupted
        except SystemExit:
            stopped = True
        except RuntimeError as error:
            if not group.is_lost(error):
                raise
            raise TrainingStopped(
                f"another process of this run ended in epoch {trainer.current_epoch + 1} of "
                f"{trainer.max_epochs}; the same command goes on after the last whole epoch"
            ) from error
    if stopped:
        raise TrainingStopped(
            f"training was stopped in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}; "
            "the same command goes on after the last whole epoch"
        )
    return trainer, best


def _weights_in(state: dict[str, Any]) -> dict[str, Tensor]:
    """The network's weights in a Lightning checkpoint."""
    return {
        name.removeprefix("network."): tensor.contiguous()
        for name, tensor in state["state_dict"].items()
        if name.startswith("network.")
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Progress goes to stderr; Lightning's advice to its own users is not for ours."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
