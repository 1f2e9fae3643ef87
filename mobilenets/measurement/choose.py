"""Choosing: arithmetic filters thousands, measurement decides among the few near the budget.

Accuracy is expected from the papers' ImageNet results (`archs.published`), the same for every
user; latency is measured here, whole networks, in the runtime that will run them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from mobilenets.archs import Arch, Budget
from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.errors import BudgetError, NoFitError
from mobilenets.measurement.candidates import Candidate, candidates
from mobilenets.measurement.journal import Measure
from mobilenets.measurement.latency import Latency
from mobilenets.measurement.target import measure_checkpoints

# The chosen network leaves this part of a latency limit free: p50s of two sessions differ by 1 to 3
# percent on a quiet machine and up to 8 on a busy one, and the finished artefact is measured again.
HEADROOM = 0.08
MAX_MEASURED = 24
_ROUND = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The network chosen, all that were considered, and the limit that binds (None: no limit)."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    binding_limit: str | None

    def to_json(self) -> dict[str, Any]:
        """`candidates` holds those measured; `considered` counts them all."""
        return {
            "chosen": self.chosen.to_json(),
            "candidates": [one.to_json() for one in self.shortlist()],
            "considered": len(self.candidates),
            "binding_limit": self.binding_limit,
        }

    def shortlist(self) -> list[Candidate]:
        """The measured candidates, best expected first."""
        measured = [one for one in self.candidates if one.latency is not None]
        return sorted(measured, key=_promise, reverse=True)


def choose(
    budget: Budget,
    *,
    classes: int = 1000,
    image_size: int | None = None,
    threads: int = 1,
    measure: Measure | None = None,
) -> Choice:
    """The network with the best expected accuracy that meets `budget` on this machine.

    `measure` gives the latency of archs; None measures them in onnxruntime. Raises `NoFitError`,
    which names the limit that binds and the nearest network, where nothing fits.
    """
    if not budget.limits():
        raise BudgetError("a budget needs a limit; give at least one, such as --latency 5ms")
    measure = measure or in_onnxruntime(threads)
    everything = candidates(classes, image_size)
    affordable = [one for one in everything if budget.fits(**one.spent())]
    log.info(f"{len(affordable)} of {len(everything)} candidates fit by arithmetic")
    if not affordable:
        raise _refusal(budget, _measured([_nearest(everything, budget)], measure))
    search = _Search(affordable, budget, measure)
    chosen = search.run()
    found = {one.arch: one for one in search.pool}
    return Choice(
        chosen=chosen,
        candidates=tuple(found.get(one.arch, one) for one in everything),
        binding_limit=LIMIT_NAMES[chosen.worst(budget).limit],
    )


def in_onnxruntime(threads: int, *, seconds: float = 1.0) -> Measure:
    """A measurement of archs with random weights, each exported to a file that is then deleted."""

    def measure_archs(archs: Sequence[Arch]) -> list[Latency]:
        from mobilenets.nn import Checkpoint  # torch takes seconds to import

        fresh = [Checkpoint.fresh(arch) for arch in archs]
        return measure_checkpoints(fresh, runtime="onnxruntime", threads=threads, seconds=seconds)

    return measure_archs


class _Search:
    """Measures the most promising candidates until none that is likely to fit promises more."""

    def __init__(self, pool: list[Candidate], budget: Budget, measure: Measure):
        self.pool = pool
        self._budget = budget
        self._limit = budget.latency_ms
        self._measure = measure

    def run(self) -> Candidate:
        if self._limit is None:
            self._measure_now([max(self.pool, key=_promise)])
        else:
            self._measure_now(_seeds(self.pool))
            while batch := self._next():
                self._measure_now(batch)
            if self._best() is None:
                self._measure_now(self._fastest_unmeasured())
        best = self._best()
        if best is None:
            raise _refusal(self._budget, [one for one in self.pool if one.latency])
        return best

    def _best(self) -> Candidate | None:
        """The most promising of the measured candidates that fit."""
        fitting = [one for one in self.pool if one.latency and self._fits(one.latency.p50_ms)]
        return max(fitting, key=_promise, default=None)

    def _fits(self, ms: float) -> bool:
        return self._limit is None or ms <= self._limit * (1 - HEADROOM)

    def _next(self) -> list[Candidate]:
        """Unmeasured candidates that promise more than the best so far and are likely to fit."""
        measured = sum(one.latency is not None for one in self.pool)
        best = self._best()
        bar = (-1.0, 0.0) if best is None else _promise(best)
        likely = [
            one
            for one in self.pool
            if one.latency is None and self._fits(one.predicted_ms or 0) and _promise(one) > bar
        ]
        likely.sort(key=_promise, reverse=True)
        return likely[: min(_ROUND, MAX_MEASURED - measured)]

    def _fastest_unmeasured(self) -> list[Candidate]:
        unmeasured = [one for one in self.pool if one.latency is None]
        return sorted(unmeasured, key=lambda one: one.predicted_ms or 0)[:_ROUND]

    def _measure_now(self, batch: list[Candidate]) -> None:
        done = {one.arch: one for one in _measured(batch, self._measure)}
        for one in done.values():
            log.info(f"{one.arch.full_name}: {one.latency.p50_ms:.3f} ms")  # type: ignore[union-attr]
        self.pool = _predict([done.get(one.arch, one) for one in self.pool])


def _measured(batch: Iterable[Candidate], measure: Measure) -> list[Candidate]:
    batch = list(batch)
    latencies = measure([one.arch for one in batch])
    return [replace(one, latency=ms) for one, ms in zip(batch, latencies, strict=True)]


def _promise(candidate: Candidate) -> tuple[float, float]:
    """What candidates are ranked by: expected accuracy, then cheapness."""
    return candidate.expected.top1, -candidate.macs


def _seeds(pool: list[Candidate]) -> list[Candidate]:
    """Two of each family, a small and a large one: what the first predictions stand on."""
    seeds = {}
    for name in sorted({one.arch.name for one in pool}):
        family = sorted((one for one in pool if one.arch.name == name), key=lambda one: one.macs)
        for share in (0.1, 0.6):
            seed = family[int(share * (len(family) - 1))]
            seeds[seed.arch] = seed
    return list(seeds.values())


def _predict(pool: list[Candidate]) -> list[Candidate]:
    """The pool with latencies guessed from those measured: non-negative prices for a layer, a MAC,
    a value moved and a weight, fitted for the least relative error, and a factor per family."""
    known = [one for one in pool if one.latency]
    times = np.array([one.latency.p50_ms for one in known if one.latency])
    features = np.array([_features(one) for one in known])
    prices, _ = nnls(features / times[:, None], np.ones(len(known)))
    factors = _family_factors(known, times / np.maximum(features @ prices, 1e-9))
    guesses = np.array([_features(one) for one in pool]) @ prices
    return [
        replace(one, predicted_ms=float(guess * factors.get(one.arch.name, 1.0)))
        for one, guess in zip(pool, guesses, strict=True)
    ]


def _family_factors(known: list[Candidate], ratios: NDArray[np.float64]) -> dict[str, float]:
    """How much slower than predicted each family is: the geometric mean of its ratios."""
    names = np.array([one.arch.name for one in known])
    return {name: float(np.exp(np.log(ratios[names == name]).mean())) for name in set(names)}


def _features(one: Candidate) -> tuple[float, float, float, float]:
    """Layers, MACs, values moved and weights, each in a unit that takes about as long."""
    return one.layers / 1e3, one.macs / 1e8, one.moved_values / 1e7, one.weights / 1e7


def _nearest(pool: list[Candidate], budget: Budget) -> Candidate:
    """The candidate that misses the budget by least."""
    return min(pool, key=lambda one: one.worst(budget).fraction)


def _refusal(budget: Budget, measured: list[Candidate]) -> NoFitError:
    nearest = _nearest(measured, budget)
    use = nearest.worst(budget)
    limit = LIMIT_NAMES[use.limit]
    return NoFitError(
        f"no network fits: {limit} binds at {describe(use.limit, use.allowed)}; the nearest, "
        f"{nearest.arch.full_name}, takes {describe(use.limit, use.spent)}; raise --{limit}",
        binding_limit=limit,
        nearest=nearest.to_json(),
    )
