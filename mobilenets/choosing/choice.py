"""Choosing: arithmetic filters thousands, measurement decides among the few near the budget.

Accuracy is expected from the papers' ImageNet results (`archs.published`), the same for every
user; latency is measured here, whole networks, in the runtimes that may run them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenets.archs import Arch, Budget
from mobilenets.archs.attach import HEADS
from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.archs.published import kin
from mobilenets.choosing.by_table import imported_tables, stated
from mobilenets.choosing.candidate import Candidate, candidates
from mobilenets.choosing.latency_table import Table
from mobilenets.choosing.regress import fit
from mobilenets.devices.imported import Imported
from mobilenets.errors import ConversionError, NoFitError
from mobilenets.measuring.device import current, device_words
from mobilenets.measuring.journal import Measure, journalled
from mobilenets.measuring.latency import Latency
from mobilenets.measuring.quiet import in_quiet
from mobilenets.measuring.target import Export, exported, measure_files
from mobilenets.runtimes import DEFAULT, Engine
from mobilenets.runtimes.isolated import Exporter, export_isolated

# The chosen network leaves this part of a latency limit free: p50s of two sessions differ by 1 to 3
# percent on a quiet machine and up to 8 on a busy one, and the finished artifact is measured again.
HEADROOM = 0.08
MAX_MEASURED = 26
_ROUND = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The network chosen, all that were considered, and the limit that binds.

    `candidates` are all networks in the chosen engine, and those measured in other engines;
    `considered` counts the networks.
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    considered: int
    binding_limit: str

    def to_json(self) -> dict[str, Any]:
        """`candidates` holds those measured."""
        return {
            "chosen": self.chosen.to_json(),
            "candidates": [one.to_json() for one in self.shortlist()],
            "considered": self.considered,
            "binding_limit": self.binding_limit,
        }

    def shortlist(self) -> list[Candidate]:
        """The measured candidates, best expected first; and the chosen one, where it was not."""
        measured = [
            one
            for one in self.candidates
            if one.latency or one == self.chosen or (one.stated and one.stated.error_pct is None)
        ]
        return sorted(measured, key=_promise, reverse=True)


def choose(
    budget: Budget,
    *,
    classes: int = 1000,
    image_size: int | None = None,
    head: str = HEADS[0],
    threads: int = 1,
    runtimes: Sequence[str | Engine] = (DEFAULT,),
    measure: Measure | None = None,
    tables: Mapping[Engine, Table] | None = None,
) -> Choice:
    """The network and engine of the best expected accuracy that meet `budget` on this device.

    `image_size` is the images' short side (None: large enough for any resolution), `head` one of
    `CHOSEN_HEADS`. The rest is as in `choose_among`, and what is raised.
    """
    budget.check_limited()
    everything = candidates(classes, image_size, head)
    return choose_among(
        everything, budget, threads=threads, runtimes=runtimes, measure=measure, tables=tables
    )


def choose_among(
    everything: Sequence[Candidate],
    budget: Budget,
    *,
    threads: int = 1,
    runtimes: Sequence[str | Engine] = (DEFAULT,),
    measure: Measure | None = None,
    tables: Mapping[Engine, Table] | None = None,
) -> Choice:
    """The best of these candidates that meet `budget`.

    `measure` gives the latency of archs in an engine; None measures them. `tables` predict it
    where there is one for an engine. Of several `runtimes`, one whose converter fails is left out
    with a warning. Raises `NoFitError`, which names the limit that binds and the nearest network,
    where nothing fits.
    """
    budget.check_limited()
    engines = [Engine.parse(runtime) for runtime in runtimes]
    if isinstance(current(), Imported):
        return _choose(everything, budget, None, engines, imported_tables(engines, threads))
    with Exporter() as exporter:
        measure = measure or measured_whole(threads, exporter.export)
        return _choose(everything, budget, measure, engines, tables or {})


def _choose(
    everything: Sequence[Candidate],
    budget: Budget,
    measure: Measure | None,
    engines: Sequence[Engine],
    tables: Mapping[Engine, Table],
) -> Choice:
    """Without a `measure` the tables alone decide."""
    in_each = {engine: [one.in_engine(engine) for one in everything] for engine in engines}
    affordable = {one.arch for pool in in_each.values() for one in pool if _affordable(one, budget)}
    log.info(f"{len(affordable)} of {len(everything)} candidates fit by arithmetic")
    if not affordable:
        nearest = _nearest([one for pool in in_each.values() for one in pool], budget)
        raise _refusal(budget, _measured([nearest], measure) if measure else [nearest])
    worth_asking = {
        engine: [one for one in pool if one.arch in affordable]
        for engine, pool in in_each.items()
        if any(_affordable(one, budget) for one in pool)
    }
    pools = (
        _search_all(worth_asking, budget, measure, tables)
        if measure
        else [stated(pool, tables[one]) for one, pool in worth_asking.items() if one in tables]
    )
    known = [one for pool in pools for one in pool if one.latency or one.stated]
    chosen = _best(known, budget)
    if chosen is None:
        raise _refusal(budget, known)
    in_chosen = {one.arch: one for pool in pools for one in pool if one.engine == chosen.engine}
    others = [one for one in known if one.engine != chosen.engine]
    return Choice(
        chosen=chosen,
        candidates=(*(in_chosen.get(one.arch, one) for one in in_each[chosen.engine]), *others),
        considered=len(everything),
        binding_limit=LIMIT_NAMES[chosen.worst(budget).limit],
    )


def shortlist(choice: Choice, budget: Budget, measure: Measure, count: int) -> list[Candidate]:
    """The network that was chosen, and up to `count` - 1 that train faster, measured. Each is the
    one of the best expected accuracy among those that fit and take at most a half of its MACs, a
    quarter, an eighth, ... Fewer where nothing is so small."""
    chosen = choice.chosen
    pool = [
        one
        for one in choice.candidates
        if one.engine == chosen.engine
        and budget.fits(**one.spent())
        and _within(one, budget)
        and (one.stated or not chosen.stated)
    ]
    found = {chosen.arch: chosen}
    for halvings in range(1, count):
        small = [one for one in pool if one.macs <= chosen.macs / 2**halvings]
        best = max(small, key=_promise, default=chosen)
        found.setdefault(best.arch, best)
    known = [one for one in found.values() if one.latency or one.stated]
    new = _measured([one for one in found.values() if one not in known], measure)
    return [one for one in (*known, *new) if _within(one, budget)]


def predict_all(
    *,
    classes: int = 1000,
    image_size: int | None = None,
    threads: int = 1,
    engines: Sequence[Engine] = (DEFAULT,),
    measure: Measure | None = None,
    tables: Mapping[Engine, Table] | None = None,
) -> list[list[Candidate]]:
    """All candidates in each engine with their predicted latency: from its table where there is
    one, or else from few that are measured and the engines before. Raises ConversionError."""
    measure = measure or measured_whole(threads)
    tables = tables or {}
    pools: list[list[Candidate]] = []
    for engine in _tables_first(engines, tables):
        pool = [one.in_engine(engine) for one in candidates(classes, image_size)]
        if engine in tables:
            pool = [replace(one, predicted_ms=tables[engine].predict_ms(one.arch)) for one in pool]
        else:
            pool = _Search(pool, Budget(), measure, base=_guesses(pools), bar=None).seed()
        pools.append(pool)
    return pools


def measured_whole(threads: int, export: Export = export_isolated) -> Measure:
    """A measurement of archs with random weights, each converted once by `export`, to a file that
    is then deleted. What was disturbed is measured again."""
    measure_quietly = in_quiet(partial(measure_files, threads=threads, seconds=1.0))

    def measure_archs(archs: Sequence[Arch], engine: Engine) -> list[Latency]:
        with exported([(arch, engine) for arch in archs], export) as files:
            return measure_quietly(files)

    return measure_archs


def measured_once(path: Path, threads: int, export: Export = export_isolated) -> Measure:
    """`measured_whole`, with what was measured under the same conditions kept in `path`."""

    def conditions(engine: Engine) -> str:
        return f"{device_words(current())}, {engine} {current().version(engine)}, {threads}"

    return journalled(path, conditions, measured_whole(threads, export))


def _search_all(
    in_each: Mapping[Engine, list[Candidate]],
    budget: Budget,
    measure: Measure,
    tables: Mapping[Engine, Table],
) -> list[list[Candidate]]:
    """The candidates, which are the same networks in each engine, the most promising measured.

    The later engines are predicted from the first, but for a factor, and asked only for what
    promises no less than the best found so far. Raises ConversionError where no engine is left.
    """
    pools: list[list[Candidate]] = []
    failure: ConversionError | None = None
    for engine in _tables_first(list(in_each), tables):
        pool = in_each[engine]
        bar = _best([one for done in pools for one in done], budget)
        base = (
            [tables[engine].predict_ms(one.arch) for one in pool]
            if engine in tables
            else _guesses(pools)
        )
        try:
            pools.append(_Search(pool, budget, measure, base=base, bar=bar).run())
        except ConversionError as error:
            log.warning(f"{error}; the choice goes on without {engine}")
            failure = error
    if not pools and failure:
        raise failure
    return pools


def _tables_first(engines: Sequence[Engine], tables: Mapping[Engine, Table]) -> list[Engine]:
    """The other engines are predicted from the first."""
    return sorted(engines, key=lambda engine: engine not in tables)


def _guesses(pools: list[list[Candidate]]) -> list[float] | None:
    """What the first engine took or is predicted to take."""
    if not pools or any(one.predicted_ms is None for one in pools[0]):
        return None
    return [one.predicted_ms for one in pools[0] if one.predicted_ms is not None]


class _Search:
    """Measures the most promising candidates until none that is likely to fit promises more.

    `base` predicts their latencies but for a factor; None predicts them by arithmetic. `bar` is
    the best that is known from elsewhere.
    """

    def __init__(
        self,
        pool: list[Candidate],
        budget: Budget,
        measure: Measure,
        *,
        base: list[float] | None,
        bar: Candidate | None,
    ):
        self._pool = pool
        self._budget = budget
        self._measure = measure
        self._bar = bar
        self._features = np.array(
            [one.features for one in pool] if base is None else [[ms] for ms in base]
        )
        self._base = base

    def run(self) -> list[Candidate]:
        """The pool with the most promising measured."""
        if self._budget.latency_ms is None:
            self._measure_now([max(self._affordable(), key=_promise)])
            return self._pool
        self.seed()
        while batch := self._next():
            self._measure_now(batch)
        if _best(self._pool, self._budget) is None and self._bar is None:
            self._measure_now(self._fastest_unmeasured())
        return self._pool

    def seed(self) -> list[Candidate]:
        """The pool with as much measured as predictions need, and all of it predicted."""
        self._measure_now(self._seeds())
        return self._pool

    def _seeds(self) -> list[Candidate]:
        """What the first predictions stand on: two of each family, a small and a large one; with
        a base, which needs a factor only, the one nearest to the limit, or of middling size."""
        seeds = {}
        for name in sorted({kin(one.arch.name) for one in self._pool}):
            family = [one for one in self._pool if kin(one.arch.name) == name]
            for one in self._family_seeds(family):
                seeds[one.arch] = one
        return list(seeds.values())

    def _family_seeds(self, family: list[Candidate]) -> list[Candidate]:
        if self._base is None:
            by_macs = sorted(family, key=lambda one: one.macs)
            return [by_macs[int(share * (len(by_macs) - 1))] for share in (0.1, 0.6)]
        guesses = dict(zip((one.arch for one in self._pool), self._base, strict=True))
        limit = self._budget.latency_ms or median(self._base)
        return [min(family, key=lambda one: abs(guesses[one.arch] - limit))]

    def _next(self) -> list[Candidate]:
        """Unmeasured candidates that promise more than the best so far and are likely to fit; what
        is as good as the best of another engine may be faster in this one."""
        measured = sum(one.latency is not None for one in self._pool)
        best = _best(self._pool, self._budget)
        known = [_promise(one)[:2] for one in (best, self._bar) if one is not None]
        likely = [
            one
            for one in self._affordable()
            if one.latency is None
            and _fits(one.predicted_ms or 0, self._budget)
            and all(_promise(one)[:2] >= bar for bar in known)
            and (best is None or one.arch != best.arch)
        ]
        likely.sort(key=_promise, reverse=True)
        return likely[: min(_ROUND, MAX_MEASURED - measured)]

    def _fastest_unmeasured(self) -> list[Candidate]:
        unmeasured = [one for one in self._affordable() if one.latency is None]
        return sorted(unmeasured, key=lambda one: one.predicted_ms or 0)[:_ROUND]

    def _affordable(self) -> list[Candidate]:
        """Those whose file and costs fit in this engine; all are predicted, for others'."""
        return [one for one in self._pool if _affordable(one, self._budget)]

    def _measure_now(self, batch: list[Candidate]) -> None:
        done = {one.arch: one for one in _measured(batch, self._measure)}
        for one in done.values():
            ms = one.latency.p50_ms if one.latency else 0
            log.info(f"{one.arch.full_name} in {one.engine}: {ms:.3f} ms")
        self._pool = _predict([done.get(one.arch, one) for one in self._pool], self._features)


def _best(pool: Iterable[Candidate], budget: Budget) -> Candidate | None:
    """The most promising that fit, of the candidates whose latency was measured, or is stated."""
    fitting = [
        one
        for one in pool
        if (one.latency or one.stated) and _within(one, budget) and _affordable(one, budget)
    ]
    return max(fitting, key=_promise, default=None)


def _affordable(one: Candidate, budget: Budget) -> bool:
    """Whether it meets the limits as far as they are known: by arithmetic, until it is measured."""
    return budget.fits(**one.spent())


def _fits(ms: float, budget: Budget) -> bool:
    return budget.latency_ms is None or ms <= budget.latency_ms * (1 - HEADROOM)


def _within(one: Candidate, budget: Budget) -> bool:
    """Whether its latency leaves the headroom free; where the table of a device that cannot be
    reached may be wrong by more, that."""
    if one.stated and budget.latency_ms is not None:
        return one.stated.ms <= budget.latency_ms * (1 - max(HEADROOM, one.stated.worst_pct / 100))
    return _fits(one.about_ms, budget)


def _measured(batch: list[Candidate], measure: Measure) -> list[Candidate]:
    """The batch, which is of one engine, with its latencies."""
    if not batch:
        return []
    latencies = measure([one.arch for one in batch], batch[0].engine)
    return [replace(one, latency=ms) for one, ms in zip(batch, latencies, strict=True)]


def _promise(candidate: Candidate) -> tuple[float, float, float]:
    """What candidates are ranked by: expected accuracy, then cheapness, then speed."""
    ms = candidate.latency.p50_ms if candidate.latency else candidate.predicted_ms or 0
    return candidate.rank, -candidate.macs, -ms


def _predict(pool: list[Candidate], features: NDArray[np.float64]) -> list[Candidate]:
    """The pool with latencies guessed from those measured: a non-negative price for each feature,
    fitted for the least relative error, and a factor per family."""
    at = [index for index, one in enumerate(pool) if one.latency]
    known = [pool[index] for index in at]
    times = np.array([one.latency.p50_ms for one in known if one.latency])
    prices = fit(features[at], times)
    factors = _family_factors(known, times / np.maximum(features[at] @ prices, 1e-9))
    return [
        replace(one, predicted_ms=float(guess * factors.get(kin(one.arch.name), 1.0)))
        for one, guess in zip(pool, features @ prices, strict=True)
    ]


def _family_factors(known: list[Candidate], ratios: NDArray[np.float64]) -> dict[str, float]:
    """How much slower than predicted each family is: the geometric mean of its ratios."""
    names = np.array([kin(one.arch.name) for one in known])
    return {name: float(np.exp(np.log(ratios[names == name]).mean())) for name in set(names)}


def _nearest(pool: list[Candidate], budget: Budget) -> Candidate:
    """The candidate that misses the budget by least."""
    return min(pool, key=lambda one: one.worst(budget).fraction)


def _refusal(budget: Budget, measured: list[Candidate]) -> NoFitError:
    nearest = _nearest(measured, budget)
    use = nearest.worst(budget)
    limit = LIMIT_NAMES[use.limit]
    how = f", {nearest.stated.words()}" if nearest.stated and limit == "latency" else ""
    return NoFitError(
        f"no network fits: {limit} binds at {describe(use.limit, use.allowed)}; the nearest, "
        f"{nearest.arch.full_name}, takes {describe(use.limit, use.spent)}{how}; raise --{limit}",
        binding_limit=limit,
        nearest=nearest.to_json(),
    )
