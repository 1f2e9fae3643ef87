"""How far a download is: a bar on a terminal, one line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Self

_WIDTH = 30
log = logging.getLogger(__name__)


class Progress:
    """Says `what` and how far it is, of `length` bytes (0: not known), on stderr."""

    def __init__(self, what: str, length: int):
        self._length, self._done, self._drawn = length, 0, 0.0
        self._bar = sys.stderr.isatty()
        size = f" ({length / 1e6:.1f} MB)" if length else ""
        log.info(f"{what}{size}")

    def advance(self, count: int) -> None:
        """So many bytes more."""
        self._done += count
        if self._bar and time.monotonic() - self._drawn > 0.1:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        part = min(self._done / self._length, 1.0) if self._length else 0.0
        bar = f"[{'#' * round(_WIDTH * part):<{_WIDTH}}] " if self._length else ""
        print(f"\r{bar}{self._done / 1e6:.1f} MB", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar and self._drawn:
            self._draw()
            print(file=sys.stderr)
