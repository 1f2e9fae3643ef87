"""The minutes that a whole `fit` may take, and what they leave for its training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

# Training has at least this part, however long reading and choosing took.
_LEAST = 0.25
# Export, a report, and three sessions of latency, in seconds.
_ENDING_S = 25.0
# To put a network into integers: its schemes are scored and written one by one.
_INTEGERS_S, _SCHEMES = 40.0, 6


@dataclass(frozen=True)
class Allowance:
    """`minutes` for everything (None: no limit), which run since `started`, a time of `clock`."""

    minutes: float | None
    started: float
    clock: Callable[[], float] = time.monotonic

    @property
    def spent(self) -> float:
        """Minutes so far."""
        return (self.clock() - self.started) / 60

    def for_training(self, ending: float) -> float | None:
        """The minutes that training has now, when `ending` are needed after it."""
        if self.minutes is None:
            return None
        return max(self.minutes - self.spent - ending, _LEAST * self.minutes)

    def tell(self, training: float | None, ending: float) -> None:
        """Say beforehand what the minutes go into."""
        if self.minutes is None or training is None:
            return
        over = self.spent + training + ending - self.minutes
        late = f", {over:.1f} more than asked" if over > 0.05 * self.minutes else ""
        log.info(
            f"--minutes {self.minutes:g}: {self.spent:.1f} spent so far, {training:.1f} for "
            f"training, {ending:.1f} left for export and verification{late}"
        )


def ending_minutes(*, validation: int, holdout: int, latency_ms: float, int8: bool) -> float:
    """About how long export, verification and report take: each image runs once in the artifact
    and once in PyTorch, which decodes it too."""
    images = 3 * validation
    seconds = _ENDING_S
    if int8:
        images += _SCHEMES * holdout + 2 * (validation + holdout)
        seconds += _INTEGERS_S
    return (seconds + images * latency_ms / 1000) / 60
