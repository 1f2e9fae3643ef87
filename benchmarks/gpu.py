"""A training step on a GPU: our networks against torchvision's, in float32 and mixed precision.

    python benchmarks/gpu.py --networks mobilenet_v3_large

Batches of random images stay on the card. "step" is forward, loss, backward and AdamW of the
network alone; "whole" is our training step as `train` takes it, uint8 images augmented on the card.
Contestants take turns, REPEATS times STEPS steps each; medians of images per second with their
range, and the most memory taken. Prints one JSON line for each contestant.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.models import mobilenet_v2, mobilenet_v3_large

from mobilenets.archs import get_arch
from mobilenets.nn import MobileNet
from mobilenets.train import from_scratch
from mobilenets.train.hardware import autocast, precision
from mobilenets.train.module import Learner

BATCH, SIDE, TRAIN_SIDE = 256, 224, 256
WARM, STEPS, REPEATS = 10, 15, 5
NETWORKS = {"mobilenet_v3_large": mobilenet_v3_large, "mobilenet_v2": mobilenet_v2}
Loss = Callable[[], torch.Tensor]


def main() -> None:
    """All contestants, by turns."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    for name in parser.parse_args().networks:
        contestants = {
            f"{who}, {'mixed' if mixed else 'float32'}": _step(make(), mixed=mixed)
            for who, make in _makers(name).items()
            for mixed in (False, True)
        }
        found: dict[str, list[float]] = {who: [] for who in contestants}
        memory: dict[str, float] = {}
        for _ in range(REPEATS):
            for who, step in contestants.items():
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
                found[who].append(BATCH * STEPS / _seconds(step))
                memory[who] = torch.cuda.max_memory_allocated() - held
        for who, rates in found.items():
            print(json.dumps(_record(name, who, rates, memory[who])), flush=True)


def _makers(name: str) -> dict[str, Callable[[], tuple[Any, Loss]]]:
    return {
        "ours, step": lambda: _network(MobileNet(get_arch(name))),
        "torchvision, step": lambda: _network(NETWORKS[name]()),
        "ours, whole": lambda: _whole(name),
    }


def _network(network: nn.Module) -> tuple[Any, Loss]:
    network = network.cuda().to(memory_format=torch.channels_last).train()
    images = torch.randn(BATCH, 3, SIDE, SIDE, device="cuda")
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(1000, (BATCH,), device="cuda")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    return optimizer, lambda: cross_entropy(network(images), labels, label_smoothing=0.1)


def _whole(name: str) -> tuple[Any, Loss]:
    recipe = replace(from_scratch(), batch_size=BATCH)
    learner = Learner(MobileNet(get_arch(name)), recipe, seed=0, total_steps=1000).cuda().train()
    images = torch.randint(256, (BATCH, 3, TRAIN_SIDE, TRAIN_SIDE), dtype=torch.uint8)
    images, labels = images.cuda(), torch.randint(1000, (BATCH,), device="cuda")
    return learner.configure_optimizers()["optimizer"], partial(learner.loss, images, labels)


def _step(made: tuple[Any, Loss], *, mixed: bool) -> Callable[[], None]:
    optimizer, loss_of = made
    how = autocast("cuda", precision("cuda", mixed=mixed))

    def step() -> None:
        optimizer.zero_grad()
        with how:
            loss = loss_of()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    for _ in range(WARM):
        step()
    return step


def _seconds(step: Callable[[], None]) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def _record(name: str, who: str, rates: list[float], memory: float) -> dict[str, Any]:
    return {
        "network": name,
        "contestant": who,
        "images_per_second": round(statistics.median(rates)),
        "range": [round(min(rates)), round(max(rates))],
        "peak_gib": round(memory / 2**30, 2),
        "batch": BATCH,
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
