"""Runs a network in a runtime and prints how its CPU time is spread over this process' threads.

    python -m tests.thread_shares RUNTIME FILE THREADS

Linux's scheduler statistics of each thread: no wall clock, and other processes do not count.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from mobilenets.runtimes import Session, get_runtime

_ROUNDS, _RUNS = 8, 6


def cpu_ns() -> dict[str, int]:
    """The time that each thread of this process has run."""
    return {
        task.name: int(Path(task, "schedstat").read_text().split()[0])
        for task in Path("/proc/self/task").iterdir()
    }


def shares(session: Session) -> list[float]:
    """The threads' shares of the CPU time of some runs, the busiest first."""
    images = np.random.default_rng(0).random(session.input_shape, np.float32)
    before = cpu_ns()
    for _ in range(_RUNS):
        session.run(images)
    spent = {name: now - before.get(name, 0) for name, now in cpu_ns().items()}
    total = sum(spent.values())
    return sorted((one / total for one in spent.values()), reverse=True)


def main(runtime: str, path: str, threads: str) -> None:
    # oneTBB starts no more threads than there are cores to run on, whatever it is told.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    session = get_runtime(runtime).load(Path(path), int(threads))
    shares(session)
    print(json.dumps([shares(session) for _ in range(_ROUNDS)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
