"""How often a finished artifact is measured, until its latency decides on its limit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path

from mobilenets.archs.budget import Budget, describe
from mobilenets.measuring.latency import Latency, measure
from mobilenets.measuring.loop import undisturbed
from mobilenets.runtimes import Engine

# A p50 that is not this part below its limit is measured again: all of three must be within it.
_CLOSE = 0.1
# Where three sessions do not decide, up to so many more, so many seconds apart: a minute in all.
_MORE, _PAUSE_S = 6, 7.0
# Quiet sessions that disagree decide from so many on, where so large a part is on one side.
_ENOUGH, _MOST = 6, 0.75
log = logging.getLogger(__name__)


def too_noisy(sessions: Sequence[Latency], limit_ms: float) -> bool:
    """Whether a noisy latency is close to its limit or over it, or sessions disagree on the limit.
    Noise makes no network faster: one far below its limit is within it all the same."""
    close = (1 - _CLOSE) * limit_ms
    within = {one.p50_ms <= limit_ms for one in sessions}
    return len(within) > 1 or any(one.noisy and one.p50_ms > close for one in sessions)


def time_artifact(
    artifact: Path,
    budget: Budget,
    *,
    runtime: str | Engine | None = None,
    threads: int = 1,
    pause: Callable[[float], object] = time.sleep,
) -> tuple[Latency, ...]:
    """The artifact's latency in as many sessions as its limit needs, the slowest last.

    Where it is close to its limit or over it, three sessions, each of which must then be within the
    limit. One in which the core was slower all along than in another does not count. Where the
    machine is too noisy to decide by them, more, spread over a minute (`pause` waits).
    """

    def session() -> Latency:
        return measure([artifact], runtime=runtime, threads=threads)[0]

    first = session()
    limit = budget.latency_ms
    if limit is None or first.p50_ms <= (1 - _CLOSE) * limit:
        return (first,)
    sessions = [first, session(), session()]
    found = deciding(sessions, limit)
    for _ in range(_MORE):
        if not too_noisy(found, limit):
            break
        log.info(f"too noisy to decide on {describe('latency_ms', limit)}: measuring again")
        pause(_PAUSE_S)
        sessions.append(session())
        found = deciding(sessions, limit)
    return tuple(sorted(found, key=lambda one: one.p50_ms))


def deciding(sessions: Sequence[Latency], limit: float) -> list[Latency]:
    """The sessions that count: those with the core at its best, and of them the quiet ones, where
    there are three or one far below the limit. Where many disagree, those of the clear majority."""
    close = (1 - _CLOSE) * limit
    counted = list(compress(sessions, undisturbed([one.probe_ns for one in sessions])))
    quiet = [one for one in counted if not one.noisy or one.p50_ms <= close]
    if len(quiet) < 3 and not any(one.p50_ms <= close for one in quiet):
        return counted
    within = [one for one in quiet if one.p50_ms <= limit]
    over = [one for one in quiet if one.p50_ms > limit]
    if len(quiet) >= _ENOUGH:
        for side in (within, over):
            if len(side) >= _MOST * len(quiet):
                return side
    return quiet
