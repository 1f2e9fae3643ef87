"""The processes that train one network together, as torchrun starts them.

All run the same program. What is read, chosen, measured or written is so by the first, rank 0, and
told to the others (`decided`); only training itself is done by all.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from mobilenets.errors import MobileNetsError, TrainingStopped

T = TypeVar("T")

# Waiting for the first process to read a million images, or to measure. A process that is killed
# ends the others at once: torchrun sees to it.
_PATIENCE = timedelta(days=1)


def rank() -> int:
    """This process's number; the first, or a process alone, is 0."""
    return int(os.environ["RANK"]) if _launched() else 0


def size() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if _launched() else 1


def local_rank() -> int:
    """This process's number among those on this machine."""
    return int(os.environ["LOCAL_RANK"]) if _launched() else 0


def local_size() -> int:
    """How many of the processes are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _launched() else 1


def _launched() -> bool:
    return dist.is_available() and dist.is_torchelastic_launched()


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within, the processes know each other; alone, or within another, nothing happens.

    Of an error that ends them all only the first to meet it is told: the other processes end
    quietly. Raises `MobileNetsError` where there are more processes than GPUs.
    """
    if size() == 1 or dist.is_initialized():
        yield
        return
    store, number, count = next(iter(rendezvous("env://")))
    try:
        dist.init_process_group(_backend(), store=store, rank=number, world_size=count)
        atexit.register(_leave)
        yield
    except (Exception, KeyboardInterrupt) as error:
        if _is_said(store):
            raise SystemExit(1) from error
        if is_lost(error):
            raise TrainingStopped(
                "another process of this run ended; the same command goes on where it was"
            ) from error
        raise


def _backend() -> str:
    """Gloo, and NCCL for what is on GPUs, of which each process takes its own."""
    gpus = torch.cuda.device_count()
    if not gpus:
        return "gloo"
    if local_size() > gpus:
        raise MobileNetsError(
            f"{local_size()} processes were started on a machine with {gpus} GPUs; start one for "
            f"each: --nproc-per-node {gpus}"
        )
    torch.cuda.set_device(local_rank())
    return "cpu:gloo,cuda:nccl"


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _is_said(store: Any) -> bool:
    """Whether another process has told what ended them."""
    try:
        return store.add("mobilenets/said", 1) > 1
    except RuntimeError:  # torchrun, which keeps the store, is gone
        return False


def is_lost(error: BaseException) -> bool:
    """Whether `error` says that another process is gone."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )


def decided(work: Callable[[], T]) -> T:
    """What `work` gives, done by the first process alone; all are given it, or its error of ours.

    To be called by all processes alike.
    """
    if size() == 1:
        return work()
    answer: list[Any] = [None, None]
    if rank() == 0:
        try:
            answer[0] = work()
        except MobileNetsError as error:
            answer[1] = error
    dist.broadcast_object_list(answer, src=0, group=_patient())
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value, group=_patient())
    return values


@cache
def _patient() -> Any:
    return dist.new_group(backend="gloo", timeout=_PATIENCE)
