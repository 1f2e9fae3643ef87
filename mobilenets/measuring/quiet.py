"""Measuring again what others disturbed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from mobilenets.measuring.latency import Latency
from mobilenets.measuring.loop import is_slowed

Network = TypeVar("Network")
_AGAIN = 2


def in_quiet(
    measure: Callable[[Sequence[Network]], list[Latency]],
) -> Callable[[Sequence[Network]], list[Latency]]:
    """`measure`; what comes out noisy, or while the core was slower than in an earlier call, is
    measured again, twice at most. Of a network's latencies an undisturbed one counts, else the
    lowest: noise makes no network faster."""
    best = math.inf

    def measure_probed(networks: Sequence[Network]) -> list[Latency]:
        nonlocal best
        found = measure(networks)
        best = min([best, *(one.probe_ns for one in found if one.probe_ns)])
        return found

    def disturbed(one: Latency) -> bool:
        return one.noisy or is_slowed(one.probe_ns, best)

    def measure_again(networks: Sequence[Network]) -> list[Latency]:
        found = measure_probed(networks)
        for _ in range(_AGAIN):
            places = [place for place, one in enumerate(found) if disturbed(one)]
            if not places:
                break
            again = measure_probed([networks[place] for place in places])
            for place, one in zip(places, again, strict=True):
                found[place] = min(found[place], one, key=lambda it: (disturbed(it), it.p50_ms))
        return found

    return measure_again
