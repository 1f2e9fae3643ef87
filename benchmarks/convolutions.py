"""A training step on the CPU with our ways around slow convolutions (mobilenets/train/quick.py)
against torch's own, in turns.

    taskset -c 0 python benchmarks/convolutions.py --threads 1

Memory stays with the process, as in `train`. Prints a line a network: both medians, and the
quartiles of the turns' ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from mobilenets.archs import Arch, get_arch
from mobilenets.measuring.machine import device_name
from mobilenets.nn import MobileNet
from mobilenets.train import from_scratch
from mobilenets.train.heap import kept_memory
from mobilenets.train.module import Learner

# name, width, resolution, batch size
CASES = (
    ("mobilenet_v1", 0.5, 32, 128),
    ("mobilenet_v2", 0.67, 28, 128),
    ("mobilenet_v3_small", 1.0, 28, 128),
    ("mobilenet_v3_large", 0.5, 32, 128),
    ("mobilenet_v3_small", 1.0, 96, 64),
    ("mobilenet_v3_large", 1.0, 224, 16),
    ("mobilenet_v2", 0.5, 224, 32),
)
WARM_UP = 3


def main() -> None:
    """Every case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=40)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{device_name()}, torch {torch.__version__}, threads: {asked.threads}")
    with kept_memory():
        for name, width, resolution, batch in CASES:
            arch = get_arch(name, width=width, resolution=resolution, classes=10)
            print(_compared(arch, batch, asked.turns), flush=True)


def _compared(arch: Arch, batch: int, count: int) -> str:
    steps = [_step(arch, batch, plain=True), _step(arch, batch, plain=False)]
    turns = [[step() for step in steps] for _ in range(WARM_UP + count)][WARM_UP:]
    plain, quick = (1000 * statistics.median(times) for times in zip(*turns, strict=True))
    ratios = statistics.quantiles([quick / plain for plain, quick in turns], n=4)
    found = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"{arch.full_name}, batch {batch}: {plain:.0f} -> {quick:.0f} ms, {found}"


def _step(arch: Arch, batch: int, *, plain: bool) -> Callable[[], float]:
    """A training step, which tells how many seconds it took."""
    learner = Learner(MobileNet(arch), from_scratch(flip=False), seed=0, total_steps=1000).train()
    if plain:
        for module in learner.modules():
            if isinstance(module, nn.Conv2d):
                module.__class__ = nn.Conv2d
    optimizer = learner.configure_optimizers()["optimizer"]
    images = torch.randint(256, (batch, 3, arch.resolution, arch.resolution), dtype=torch.uint8)
    labels = torch.randint(arch.classes, (batch,))

    def step() -> float:
        begin = time.perf_counter()
        optimizer.zero_grad()
        learner.loss(images, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return time.perf_counter() - begin

    return step


if __name__ == "__main__":
    main()
