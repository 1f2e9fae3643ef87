"""Trainings side by side, each alone on its core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from queue import Queue
from threading import Thread
from typing import TypeVar

import torch

from mobilenets.processes.child import usable_cores

T = TypeVar("T")


def side_by_side(trials: Sequence[Callable[[], T]], jobs: int) -> Iterator[T]:
    """What each gives, as they end. Each on a core of its own: two threads that wait for each other
    across trials cost more than they give."""
    context = multiprocessing.get_context("spawn")
    cores: Queue[int] = context.Manager().Queue()
    for core in usable_cores()[:jobs]:
        cores.put(core)
    with ProcessPoolExecutor(jobs, context, _alone, (cores,)) as pool:
        for done in as_completed([pool.submit(trial) for trial in trials]):
            yield done.result()


def _alone(cores: Queue[int]) -> None:
    os.sched_setaffinity(0, {cores.get()})
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
