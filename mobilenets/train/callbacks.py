"""What happens around the epochs: files written whole, metrics kept, progress on stderr."""

from __future__ import annotations

import io
import logging
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mobilenets.files import write_bytes, write_text

log = logging.getLogger(__name__)
_COLUMNS = ("epoch", "train_loss", "holdout_loss", "holdout_top1", "learning_rate", "seconds")


def averaged_decay(decay: float, steps: int) -> float:
    """The decay of averaged weights in a run of `steps`: they remember a tenth of it at most.

    0.9999 remembers the last 10,000 steps: right for the papers' hundreds of thousands, while after
    a thousand steps the average would still be nine parts random start.
    """
    return max(min(decay, 1 - 10 / steps), 0.0)


def averaging(decay: float, steps: int) -> WeightAveraging:
    """Keeps the exponential average of the weights: what is evaluated and saved as the result."""
    average = get_ema_multi_avg_fn(averaged_decay(decay, steps))  # type: ignore[no-untyped-call]
    return WeightAveraging(multi_avg_fn=average)


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that are whole or absent, whenever the process is killed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_bytes(Path(path), buffer.getvalue())


class Metrics(pl.Callback):
    """One row an epoch in metrics.csv; the rows live in the checkpoint, so a resumed run's file
    has every epoch once."""

    def __init__(self, path: Path):
        self._path = path
        self._rows: list[dict[str, float]] = []
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows = state_dict["rows"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._rows.append(
            {
                "epoch": trainer.current_epoch,
                **{name: logged[name] for name in ("train_loss", "holdout_loss", "holdout_top1")},
                "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "seconds": time.monotonic() - self._started,
            }
        )
        if not sys.stderr.isatty():
            log.info("epoch %s", _words(self._rows[-1], trainer.max_epochs))
        lines = [",".join(_COLUMNS), *(_line(row) for row in self._rows)]
        write_text(self._path, "\n".join(lines) + "\n")


def _line(row: dict[str, float]) -> str:
    return ",".join(f"{row[column]:.7g}" for column in _COLUMNS)


def _words(row: dict[str, float], epochs: int | None) -> str:
    return (
        f"{row['epoch'] + 1:.0f}/{epochs}: training loss {row['train_loss']:.3f}, "
        f"holdout loss {row['holdout_loss']:.3f}, top-1 {row['holdout_top1']:.2f} %, "
        f"{row['seconds']:.1f} s"
    )
