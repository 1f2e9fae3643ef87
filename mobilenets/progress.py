"""How far long work is: told by whoever does it, drawn by who listens (`cli/display.py`), else
dropped, for less than a microsecond.

>>> report("reading", 10, 200)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

# Between logging's DEBUG and INFO: what is too much for lines.
PROGRESS = 15
log = logging.getLogger(__name__)


class Share(NamedTuple):
    """That `done` of `total` is done in a stage; all of it is its end. `unit` is "B" for bytes."""

    stage: str
    done: float
    total: float
    note: str = ""
    unit: str = ""

    @property
    def ended(self) -> bool:
        return self.done >= self.total

    def __str__(self) -> str:
        part = 100 * self.done / self.total if self.total else 100
        return f"{self.stage}: {part:.0f} %{self.note and f', {self.note}'}"


def report(stage: str, done: float, total: float, note: str = "", unit: str = "") -> None:
    """Tell it. Each stage that is told of ends: with `done` as much as `total`, or as `staged`."""
    if log.isEnabledFor(PROGRESS):
        share = Share(stage, done, total, note, unit)
        log.log(PROGRESS, "%s", share, extra={"share": share})


@contextmanager
def staged(stage: str, total: float, unit: str = "") -> Iterator[Callable[[float], None]]:
    """A stage that ends with the block, however that ends; what it gives takes how much is done."""
    report(stage, 0, total, unit=unit)
    try:
        yield lambda done: report(stage, min(done, 0.999 * total), total, unit=unit)
    finally:
        report(stage, total, total, unit=unit)
