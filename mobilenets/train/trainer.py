"""`train`: arch, images, recipe -> checkpoint. Killed and called again, it goes on."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from mobilenets.archs import Arch, digest
from mobilenets.data import Images, decode
from mobilenets.errors import FileError, MobileNetsError, TrainingStopped
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.nn.head_modules import new_prefix
from mobilenets.runs.layout import BEST, LAST, METRICS
from mobilenets.tasks import Task
from mobilenets.train import group
from mobilenets.train.callbacks import (
    Kept,
    Mended,
    Metrics,
    Reported,
    Stoppable,
    WholeFiles,
    averaging,
)
from mobilenets.train.deadline import InTime, TimeLeft
from mobilenets.train.distill import Teacher
from mobilenets.train.going_on import claim_training, epochs_done
from mobilenets.train.hardware import accelerator, precision
from mobilenets.train.heap import kept_memory
from mobilenets.train.loaders import Loaders, loaders_of
from mobilenets.train.module import Learner, class_weights
from mobilenets.train.norm import IMAGES, MeanStatistics, Reestimate, lags
from mobilenets.train.plan import epochs_seen, planned
from mobilenets.train.recipe import Recipe
from mobilenets.train.resumed import BrokenState, Resumed, read_state

log = logging.getLogger(__name__)


@group.led
def train(
    arch: Arch,
    images: Images,
    recipe: Recipe,
    *,
    folder: Path,
    seed: int = 0,
    start: Checkpoint | None = None,
    teacher: Teacher | None = None,
    minutes: float | None = None,
) -> Checkpoint:
    """The checkpoint with the lowest holdout loss of a run of `recipe`.

    Where `recipe.minutes` limits the run, its number of epochs is planned from a timed trial; where
    not one fits, its only epoch is of as many images as do; where the machine slows down, it is
    shortened (`InTime`). `minutes` are those that this call has, where they are others: a run is
    known by its recipe's. The run's state lives in `folder`:
    called again with the same arguments, or for more epochs or minutes, it goes on after the last
    whole epoch; others are refused there. `start` gives the first weights, and how images are
    normalized; its classifier only where it has the same classes. `teacher` is imitated as
    `recipe.distill` says. Raises `TrainingStopped`, `TrainingDiverged`.

    Started by torchrun, the processes train together, each on its part of every batch
    (docs/howto/many-machines.md). All of them call this with the same arguments, and are given
    the same checkpoint; or one leads (`group.led`), and it alone calls this.
    """
    task = images.task
    taught = teacher is not None and recipe.distill.match == "logits"
    task.check(images.targets.take(images.train), taught=taught)
    recipe = recipe.for_images(len(images.train), started=start is not None)
    if start is not None:
        recipe = replace(recipe, mean=start.mean, std=start.std)
    inputs = {
        "arch": digest(arch),
        "images": images.fingerprint,
        "split": asdict(images.rule),
        "grey_range": images.grey_range,
        "resize": images.values.resize,
        "recipe": asdict(recipe),
        "seed": seed,
        "start": None if start is None else start.digest(),
        "teacher": None if teacher is None else teacher.digest(),
    }
    _check_shares(images, recipe)
    claim_training(folder, inputs)
    minutes = recipe.minutes and (minutes or recipe.minutes)
    run = _Run(arch, images, recipe, folder, seed, start, teacher, task, minutes)
    fitted = group.by_all(partial(_fitted, run))
    state = _best_of(fitted.best)
    return Checkpoint(
        arch=arch,
        weights=_weights_in(state),
        labels=task.labels,
        preprocess=images.preprocess(arch.resolution).to_json(),
        mean=recipe.mean,
        std=recipe.std,
        training={
            "recipe": asdict(fitted.recipe),
            "epochs": fitted.epochs,
            "seed": seed,
            "split": asdict(images.rule),
            "images": images.name,
            "fingerprint": images.fingerprint,
            "train_images": len(images.train),
            "holdout_loss": fitted.holdout_loss,
            "batch_norm": state["batch_norm"],
            "start": None if start is None else start.training,
            "teacher": inputs["teacher"],
            "unreadable": fitted.unreadable,
        },
        task=task.name,
    )


class _Run(NamedTuple):
    """The arguments of `train`, checked."""

    arch: Arch
    images: Images
    recipe: Recipe
    folder: Path
    seed: int
    start: Checkpoint | None
    teacher: Teacher | None
    task: Task
    minutes: float | None


class _Fitted(NamedTuple):
    """What a run came to: its recipe with the epochs that were planned, how many were trained, the
    state of the best one's end, and which images could not be read any more."""

    recipe: Recipe
    epochs: float
    best: Path
    holdout_loss: float
    unreadable: list[str]


def _fitted(run: _Run) -> _Fitted:
    """The part of `train` that all processes do together."""
    recipe, images = run.recipe, run.images
    left = None if run.minutes is None else TimeLeft(60 * run.minutes)
    loaders = loaders_of(images, recipe, images.preprocess(run.arch.resolution), run.seed)
    network = _first_network(run.arch, run.start, run.seed, run.task)
    if group.size() > 1 and accelerator() == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]

    weights = class_weights(recipe, run.task, images.targets.take(images.train))

    def module(recipe: Recipe, steps: int) -> Learner:
        return Learner(
            network, recipe, seed=run.seed, total_steps=recipe.epochs * steps,
            teacher=run.teacher, task=run.task, weights=weights,
        )  # fmt: skip

    mended = Mended(len(images.train))
    with kept_memory():
        recipe, steps = planned(module, recipe, loaders, run.folder, left)
        done = group.decided(lambda: epochs_done(run.folder))  # perhaps in more minutes than these
        recipe = replace(recipe, epochs=max(recipe.epochs, done))
        more: list[pl.Callback] = [*_care(images, recipe, run.start, network, steps), mended]
        if left is not None:
            more.append(InTime(left))
        trainer, best = _trained(module(recipe, steps), loaders, run.folder, more)
    return _Fitted(
        recipe,
        epochs_seen(trainer.global_step, len(loaders[0])),
        Path(best.best_model_path),
        float(best.best_model_score or 0),
        mended.found,
    )


def _check_shares(images: Images, recipe: Recipe) -> None:
    """Raise `MobileNetsError` where batches cannot be shared out evenly to the processes."""
    batch, processes = min(recipe.batch_size, len(images.train)), group.size()
    if batch % processes:
        raise MobileNetsError(
            f"batches of {batch} images cannot be shared out evenly to {processes} processes; "
            f"start as many as divide {batch}"
        )


def _first_network(arch: Arch, start: Checkpoint | None, seed: int, task: Task) -> MobileNet:
    torch.manual_seed(seed)
    network = MobileNet(arch)
    if start is not None:
        network.load_state_dict(_without_classifier(network, start), strict=False)
        if (start.task, start.labels) == (task.name, task.labels):
            network.load_state_dict(start.weights)
    return network


def _without_classifier(network: MobileNet, start: Checkpoint) -> Mapping[str, Tensor]:
    """The weights of `start` but for its classifier, or its whole head where that is another kind;
    raises `FileError` where shapes differ."""
    same = type(network.arch.head) is type(start.arch.head)
    last = new_prefix(network.head) if same else "head."
    ours = {k: v.shape for k, v in network.state_dict().items() if not k.startswith(last)}
    theirs = {k: v for k, v in start.weights.items() if k in ours}
    if {k: v.shape for k, v in theirs.items()} != ours:
        raise FileError(
            f"the starting checkpoint is of {start.arch.full_name} and does not fit "
            f"{network.arch.full_name}; start from a network of the same family, width and rule"
        )
    return theirs


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
    rule = images.preprocess(network.arch.resolution)
    pixels = decode(images, images.train[np.sort(order)], rule)
    return [Reestimate(pixels, recipe, at_start=carried)]


def _trainer(
    module: Learner, folder: Path, more: Sequence[pl.Callback]
) -> tuple[pl.Trainer, ModelCheckpoint]:
    recipe = module.recipe
    best = Kept(
        folder, Path(BEST).stem, monitor="holdout_loss", mode="min", enable_version_counter=False
    )
    last = Kept(folder, Path(LAST).stem, save_top_k=1, enable_version_counter=False)
    callbacks: list[pl.Callback] = [
        Metrics(folder / METRICS, module.task),
        EarlyStopping("holdout_loss", patience=recipe.patience, check_finite=True),
        best,
        last,
    ]
    if recipe.ema is not None:
        callbacks.append(averaging(recipe.ema, module.total_steps))
    callbacks += more  # after the averaging, which puts its weights in place
    if group.size() > 1:
        callbacks.append(Stoppable())
        if recipe.batch_norm != "frozen":
            callbacks.append(MeanStatistics())
    if group.rank() == 0:
        callbacks.append(Reported())
    trainer = pl.Trainer(
        max_epochs=recipe.epochs,
        limit_train_batches=module.total_steps // recipe.epochs,
        callbacks=callbacks,
        precision=precision(accelerator(), mixed=recipe.mixed_precision),
        use_distributed_sampler=False,
        **_processes(recipe),
        logger=False,
        enable_progress_bar=False,
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
        broadcast_buffers=False,  # each batch norm has its own, until `MeanStatistics`
        find_unused_parameters=recipe.head_epochs > 0,  # all but the classifier, for so long
    )
    return {
        "accelerator": accelerator(),
        "devices": group.local_size(),
        "num_nodes": group.size() // group.local_size(),
        "strategy": strategy,
        "plugins": [WholeFiles(), TorchElasticEnvironment()],
    }


def _trained(
    module: Learner, loaders: Loaders, folder: Path, more: Sequence[pl.Callback]
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """Train, from `last.ckpt` where it is there and whole, from `best.ckpt` where it is not; raises
    `FileError` where neither is."""
    files = [folder / name for name in (LAST, BEST)]
    states = group.decided(lambda: [one for one in files if files[0].exists() and one.exists()])
    for at, state in enumerate(states):
        try:
            return _trained_from(state, module, loaders, folder, more)
        except BrokenState as error:
            if at + 1 == len(states):
                raise FileError(
                    f"the state to resume from is broken: {error}; put a good copy of {state.name} "
                    f"into {folder}, or train from the beginning with --restart"
                ) from error
            log.warning(
                f"the state to resume from is broken: {error}; going on from the epoch with the "
                "lowest holdout loss so far"
            )
    return _trained_from(None, module, loaders, folder, more)


def _trained_from(
    state: Path | None,
    module: Learner,
    loaders: Loaders,
    folder: Path,
    more: Sequence[pl.Callback],
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """Raises `BrokenState`, and `TrainingStopped` on Ctrl-C and SIGTERM, which Lightning turns into
    a quiet exit (SIGTERM's with status 0)."""
    with _quiet():
        resumed = Resumed(state)
        trainer, best = _trainer(module, folder, [*more, resumed])
        try:
            with resumed.told():
                trainer.fit(module, *loaders, ckpt_path=state, weights_only=True)
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


def _best_of(path: Path) -> dict[str, Any]:
    """The state of the epoch that is kept; raises `FileError`."""
    try:
        return read_state(path)
    except BrokenState as error:
        raise FileError(
            f"the best epoch's weights are broken: {error}; put a good copy there, or train from "
            "the beginning with --restart"
        ) from error


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
