"""Lines of progress on stderr, and on a terminal a bar for each stage of long work: its share done
and the time left."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from mobilenets.progress import PROGRESS, Share

# Seconds between drawings, which take milliseconds, and between lines with --verbose.
_DRAWN_EVERY, _SAID_EVERY = 0.5, 10.0
_NAME = "mobilenets"


def show_progress(*, quiet: bool = False, verbose: bool = False) -> None:
    """Send the library's progress to stderr, each line with the seconds since the start.

    `quiet` leaves warnings only. On a terminal stages have bars; elsewhere `verbose` gives lines
    for them.
    """
    logger = logging.getLogger(_NAME)
    hide_progress()
    terminal = sys.stderr.isatty()
    logger.handlers = [Bars() if terminal and not quiet else Lines()]
    usual = PROGRESS if terminal else logging.INFO
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else usual)
    logger.propagate = False


def hide_progress() -> None:
    """Take the bars away: what comes next on the terminal stands where they were."""
    for handler in logging.getLogger(_NAME).handlers:
        if isinstance(handler, Bars):
            handler.hide()


def say(text: str) -> None:
    """A line of progress: the first comes before anything that takes long, PyTorch's import too."""
    logging.getLogger(_NAME).info(text)


class Lines(logging.StreamHandler[Any]):
    """A line for each message, and for each stage every now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        super().__init__(sys.stderr)
        self._clock = clock
        self._said = -_SAID_EVERY

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "share"):
            if self._clock() - self._said < _SAID_EVERY:
                return
            self._said = self._clock()
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.relativeCreated / 1000:7.1f} s  {record.getMessage()}"


class Bars(Lines):
    """The same lines, above a bar for each stage. Nothing is drawn between messages: what is being
    measured is not to be disturbed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, console: Any = None):
        super().__init__(clock)
        self._console = console
        self._live: Any = None
        self._tasks: dict[str, Any] = {}
        self._drawn = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        share = getattr(record, "share", None)
        if share is not None:
            self._show(share)
        elif self._live is None:
            super().emit(record)
        else:
            self._live.console.print(self.format(record), markup=False, highlight=False)

    def hide(self) -> None:
        """Take all bars away."""
        if self._live is not None:
            self._live.stop()
        self._live, self._tasks = None, {}

    def _show(self, share: Share) -> None:
        if share.ended:
            return self._end(share.stage)
        live, task = self._started(), self._tasks.get(share.stage)
        name = ", ".join(filter(None, (share.stage, share.note)))
        if task is None:  # drawn at once
            self._tasks[share.stage] = live.add_task(name, total=share.total, completed=share.done)
            self._drawn = self._clock()
            return None
        live.update(task, description=name, completed=share.done, total=share.total)
        if self._clock() - self._drawn >= _DRAWN_EVERY:
            self._drawn = self._clock()
            live.refresh()
        return None

    def _end(self, stage: str) -> None:
        task = self._tasks.pop(stage, None)
        if not self._tasks:
            self.hide()
        elif task is not None:
            self._live.remove_task(task)

    def _started(self) -> Any:
        """The bars; rich is imported for the first of them only."""
        if self._live is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeRemainingColumn,
            )

            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self._console or Console(stderr=True),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
            self._live.console.show_cursor(True)  # who is killed leaves it as it is
        return self._live
