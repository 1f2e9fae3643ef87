"""The measuring loop: warm-up, then turns of back-to-back runs, until the medians are known.

The targets are interleaved, A B C A B C, so that disturbances (frequency, heat, neighbours) hit all
alike. But after B and C have run, A's weights are gone from the caches. In use, run after run, they
are there: fetching them adds 45, 37, 8 and 2 % to A's first four runs (MobileNetV3-Small,
onnxruntime, one thread). So a turn is `SETTLE_MS` of untimed runs, then a burst of timed ones,
`BURST_MS` long. A single target needs no settling.

The runs of one burst share what the machine did just then, so they are no independent evidence;
the medians of the bursts nearly are. The confidence interval is computed from those.

On a shared host something, most likely a guest on the other half of our core, slows it by up to 1.7
times, for a tenth of a second to ten. No process waits then, and no time is stolen. A probe tells:
a little arithmetic of fixed size, timed before and after each burst.
Bursts beside a slow probe do not count, and measuring lasts `SPAN_S` at least, so that both states
are seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from statistics import median
from typing import NamedTuple, Protocol

from mobilenets.progress import staged

Run = Callable[[], object]
Clock = Callable[[], int]  # in nanoseconds

SETTLE_MS = 20.0
BURST_MS = 20.0
MIN_TURNS = 10
SPAN_S = 2.0
KNOWN = 0.02  # a median is known if its interval is within +-2 % of it
# A probe takes up to 1.10 of its least where the core is ours alone, from 1.4 on where it is not.
SLOWED = 1.15

_WARM_WINDOW = 5
_WARM_TOLERANCE = 0.05
_MAX_WARM_RUNS = 50


class Turn(NamedTuple):
    """Runs back to back: their times, and of `wall_ns`, settling included, how long the process
    waited because others had its cores; and the slower of the two probes."""

    times_ns: Sequence[int]
    wall_ns: int
    waited_ns: int
    probe_ns: int


class Target(Protocol):
    """Something to time, in this process or another."""

    def warm_up(self, seconds: float) -> float:
        """Run until the times settle, but not much longer than `seconds`; the last of them, ms."""

    def turn(self, settle: int, burst: int) -> Turn:
        """`settle` untimed runs, then `burst` timed ones."""


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A function to run here; `waited` tells how long this process has waited for its cores, and
    `probe` how long a little arithmetic takes just now."""

    run: Run
    clock: Clock = time.perf_counter_ns
    waited: Clock = lambda: 0
    probe: Clock = lambda: 1

    def warm_up(self, seconds: float) -> float:
        """Settled: the median of the last 5 runs is within 5 % of that of the 5 before. Gives up
        after 50 runs, or after `seconds` and 5 runs."""
        times: list[int] = []
        end = self.clock() + 1e9 * seconds
        while len(times) < _MAX_WARM_RUNS and not _settled(times):
            times.append(self._time())
            if len(times) >= _WARM_WINDOW and self.clock() >= end:
                break
        return median(times[-_WARM_WINDOW:]) / 1e6

    def turn(self, settle: int, burst: int) -> Turn:
        start, waited = self.clock(), self.waited()
        for _ in range(settle):
            self.run()
        before = self.probe()
        times = [self._time() for _ in range(burst)]
        probe = max(before, self.probe())
        return Turn(times, self.clock() - start, self.waited() - waited, probe)

    def _time(self) -> int:
        start = self.clock()
        self.run()
        return self.clock() - start


class Timed(NamedTuple):
    """The times of one target, turn by turn: `burst` of them belong to each turn, and a probe.
    `waited` is the part of its turns that others had its cores."""

    times_ms: tuple[float, ...]
    burst: int
    waited: float
    probes_ns: tuple[int, ...]


@dataclass(slots=True)
class _Series:
    """The turns of one target so far."""

    target: Target
    settle: int
    burst: int
    turns: list[Turn] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)

    def take_turn_(self) -> None:
        turn = self.target.turn(self.settle, self.burst)
        self.turns.append(turn)
        self.medians.append(median(turn.times_ns))

    def is_known(self, min_runs: int) -> bool:
        counted = list(compress(self.medians, undisturbed(self._probes())))
        enough = len(counted) >= MIN_TURNS and self.burst * len(counted) >= min_runs
        return enough and half_width(counted) <= KNOWN

    def timed(self) -> Timed:
        times = tuple(nanoseconds / 1e6 for turn in self.turns for nanoseconds in turn.times_ns)
        wall = sum(turn.wall_ns for turn in self.turns)
        waited = sum(turn.waited_ns for turn in self.turns)
        return Timed(times, self.burst, waited / max(wall, 1), self._probes())

    def _probes(self) -> tuple[int, ...]:
        return tuple(turn.probe_ns for turn in self.turns)


def interleave(
    targets: Sequence[Target],
    *,
    seconds: float,
    min_runs: int,
    clock: Clock = time.perf_counter_ns,
) -> list[Timed]:
    """The times of each of `targets`, taken interleaved.

    Ends when every target has `min_runs` and a known median in undisturbed turns, and `SPAN_S` have
    passed, or after `seconds` a target, but not before `MIN_TURNS` turns.
    """
    settle_ms = SETTLE_MS if len(targets) > 1 else 0.0
    all_series = []
    for target in targets:
        run_ms = target.warm_up(seconds)
        all_series.append(_Series(target, fill(settle_ms, run_ms), fill(BURST_MS, run_ms)))
    turns, start = 0, clock()
    longest = seconds * len(targets)
    with staged("measuring", longest) as told:
        while True:
            for series in all_series:
                series.take_turn_()
            turns += 1
            spent = (clock() - start) / 1e9
            told(spent)
            known = spent >= SPAN_S and all(series.is_known(min_runs) for series in all_series)
            if turns >= MIN_TURNS and (known or spent >= longest):
                break
    return [series.timed() for series in all_series]


def undisturbed(probes_ns: Sequence[int]) -> list[bool]:
    """Which turns count: those in which the core was about as fast as at its best."""
    best_ns = min(probes_ns, default=0)
    return [not is_slowed(probe, best_ns) for probe in probes_ns]


def is_slowed(probe_ns: int, best_ns: float) -> bool:
    """Whether the core was slower beside this probe than at its best."""
    return probe_ns > SLOWED * best_ns


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


def _settled(times: Sequence[int]) -> bool:
    if len(times) < 2 * _WARM_WINDOW:
        return False
    before, last = median(times[-2 * _WARM_WINDOW : -_WARM_WINDOW]), median(times[-_WARM_WINDOW:])
    return abs(last - before) <= _WARM_TOLERANCE * before


def fill(span_ms: float, run_ms: float) -> int:
    """How many runs fill a span; a clock too coarse for the run counts as a microsecond."""
    return math.ceil(span_ms / max(run_ms, 1e-3))
