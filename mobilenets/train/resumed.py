"""Going on from a state that a killed run left, which may be broken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from mobilenets.errors import MobileNetsError, lacks_memory

# What Lightning reads, beside it our own.
_PARTS = {
    "epoch": int, "global_step": int, "state_dict": dict, "loops": dict, "callbacks": dict,
    "optimizer_states": list, "lr_schedulers": list, "batch_norm": dict,
}  # fmt: skip


class BrokenState(Exception):
    """The message says which file, and why."""


def read_state(path: Path) -> dict[str, Any]:
    """What a run saved; nothing in it is executed. Raises `BrokenState`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file makes torch raise nearly anything
        raise BrokenState(f"{path} ({_first_line(error)})") from error
    wrong = [
        name
        for name, kind in _PARTS.items()
        if not isinstance(state, dict) or not isinstance(state.get(name), kind)
    ]
    if wrong:
        raise BrokenState(f"{path} (it lacks {', '.join(wrong)})")
    return state


class Resumed(pl.Callback):
    """Tells a state that cannot be gone on from, from a mistake in the training after it."""

    def __init__(self, state: Path | None):
        self._state = state
        self._started = state is None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = True

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Within, what goes wrong before the first step is `BrokenState`."""
        if self._state is not None:
            read_state(self._state)
        try:
            yield
        except MobileNetsError:
            raise
        except Exception as error:  # as nearly anything may be in the file
            if self._started or lacks_memory(error):
                raise
            raise BrokenState(f"{self._state} ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:150]
