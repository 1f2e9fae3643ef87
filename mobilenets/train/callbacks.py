"""What happens around the epochs: files written whole, metrics kept, progress on stderr."""

from __future__ import annotations

import io
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mobilenets.data import Batch
from mobilenets.errors import DataError
from mobilenets.files import write_bytes, write_text
from mobilenets.progress import report
from mobilenets.tasks import Task
from mobilenets.train import group

log = logging.getLogger(__name__)


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

    def __init__(self, path: Path, task: Task):
        self._path = path
        self._task = task
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
        figures = ("train_loss", "holdout_loss", f"holdout_{self._task.metric}")
        self._rows.append(
            {
                "epoch": trainer.current_epoch,
                **{name: logged[name] for name in figures},
                "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "seconds": time.monotonic() - self._started,
            }
        )
        if not trainer.is_global_zero:
            return
        if not sys.stderr.isatty():
            log.info("epoch %s", _words(self._rows[-1], trainer.max_epochs, self._task))
        lines = [",".join(self._rows[-1]), *(_line(row) for row in self._rows)]
        write_text(self._path, "\n".join(lines) + "\n")


class Reported(pl.Callback):
    """Tells after each batch how far the training is."""

    def __init__(self) -> None:
        self._note = ""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any
    ) -> None:
        at, epochs, batches = trainer.current_epoch, trainer.max_epochs or 1, batch[-1] + 1
        each = max(int(trainer.num_training_batches), 1)
        note = f"epoch {at + 1} of {epochs}{self._note}"
        report("training", min(at * each + batches, epochs * each - 1), epochs * each, note)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note = f", holdout loss {float(trainer.callback_metrics['holdout_loss']):.3f}"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        report("training", 1, 1)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        report("training", 1, 1)


class Kept(ModelCheckpoint):
    """Goes on in its folder where that was moved, with what is kept there."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def moved(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        here = {name: moved(state_dict[name]) for name in paths} | {"dirpath": self.dirpath}
        super().load_state_dict({**state_dict, "best_k_models": best, **here})


class Mended(pl.Callback):
    """Tells of images that could be read when the run began and cannot be any more, each once; in
    their place stand others of their batch.

    `found` says which and why, of all processes. Raises `DataError` where they are more than one in
    a hundred of the run's `images`, or a whole batch: that is no training any more.
    """

    def __init__(self, images: int):
        self._most = max(images // 100, 1)
        self.found: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found = state_dict["found"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        for what in batch.broken:
            if what not in self.found:
                self.found.append(what)
                log.warning(f"{what}; another image stands in for it ({len(self.found)} so far)")
        if len(self.found) > self._most or len(batch.broken) == len(batch.target):
            raise DataError(
                f"{len(self.found)} images cannot be read any more, the last: {self.found[-1]}, "
                "and run the same command again"
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found = list(dict.fromkeys(what for one in group.gathered(self.found) for what in one))


class Stoppable(pl.Callback):
    """SIGTERM ends a process of several at once, as torchrun wants it. Lightning's own handler
    waits for the others, who may be gone."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signal.signal(signal.SIGTERM, _exit)  # Lightning puts back what was there before


def _exit(number: int, frame: Any) -> None:
    raise SystemExit(1)


def _line(row: dict[str, float]) -> str:
    return ",".join(f"{value:.7g}" for value in row.values())


def _words(row: dict[str, float], epochs: int | None, task: Task) -> str:
    return (
        f"{row['epoch'] + 1:.0f}/{epochs}: training loss {row['train_loss']:.3f}, "
        f"holdout loss {row['holdout_loss']:.3f}, "
        f"{task.title} {row[f'holdout_{task.metric}']:.2f} %, "
        f"{row['seconds']:.1f} s"
    )
