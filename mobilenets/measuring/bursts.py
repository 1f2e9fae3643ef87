"""How a latency table is measured: blocks and whole networks in bursts, beside references.

`choosing.table_build` says what disturbs the times and why this is done about it. A kit runs the
same code on another device (`devices.kit_run`): the standard library, numpy and the runtime do.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Generic, NamedTuple, TypeVar

from mobilenets.errors import ConnectionLost, MobileNetsError
from mobilenets.measuring.latency import NOISY_WAIT, Bench, BenchTarget
from mobilenets.measuring.loop import BURST_MS, SETTLE_MS, Turn, fill, is_slowed
from mobilenets.runtimes import Engine

_ROUNDS = 4  # bursts of each, with those of the rest of its chunk before and after
_MORE_ROUNDS = 30  # at most, of those that were slowed in every burst
_WAIT_S = 0.1  # before each of these, for the co-tenant that slows the core to go
_PACE_EVERY = 4  # bursts from one of a reference to the next
_LEAST_RUNS = 3  # timed in a burst
_WARM_SECONDS = 0.01
T = TypeVar("T")
log = logging.getLogger(__name__)


class Timing(NamedTuple):
    """A p50, that of the references about then, and whether others disturbed it."""

    ms: float
    reference_ms: float
    noisy: bool


class File(NamedTuple, Generic[T]):
    """A file to time: of a "piece" or a whole "network"; `key` is the caller's."""

    key: T
    kind: str
    path: Path


class _Span(NamedTuple):
    """A burst's lengths: untimed runs for `settle_ms`, then runs for `burst_ms`. The weights of a
    whole network must come back into the caches first (`measuring.loop`)."""

    settle_ms: float
    burst_ms: float


_SPANS = {"piece": _Span(1.0, 2.0), "network": _Span(SETTLE_MS, BURST_MS)}


def time_files(
    files: Sequence[File[T]], references: Sequence[Path], engine: Engine, threads: int
) -> Iterator[tuple[T, Timing]]:
    """Each one's key and timing, all in one process; where it fails at a file, that is named in a
    warning and the others are timed in another process without it."""
    left = list(files)
    while left:
        with Bench(engine, threads) as bench:
            session = _Session(bench, references, left)
            try:
                timings = session.timings()
            except ConnectionLost:
                raise  # no file's fault
            except MobileNetsError as error:
                log.warning(str(error))
                del left[session.at]
                continue
        yield from ((file.key, timing) for file, timing in zip(left, timings, strict=True))
        return


class _Session:
    """Files timed beside the references in one process; `at` is the one that it is at. Raises
    where a reference cannot be loaded."""

    def __init__(self, bench: Bench, references: Sequence[Path], files: Sequence[File[T]]):
        self.at = 0
        self._bench = bench
        self._files = files
        self._core = _Core()
        self._paces = [self._load("piece", path) for path in references]

    def timings(self) -> list[Timing]:
        """Of each file; raises `MobileNetsError`."""
        bursts: list[_Bursts] = []
        for file in self._files:
            self.at = len(bursts)
            bursts.append(self._load(file.kind, file.path))
        next_pace = cycle(self._paces)
        for round_ in _rounds(bursts):
            for count, self.at in enumerate(round_):
                bursts[self.at].take()
                if count % _PACE_EVERY == 0:
                    next(next_pace).take()
        for round_ in _rounds(self._paces):
            for number in round_:
                self._paces[number].take()
        pace_ms = sum(_p50_ms(pace.least()) for pace in self._paces)
        return [Timing(_p50_ms(one.least()), pace_ms, one.disturbed()) for one in bursts]

    def _load(self, kind: str, path: Path) -> _Bursts:
        return _Bursts(self._bench.load(path), _SPANS[kind], self._core)


def _rounds(bursts: Sequence[_Bursts]) -> Iterator[list[int]]:
    """Which are timed next: a few times all, then those in whose every burst the core was slowed,
    with as many bursts again at most."""
    yield from [[*range(len(bursts))]] * _ROUNDS
    left = _ROUNDS * len(bursts)
    for _ in range(_MORE_ROUNDS):
        slowed = [at for at, burst in enumerate(bursts) if burst.slowed()]
        left -= len(slowed)
        if not slowed or left < 0:
            return
        time.sleep(_WAIT_S)
        yield slowed


class _Core:
    """What the core of a measuring process was at its best."""

    def __init__(self) -> None:
        self._best_ns = math.inf

    def see_(self, turn: Turn) -> None:
        self._best_ns = min(self._best_ns, turn.probe_ns)

    def slowed(self, turn: Turn) -> bool:
        """Whether others slowed it in this turn."""
        return is_slowed(turn.probe_ns, self._best_ns)

    def disturbed(self, turn: Turn) -> bool:
        """Whether others had it in this turn, or slowed it."""
        return turn.waited_ns > NOISY_WAIT * turn.wall_ns or self.slowed(turn)


class _Bursts:
    """A loaded file, timed in bursts."""

    def __init__(self, target: BenchTarget, span: _Span, core: _Core):
        run_ms = target.warm_up(_WARM_SECONDS)
        self._target = target
        self._core = core
        self._settle = fill(span.settle_ms, run_ms)
        self._runs = max(_LEAST_RUNS, fill(span.burst_ms, run_ms))
        self._turns: list[Turn] = []

    def take(self) -> None:
        turn = self._target.turn(self._settle, self._runs)
        self._core.see_(turn)
        self._turns.append(turn)

    def least(self) -> Turn:
        """The burst with the least p50, of those that others did not disturb where there are."""
        return min(self._turns, key=lambda turn: (self._core.disturbed(turn), _p50_ms(turn)))

    def disturbed(self) -> bool:
        """Whether all bursts were."""
        return all(map(self._core.disturbed, self._turns))

    def slowed(self) -> bool:
        return all(map(self._core.slowed, self._turns))


def _p50_ms(turn: Turn) -> float:
    return median(turn.times_ns) / 1e6


def in_chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
