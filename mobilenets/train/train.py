"""`train`: arch, images, recipe -> checkpoint. Killed and called again, it goes on."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer, TQDMProgressBar
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from mobilenets.archs import Arch, digest
from mobilenets.data import (
    EpochSampler,
    Images,
    MemoryPixels,
    Preprocess,
    StreamedPixels,
    decode,
    train_pixels,
    whole,
)
from mobilenets.errors import FileError, TrainingStopped
from mobilenets.files import read_json, write_json
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.train.callbacks import Metrics, WholeFiles, averaging
from mobilenets.train.distil import Teacher
from mobilenets.train.heap import kept_memory
from mobilenets.train.module import Classification
from mobilenets.train.norm import IMAGES, Reestimate, lags
from mobilenets.train.recipe import Recipe

_Loaders = tuple[DataLoader[Any], DataLoader[Any]]
_EVAL_BATCH = 256
# Trained past the planned time, for a machine that slowed down, before training is cut short.
_GRACE = 1.25


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

    Where `recipe.minutes` limits the run, its number of epochs is planned from a timed trial. The
    run's state lives in `folder`: called again with the same arguments it goes on after the last
    whole epoch, with others it starts anew. `start` gives the first weights, and how images are
    normalised; its classifier only where it has the same classes. `teacher` is imitated as
    `recipe.distil` says. Raises `TrainingStopped`, `TrainingDiverged`.
    """
    preprocess = Preprocess(arch.resolution)
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
    _claim(folder, inputs)
    loaders = _loaders(images, recipe, preprocess, seed)
    network = _first_network(arch, start, seed, images.classes)

    def module(recipe: Recipe) -> Classification:
        steps = recipe.epochs * len(loaders[0])
        return Classification(
            network, recipe, seed=seed, total_steps=steps, teacher=teacher, classes=images.classes
        )

    with kept_memory():
        recipe = _plan(module, recipe, loaders, folder)
        trainer, best = _run(module(recipe), loaders, folder, _care(images, recipe, start, network))
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    return Checkpoint(
        arch=arch,
        weights=_weights_in(state),
        labels=images.classes,
        preprocess=preprocess.to_json(),
        mean=recipe.mean,
        std=recipe.std,
        training={
            "recipe": asdict(recipe),
            "epochs": trainer.current_epoch,
            "seed": seed,
            "images": images.name,
            "fingerprint": images.fingerprint,
            "train_images": len(images.train),
            "holdout_loss": float(best.best_model_score or 0),
            "batch_norm": state["batch_norm"],
            "start": None if start is None else start.training,
            "teacher": inputs["teacher"],
        },
    )


def _claim(folder: Path, inputs: dict[str, Any]) -> None:
    """Make `folder` the run of these inputs: what another run left there is removed."""
    inputs = json.loads(json.dumps(inputs))  # tuples become lists, as in the file
    path = folder / "training.json"
    if path.exists() and read_json(path) == inputs:
        return
    for name in ("last.ckpt", "best.ckpt", "plan.json", "metrics.csv"):
        (folder / name).unlink(missing_ok=True)
    write_json(path, inputs)


def _loaders(images: Images, recipe: Recipe, preprocess: Preprocess, seed: int) -> _Loaders:
    """Training batches in an order set by (seed, epoch); holdout batches as the artefact sees
    them. Both hand over whole batches."""
    pixels = train_pixels(images, preprocess.resolution)
    batches = BatchSampler(
        EpochSampler(len(images.train), seed),
        batch_size=min(recipe.batch_size, len(images.train)),
        drop_last=True,
    )
    holdout = MemoryPixels(
        decode(images, images.holdout, preprocess), torch.from_numpy(images.labels[images.holdout])
    )
    workers = (os.cpu_count() or 1) if isinstance(pixels, StreamedPixels) else 0
    return (
        DataLoader(
            pixels, batch_sampler=batches, collate_fn=whole, num_workers=workers,
            persistent_workers=workers > 0, generator=torch.Generator(),
        ),
        DataLoader(
            holdout, batch_size=_EVAL_BATCH, collate_fn=whole, generator=torch.Generator()
        ),
    )  # fmt: skip


def _first_network(
    arch: Arch, start: Checkpoint | None, seed: int, classes: tuple[str, ...]
) -> MobileNet:
    torch.manual_seed(seed)
    network = MobileNet(arch)
    if start is not None:
        network.load_state_dict(_without_classifier(network, start), strict=False)
        if start.labels == classes:
            network.load_state_dict(start.weights)
    return network


def _without_classifier(network: MobileNet, start: Checkpoint) -> Mapping[str, Tensor]:
    """The weights of `start` for all rows but the last; raises `FileError` where shapes differ."""
    last = f"rows.{len(network.arch.rows) - 1}."
    ours = {k: v.shape for k, v in network.state_dict().items() if not k.startswith(last)}
    theirs = {k: v for k, v in start.weights.items() if k in ours}
    if {k: v.shape for k, v in theirs.items()} != ours:
        raise FileError(
            f"the start's weights are those of {start.arch.full_name} and do not fit "
            f"{network.arch.full_name}; start from a network of the same family, width and rule"
        )
    return theirs


def _plan(
    module: Callable[[Recipe], Classification], recipe: Recipe, loaders: _Loaders, folder: Path
) -> Recipe:
    """The recipe with the epochs that fit into its minutes: as planned before, or timed now."""
    if recipe.minutes is None:
        return recipe
    path = folder / "plan.json"
    if not path.exists():
        seconds = _seconds_per_epoch(copy.deepcopy(module(recipe)), loaders)
        epochs = max(1, min(recipe.epochs, int(60 * recipe.minutes / seconds)))
        write_json(path, {"epochs": epochs, "seconds_per_epoch": seconds})
    return replace(recipe, epochs=read_json(path)["epochs"])


def _seconds_per_epoch(trial: Classification, loaders: _Loaders, *, steps: int = 10) -> float:
    """A few training steps of `trial`, timed after warm-up; the holdout, and the images that batch
    norm is estimated from, at a third of their price an image (no backward pass)."""
    trial.train()
    optimiser = trial.configure_optimizers()["optimizer"]
    times = []
    for (pixels, labels), _ in zip(_forever(loaders[0]), range(steps + 3), strict=False):
        begin = time.perf_counter()
        optimiser.zero_grad()
        trial.loss(pixels, labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        times.append(time.perf_counter() - begin)
    step = sorted(times[3:])[steps // 2]
    looked_at = len(loaders[1]) * _EVAL_BATCH + (IMAGES if trial.recipe.ema else 0)
    return step * (len(loaders[0]) + looked_at / trial.recipe.batch_size / 3)


def _forever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _care(
    images: Images, recipe: Recipe, start: Checkpoint | None, network: MobileNet
) -> Reestimate | None:
    """What estimates batch norm's statistics anew, where this run ever needs it."""
    carried = start is not None and "surgery" in start.training
    steps = len(images.train) // min(recipe.batch_size, len(images.train))
    lagging = recipe.ema is not None or lags(steps, recipe.bn_momentum, network)
    if not carried and (recipe.batch_norm == "frozen" or not lagging):
        return None
    order = np.random.default_rng(0).permutation(len(images.train))[:IMAGES]
    pixels = decode(images, images.train[np.sort(order)], Preprocess(network.arch.resolution))
    return Reestimate(pixels, recipe, at_start=carried)


def _trainer(
    recipe: Recipe, folder: Path, steps: int, care: Reestimate | None
) -> tuple[pl.Trainer, ModelCheckpoint]:
    best = ModelCheckpoint(
        folder, "best", monitor="holdout_loss", mode="min", enable_version_counter=False
    )
    last = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    callbacks: list[pl.Callback] = [
        Metrics(folder / "metrics.csv"),
        EarlyStopping("holdout_loss", patience=recipe.patience, check_finite=True),
        best,
        last,
    ]
    if recipe.ema is not None:
        callbacks.append(averaging(recipe.ema, steps))
    if care is not None:
        callbacks.append(care)  # after the averaging, which puts its weights in place
    if sys.stderr.isatty():
        callbacks.append(TQDMProgressBar())
    if recipe.minutes is not None:
        limit = timedelta(minutes=_GRACE * recipe.minutes)
        callbacks.append(Timer(limit, interval="epoch", verbose=False))
    trainer = pl.Trainer(
        max_epochs=recipe.epochs,
        callbacks=callbacks,
        plugins=[WholeFiles()],
        logger=False,
        enable_progress_bar=sys.stderr.isatty(),
        default_root_dir=folder,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        devices=1,
    )
    return trainer, best


def _run(
    module: Classification, loaders: _Loaders, folder: Path, care: Reestimate | None
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """Train, from `last.ckpt` where it is there; raises `TrainingStopped` on Ctrl-C and SIGTERM,
    which Lightning turns into a quiet exit (SIGTERM's with status 0)."""
    last = folder / "last.ckpt"
    start = last if last.exists() else None
    with _quiet():
        trainer, best = _trainer(module.recipe, folder, module.total_steps, care)
        try:
            trainer.fit(module, *loaders, ckpt_path=start, weights_only=True)
            stopped = trainer.interrupted
        except SystemExit:
            stopped = True
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
