"""The processes that torchrun starts, which train one network together.

The first, rank 0, leads: it alone runs the program, as a process without torchrun would (`led`).
The others follow: they take part in each training that it hands out (`by_all`), and end with it.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from mobilenets.errors import MobileNetsError, TrainingStopped

P = ParamSpec("P")
T = TypeVar("T")

# Followers wait while the first process reads a million images, measures, adapts. Of one that is
# killed they hear at once.
_PATIENCE = timedelta(days=20)
# Whether others follow this process now.
_LEADS: ContextVar[bool] = ContextVar("leads", default=False)


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


def led(work: Callable[P, T]) -> Callable[P, T]:
    """`work`, to be called by all processes alike: the first does it, and the others take part in
    its trainings until it is done. All are given what it gives, or its error of ours.

    Alone, or within another such call, it is just `work`. An error in a training that all take part
    in, or another process's death, ends all of them: the first to meet it raises, the others raise
    SystemExit.
    """

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if size() == 1 or _LEADS.get():
            return work(*args, **kwargs)
        with _one_fate():
            _join()
        return _follow() if rank() > 0 else _lead(lambda: work(*args, **kwargs))

    return run


def by_all(work: Callable[[], T]) -> T:
    """What `work` gives here, done by this process and by all that follow it at the same time. It
    is sent to them by pickle."""
    if size() == 1:
        return work()
    check_leads()
    with _one_fate():
        try:
            _say(work)
            return work()
        except BaseException:
            _LEADS.set(False)  # the others do not listen any more
            raise


def check_leads() -> None:
    """Raise `MobileNetsError` where torchrun started several processes, and none of them leads."""
    if size() > 1 and not _LEADS.get():
        raise MobileNetsError(
            f"torchrun started {size()} processes, and each of them runs this program; give it to "
            "mobilenets.train.led, and the first runs it and leads the others"
        )


def decided(work: Callable[[], T]) -> T:
    """What `work` gives, done by the first process; to be called by all alike."""
    if size() == 1:
        return work()
    return _say(work()) if rank() == 0 else _heard()


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value, group=_patient())
    return values


def is_lost(error: BaseException) -> bool:
    """Whether `error` says that another process is gone."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )


@dataclass(frozen=True)
class _End:
    """How the leader's work ended."""

    result: Any = None
    error: BaseException | None = None

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


def _lead(work: Callable[[], T]) -> T:
    _LEADS.set(True)
    end = _End(error=SystemExit(1))  # of an error that is not ours: it may not be sent
    try:
        end = _End(work())
    except MobileNetsError as error:
        end = _End(error=error)
        raise
    finally:
        if _LEADS.get():
            _LEADS.set(False)
            with contextlib.suppress(RuntimeError):  # they may be gone, too
                _say(end)
    return end.result


def _follow() -> Any:
    logging.getLogger("mobilenets").setLevel(logging.WARNING)  # the leader tells how far it is
    while not isinstance(word := _next_word(), _End):
        with _one_fate():
            word()
    return word.outcome()


def _next_word() -> Any:
    with _one_fate():
        try:
            return _heard()
        except KeyboardInterrupt:  # of which the leader tells
            raise SystemExit(1) from None


def _say(value: T) -> T:
    dist.broadcast_object_list([value], src=0, group=_patient())
    return value


def _heard() -> Any:
    """What the first process says next."""
    values: list[Any] = [None]
    dist.broadcast_object_list(values, src=0, group=_patient())
    return values[0]


@contextlib.contextmanager
def _one_fate() -> Iterator[None]:
    """Within, an error is one that ends all processes: the first to meet it tells, the others end
    quietly."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if _is_said():
            raise SystemExit(1) from error
        if is_lost(error):
            raise TrainingStopped(
                "another process of this run ended; the same command goes on where it was"
            ) from error
        raise


def _is_said() -> bool:
    """Whether another process has told what ended them."""
    store, _, _ = _met()
    try:
        return store.add("mobilenets/said", 1) > 1
    except RuntimeError:  # torchrun, which keeps the store, is gone
        return False


@cache
def _met() -> tuple[Any, int, int]:
    """The store that torchrun keeps, this process's rank, and how many there are."""
    return next(iter(rendezvous("env://")))


def _join() -> None:
    """Make the processes known to each other; raises `MobileNetsError` where there are more of them
    than GPUs."""
    if not dist.is_initialized():
        store, number, count = _met()
        dist.init_process_group(_backend(), store=store, rank=number, world_size=count)
        atexit.register(_leave)
    _patient()


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


@cache
def _patient() -> Any:
    return dist.new_group(backend="gloo", timeout=_PATIENCE)
