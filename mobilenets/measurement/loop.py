"""The measuring loop: warm-up, then turns of back-to-back runs, until the medians are known.

The targets take turns, A B C A B C, so that whatever the machine does meanwhile (frequency, heat,
neighbours) happens to all alike. But after B and C have run, A's weights are gone from the caches,
and A would be charged for fetching them, which in use, run after run, it is not: 45, 37, 8 and 2 %
on top in its first four runs (MobileNetV3-Small, onnxruntime, one thread). With two threads, those
of the network before still spin for some milliseconds and take a core away. So a turn is
`SETTLE_MS` of untimed runs, then a burst of timed ones, `BURST_MS` long. A single target needs no
settling.

The runs of one burst share what the machine did just then, so they are no independent evidence;
the medians of the bursts nearly are. The confidence interval is computed from those.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

Run = Callable[[], object]
Clock = Callable[[], int]  # in nanoseconds

SETTLE_MS = 20.0
BURST_MS = 20.0
MIN_TURNS = 10
KNOWN = 0.02  # a median is known if its interval is within +-2 % of it

_WARM_WINDOW = 5
_WARM_TOLERANCE = 0.05
_MAX_WARM_RUNS = 50


class Timed(NamedTuple):
    """The times of one target, turn by turn: `burst` of them belong to each turn."""

    times_ms: tuple[float, ...]
    burst: int


@dataclass(slots=True)
class _Target:
    run: Run
    settle: int  # untimed runs before each burst
    burst: int
    times: list[int] = field(default_factory=list)
    turn_medians: list[float] = field(default_factory=list)

    def take_turn_(self, clock: Clock) -> None:
        for _ in range(self.settle):
            self.run()
        times = [_time(self.run, clock) for _ in range(self.burst)]
        self.times += times
        self.turn_medians.append(median(times))

    def is_known(self, min_runs: int) -> bool:
        return len(self.times) >= min_runs and half_width(self.turn_medians) <= KNOWN


def interleave(
    runs: Sequence[Run], *, seconds: float, min_runs: int, clock: Clock = time.perf_counter_ns
) -> list[Timed]:
    """The times of each of `runs`, taken in turns.

    Ends when every target has `min_runs` and a known median, or after `seconds` a target, but not
    before `MIN_TURNS` turns.
    """
    settle_ms = SETTLE_MS if len(runs) > 1 else 0.0
    targets = []
    for run in runs:
        run_ms = warm_up(run, seconds=seconds, clock=clock)
        targets.append(_Target(run, _fill(settle_ms, run_ms), _fill(BURST_MS, run_ms)))
    end = clock() + 1e9 * seconds * len(targets)
    turns = 0
    while turns < MIN_TURNS or (clock() < end and not _all_known(targets, min_runs)):
        for target in targets:
            target.take_turn_(clock)
        turns += 1
    return [Timed(tuple(_to_ms(target.times)), target.burst) for target in targets]


def warm_up(run: Run, *, seconds: float, clock: Clock) -> float:
    """Run until the times settle; the last of them, in ms.

    Settled: the median of the last 5 runs is within 5 % of that of the 5 before. Gives up after 50
    runs, or after `seconds` and 5 runs.
    """
    times: list[int] = []
    end = clock() + 1e9 * seconds
    while len(times) < _MAX_WARM_RUNS and not _settled(times):
        times.append(_time(run, clock))
        if len(times) >= _WARM_WINDOW and clock() >= end:
            break
    return median(times[-_WARM_WINDOW:]) / 1e6


def half_width(times: Sequence[float]) -> float:
    """Half the width of the median's 95 % confidence interval, as a fraction of the median.

    Infinite below six values, which cannot give such an interval.
    """
    rank = interval_rank(len(times))
    if rank < 1:
        return math.inf
    ordered = sorted(times)
    return (ordered[-rank] - ordered[rank - 1]) / 2 / median(ordered)


def interval_rank(count: int) -> int:
    """The rank k such that the k-th smallest and k-th largest of `count` values enclose the median.

    At 95 % confidence and whatever the distribution: the values below the median are binomial
    (count, 1/2), here by its normal approximation. Zero where there are too few values.
    """
    return math.floor((count + 1) / 2 - 0.98 * math.sqrt(count))


def _time(run: Run, clock: Clock) -> int:
    start = clock()
    run()
    return clock() - start


def _settled(times: Sequence[int]) -> bool:
    if len(times) < 2 * _WARM_WINDOW:
        return False
    before, last = median(times[-2 * _WARM_WINDOW : -_WARM_WINDOW]), median(times[-_WARM_WINDOW:])
    return abs(last - before) <= _WARM_TOLERANCE * before


def _fill(span_ms: float, run_ms: float) -> int:
    """How many runs fill a span; a clock too coarse for the run counts as a microsecond."""
    return math.ceil(span_ms / max(run_ms, 1e-3))


def _all_known(targets: Iterable[_Target], min_runs: int) -> bool:
    return all(target.is_known(min_runs) for target in targets)


def _to_ms(times: Iterable[int]) -> list[float]:
    return [nanoseconds / 1e6 for nanoseconds in times]
