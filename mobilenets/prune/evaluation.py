"""Evaluating a proposal: a pure function of values that can be sent anywhere and done again.

One thread always: another number of threads sums in another order, and the same proposal would
score otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import update_bn

from mobilenets.archs import Arch
from mobilenets.data import Images, StreamedPixels, decode, training_size
from mobilenets.nn import Checkpoint, surgery
from mobilenets.nn.gates import Gates, mean_gates, with_constant_gates
from mobilenets.prune.settings import Settings
from mobilenets.tasks import Targets, Task, joined
from mobilenets.tasks.targets import Indices
from mobilenets.train import Recipe, Teacher
from mobilenets.train.heap import kept_memory
from mobilenets.train.module import Learner, class_weights
from mobilenets.train.norm import lags

_EVAL_BATCH = 256
# Training images are drawn from so many bytes of them: a step sees a few thousand.
_POOL_BYTES = 2**29
_GRADIENT_BATCHES = 4
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Shared:
    """What all evaluations of an adaptation share: images as arrays, which go to other processes
    without a copy, and the recipe.

    `pixels` (N, 3, S, S) train; `held` (H, 3, R, R) score, `statistics` (B, 3, R, R) estimate batch
    norm, both as an artifact sees images. `teacher` is None where nobody teaches.
    """

    task: Task
    pixels: Pixels
    targets: Targets
    held: Pixels
    held_targets: Targets
    statistics: Pixels
    recipe: Recipe
    importance: str
    teacher: Checkpoint | None

    @classmethod
    def of(cls, start: Checkpoint, images: Images, settings: Settings) -> Shared:
        """Drawn from the training images and their holdout by the seed."""
        rng = np.random.default_rng(settings.seed)
        rule = images.preprocess(start.arch.resolution)
        square = images.preprocess(training_size(images, start.arch.size).written)
        room = max(_POOL_BYTES // (3 * square.size.area), 2 * settings.statistics)
        train, held = _some(images.train, room, rng), _some(images.holdout, settings.held_out, rng)
        statistics = _some(images.train, settings.statistics, rng)
        recipe = settings.recipe(start, images, short=True).for_images(len(images.train))
        return cls(
            task=images.task,
            pixels=StreamedPixels(images, train, square).decode(train).numpy(),
            targets=images.targets.take(train),
            held=decode(images, held, rule).numpy(),
            held_targets=images.targets.take(held),
            statistics=decode(images, statistics, rule).numpy(),
            recipe=replace(recipe, mean=start.mean, std=start.std),
            importance=settings.importance,
            teacher=start if settings.distill else None,
        )


def _some(indices: Indices, count: int, rng: np.random.Generator) -> Indices:
    return np.sort(rng.permutation(indices)[:count])


class Parent(NamedTuple):
    """The network that proposals are cut from; `gradients` by parameter name for importance
    "taylor", `gates` where squeeze-and-excite may go."""

    checkpoint: Checkpoint
    gradients: Mapping[str, Tensor] | None = None
    gates: Gates | None = None


class Job(NamedTuple):
    """A proposal to evaluate: trained for `steps` batches, 0 for cut only."""

    arch: Arch
    steps: int
    seed: int


class Outcome(NamedTuple):
    """Loss and accuracy, the task's metric in percent, on the held-out images; the weights where it
    was trained. A loss that is no number is infinite."""

    loss: float
    accuracy: float
    weights: Mapping[str, Tensor] | None


def evaluate(shared: Shared, parent: Parent, job: Job) -> Outcome:
    """Cut, train briefly, estimate batch norm anew where its statistics lag, score."""
    with _alone():
        checkpoint = parent.checkpoint
        if parent.gates is not None:
            checkpoint = with_constant_gates(checkpoint, job.arch, parent.gates)
        cut = surgery(
            checkpoint, job.arch, importance=shared.importance, gradients=parent.gradients
        )
        module = _module(shared, cut, job)
        if job.steps:
            train_briefly_(module, shared, job)
        if lags(job.steps, shared.recipe.bn_momentum, module.network):
            update_bn(_floats(shared.statistics, shared.recipe.batch_size), module)
        loss, accuracy = _score(module, shared)
        return Outcome(loss, accuracy, _weights(module) if job.steps else None)


def score(shared: Shared, checkpoint: Checkpoint) -> Outcome:
    """The loss and accuracy of a network as it is."""
    with _alone():
        module = _module(shared, checkpoint, Job(checkpoint.arch, 0, 0))
        return Outcome(*_score(module, shared), None)


def gradients(shared: Shared, checkpoint: Checkpoint, seed: int) -> dict[str, Tensor]:
    """The loss's gradient by parameter name, over a few batches of training images."""
    with _alone():
        job = Job(checkpoint.arch, _GRADIENT_BATCHES, seed)
        module = _module(shared, checkpoint, job)
        module.start_epoch(0)
        for pixels, target in _batches(shared, job):
            module.loss(pixels, target).backward()  # type: ignore[no-untyped-call]
        named = module.network.named_parameters()
        return {name: one.grad for name, one in named if one.grad is not None}


def gates(shared: Shared, checkpoint: Checkpoint) -> Gates:
    """The mean gates of squeeze-and-excite over the images that estimate batch norm."""
    with _alone():
        module = _module(shared, checkpoint, Job(checkpoint.arch, 0, 0))
        images = _floats(shared.statistics, shared.recipe.batch_size)
        return mean_gates(module.network, map(module.normalized, images))


def train_briefly_(module: Learner, shared: Shared, job: Job) -> None:
    """The short training: the recipe's whole schedule in `job.steps` batches."""
    module.train()
    module.start_epoch(0)
    tools = module.configure_optimizers()
    optimizer, schedule = tools["optimizer"], tools["lr_scheduler"]["scheduler"]
    for pixels, target in _batches(shared, job):
        optimizer.zero_grad()
        module.loss(pixels, target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    module.eval()


def _module(shared: Shared, checkpoint: Checkpoint, job: Job) -> Learner:
    teacher = None if shared.teacher is None else Teacher.of(shared.teacher)
    module = Learner(
        checkpoint.network(), shared.recipe, seed=job.seed, total_steps=max(job.steps, 1),
        teacher=teacher, task=shared.task,
        weights=class_weights(shared.recipe, shared.task, shared.targets),
    )  # fmt: skip
    return module.eval()


def _batches(shared: Shared, job: Job) -> Iterator[tuple[Tensor, Tensor]]:
    """`job.steps` batches in an order set by the seed, all images once before any comes again."""
    rng = np.random.default_rng(job.seed)
    size = min(shared.recipe.batch_size, len(shared.targets))
    order: Indices = np.empty(0, np.int64)
    for _ in range(job.steps):
        if len(order) < size:
            order = rng.permutation(len(shared.targets))
        chosen, order = order[:size], order[size:]
        target = torch.from_numpy(shared.targets.take(chosen).values)
        yield torch.from_numpy(shared.pixels[chosen]), target


def _floats(pixels: Pixels, size: int) -> Iterator[Tensor]:
    """Whole batches of float images in [0, 1]."""
    whole = max(len(pixels) // size, 1) * size
    for at in range(0, min(whole, len(pixels)), size):
        yield torch.from_numpy(pixels[at : at + size].copy()).float() / 255


@torch.inference_mode()
def _score(module: Learner, shared: Shared) -> tuple[float, float]:
    loss, parts, count = 0.0, [], len(shared.held)
    for at in range(0, count, _EVAL_BATCH):
        batch = np.arange(at, min(at + _EVAL_BATCH, count))
        target = torch.from_numpy(shared.held_targets.take(batch).values)
        outputs = module(torch.from_numpy(shared.held[batch]).float() / 255)
        loss += float(shared.task.loss(outputs, target, weights=module.weights, reduction="sum"))
        parts.append({name: one.numpy() for name, one in outputs.items()})
    found = shared.task.score(joined(parts), shared.held_targets)
    return loss / count if np.isfinite(loss) else inf, found.value or 0.0


def _weights(module: Learner) -> dict[str, Tensor]:
    """In the order of memory that a file gives them back in: what reads them sums alike."""
    state: dict[str, Any] = module.network.state_dict()
    return {name: one.clone(memory_format=torch.contiguous_format) for name, one in state.items()}


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Within: one thread, and random numbers and memory of our own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with kept_memory(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
