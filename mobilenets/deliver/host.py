"""What a program does with a graph's outputs until it has answers, and how long that takes."""

from __future__ import annotations

import time
from statistics import median

from mobilenets.archs import Arch
from mobilenets.tasks import Arrays, Task

_IMAGES = 100


def host_ms(task: Task, outputs: Arrays) -> float:
    """The median over some of these images, on one core of this machine; 0 for a task whose
    outputs are its answers but for a sort."""
    if not task.answers:
        return 0.0
    count = len(next(iter(outputs.values())))
    return median(_one(task, outputs, at) for at in range(min(count, _IMAGES)))


def expected_host_ms(task: Task, arch: Arch) -> float:
    """The same for a network of `arch` that is not trained yet, and busy images."""
    outputs = task.busy(arch)
    return 0.0 if outputs is None else host_ms(task, outputs)


def _one(task: Task, outputs: Arrays, at: int) -> float:
    """The better of two runs: others may have the core meanwhile."""
    one = {name: array[at] for name, array in outputs.items()}
    times = []
    for _ in range(2):
        start = time.perf_counter_ns()
        task.decode(one)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return min(times)
