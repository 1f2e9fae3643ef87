"""A training ends in time: where the machine turns out slower than planned, it is shortened."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from mobilenets.train import group
from mobilenets.train.module import Learner

log = logging.getLogger(__name__)

# Fewer steps than planned by this part are no reason to change the plan.
_SLACK = 0.05


class TimeLeft:
    """Seconds that run down; a call gives what is left of them, which may be below 0."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def __call__(self) -> float:
        return self._end - self._clock()


class InTime(pl.Callback):
    """Ends training when no time is left. After each epoch it sees how many more steps there is
    time for. Where they are fewer than planned, the rest of the schedule is run through in them, so
    that the learning rate still comes down. An epoch that takes longer than is left is broken
    off, and evaluated as it is."""

    def __init__(self, left: TimeLeft):
        self._left = left
        self._epochs: int | None = None  # once there are fewer than planned
        self._seconds: deque[float] = deque(maxlen=3)  # of the last epochs
        self._began = self._evaluating = math.inf
        self._evaluation = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._epochs = state_dict["epochs"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._epochs is not None:
            trainer.fit_loop.max_epochs = self._epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = self._left()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # Several processes end at epochs only: a step is no time to ask each other.
        if group.size() == 1 and self._left() < self._evaluation:
            trainer.should_stop = True

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._evaluating = self._left()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        left = self._left()
        self._evaluation = max(self._evaluating - left, 0.0)
        self._seconds.append(self._began - left)
        steps = group.decided(lambda: self._steps_left(trainer))
        if steps is not None:
            self._shorten(trainer, pl_module, steps)

    def _steps_left(self, trainer: pl.Trainer) -> int | None:
        """How many steps there is time for, where they are fewer than planned."""
        whole = int(trainer.num_training_batches)
        planned = whole * ((trainer.max_epochs or 0) - trainer.current_epoch - 1)
        each = sum(self._seconds) / len(self._seconds) / whole
        steps = max(int(self._left() / max(each, 1e-9)), 0)
        return steps if steps < (1 - _SLACK) * planned else None

    def _shorten(self, trainer: pl.Trainer, module: pl.LightningModule, steps: int) -> None:
        assert isinstance(module, Learner)
        whole, done = int(trainer.num_training_batches), trainer.current_epoch + 1
        self._epochs = done + math.ceil(steps / whole)
        if self._epochs != trainer.max_epochs:
            log.info(f"slower than planned: {self._epochs} epochs in place of {trainer.max_epochs}")
        trainer.fit_loop.max_epochs = self._epochs
        if steps:
            module.shorten_(trainer.global_step, steps)
