"""A training as `train` does it, for many small networks side by side on one GPU.

A GPU runs a step of such a network faster than Python launches its kernels. Here all images lie on
the card and the whole step, from drawing the batch to the optimizer, is one CUDA graph that is
replayed; network, augmentation, loss, optimizer and schedule are those of `train`, and so is the
choice of the epoch by the loss on the holdout. The draws come from the card's generator. In float32
throughout, without TF32.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mobilenets.archs import Arch
from mobilenets.data import Images, MemoryPixels, Preprocess, decode, train_pixels
from mobilenets.errors import MobileNetsError
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.train import Recipe
from mobilenets.train.module import Learner
from mobilenets.train.optimize import parameter_groups, rate_factor

_WARM_UP, _EVAL_BATCH = 3, 1000


def train_replayed(
    arch: Arch, images: Images, recipe: Recipe, *, seed: int, start: Checkpoint | None = None
) -> Checkpoint:
    """The checkpoint with the lowest holdout loss, of all epochs of `recipe`, which must have AdamW
    and no averaged weights."""
    if recipe.rmsprop is not None or recipe.ema is not None:
        raise MobileNetsError(
            f"{recipe.name} has RMSprop or averaged weights, which are not replayed"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    recipe = recipe.for_images(len(images.train), started=start is not None)
    if start is not None:
        recipe = replace(recipe, mean=start.mean, std=start.std)
    task = images.task
    network = MobileNet(arch) if start is None else start.network()
    steps = len(images.train) // recipe.batch_size
    learner = Learner(network, recipe, seed=seed, total_steps=steps * recipe.epochs, task=task)
    learner.to(device).train()
    torch.backends.cudnn.allow_tf32 = False
    step = _Step(learner, images, steps)
    best, weights = math.inf, network.state_dict()
    for epoch in range(recipe.epochs):
        step.epoch(epoch)
        loss = _loss(learner, *_on_card(images, arch.resolution, "holdout"))
        if loss < best:
            best, weights = loss, copy.deepcopy(network.state_dict())
    return Checkpoint(
        arch=arch,
        weights={name: value.cpu().contiguous() for name, value in weights.items()},
        labels=task.labels,
        preprocess=Preprocess(arch.resolution).to_json(),
        mean=recipe.mean,
        std=recipe.std,
        training={"recipe": asdict(recipe), "seed": seed, "holdout_loss": best},
        task=task.name,
    )


class _Step:
    """The training step, as a graph on a GPU."""

    def __init__(self, learner: Learner, images: Images, steps: int):
        self._learner, self._recipe, self._steps = learner, learner.recipe, steps
        self._device = learner.device
        self._pixels, self._labels = _on_card(images, learner.network.arch.resolution, "train")
        self._chosen = torch.zeros(self._recipe.batch_size, dtype=torch.long, device=self._device)
        self._rate = torch.zeros((), device=self._device)
        on_card = self._device.type == "cuda"
        groups = [
            one | {"lr": self._rate if on_card else self._recipe.learning_rate}
            for one in parameter_groups(learner.network, self._recipe)
        ]
        self._optimizer = torch.optim.AdamW(
            groups, weight_decay=self._recipe.weight_decay, fused=True, capturable=on_card
        )
        if on_card:
            learner.generator = torch.cuda.default_generators[self._device.index or 0]
        self._graph = self._captured() if on_card else None

    def epoch(self, epoch: int) -> None:
        """All batches of an epoch, in an order of its own."""
        self._learner.train()
        count = self._steps * self._recipe.batch_size
        order = torch.randperm(len(self._labels))[:count].to(self._device)
        for at, chosen in enumerate(torch.split(order, self._recipe.batch_size)):
            done = epoch * self._steps + at
            factor = rate_factor(done, self._learner.total_steps, self._recipe)
            self._set_rate(self._recipe.learning_rate * factor)
            self._chosen.copy_(chosen)
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()

    def _set_rate(self, rate: float) -> None:
        self._rate.fill_(rate)
        if self._graph is None:
            for group in self._optimizer.param_groups:
                group["lr"] = rate

    def _step(self) -> None:
        self._optimizer.zero_grad()
        loss = self._learner.loss(self._pixels[self._chosen], self._labels[self._chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def _captured(self) -> torch.cuda.CUDAGraph:
        """The graph; its warm-up steps are taken at a rate of 0, and the statistics and the
        optimizer's moments put back."""
        kept = [one.clone() for one in self._learner.network.buffers()]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self._optimizer.zero_grad()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self._step()
        for one, was in zip(self._learner.network.buffers(), kept, strict=True):
            one.copy_(was)
        for state in self._optimizer.state.values():
            for moment in state.values():
                moment.zero_()
        return graph


@cache
def _on_card(images: Images, side: int, part: str) -> tuple[Tensor, Tensor]:
    """Pixels and labels of a part of the images; those to train on as `train` has them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if part == "train":
        pixels = train_pixels(images, side)
        assert isinstance(pixels, MemoryPixels)
        return pixels.pixels.to(device), pixels.target.to(device)
    chosen = getattr(images, part)
    labels = torch.from_numpy(images.targets.take(chosen).values)
    return decode(images, chosen, Preprocess(side)).to(device), labels.to(device)


@torch.inference_mode()
def validated(checkpoint: Checkpoint, images: Images) -> dict[str, float]:
    """The top-1 in percent and the loss of the validation images."""
    pixels, labels = _on_card(images, checkpoint.arch.resolution, "val")
    network = checkpoint.network().to(pixels.device).eval()
    mean, std = (
        pixels.new_tensor(one, dtype=torch.float).view(1, -1, 1, 1)
        for one in (checkpoint.mean, checkpoint.std)
    )
    parts = [network((one.float() / 255 - mean) / std) for one in torch.split(pixels, _EVAL_BATCH)]
    logits = torch.cat(parts)
    right = int((logits.argmax(1) == labels).sum())
    return {"top1": 100 * right / len(labels), "val_loss": float(cross_entropy(logits, labels))}


@torch.inference_mode()
def _loss(learner: Learner, pixels: Tensor, labels: Tensor) -> float:
    learner.eval()
    parts = zip(torch.split(pixels, _EVAL_BATCH), torch.split(labels, _EVAL_BATCH), strict=True)
    losses = [len(y) * learner.task.loss(learner(x.float() / 255), y) for x, y in parts]
    return float(torch.stack(losses).sum()) / len(labels)
