"""Care for batch norm: statistics estimated anew where the running ones lag, or left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from mobilenets.nn import MobileNet
from mobilenets.train.recipe import Recipe

# Images a fresh estimate is made from, at most.
IMAGES = 1024
# Running statistics have forgotten where they started after so many times 1 / momentum steps.
_TIMES = 10


def norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a network, in the order they run."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def freeze_(network: MobileNet) -> None:
    """Normalize by the running statistics and leave them as they are, until `train` is called."""
    for norm in norms(network):
        norm.eval()


def lags(steps: int, momentum: float | None, network: MobileNet) -> bool:
    """Whether running statistics still show, after so many training steps, where they started.
    `momentum` None is the network's own."""
    return any(steps * (momentum or norm.momentum or 1) < _TIMES for norm in norms(network))


class MeanStatistics(pl.Callback):
    """Before an evaluation, the running statistics of several processes become their mean: each has
    followed its own parts of the batches."""

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for norm in norms(pl_module.network):
            for statistic in (norm.running_mean, norm.running_var):
                assert statistic is not None
                dist.all_reduce(statistic)
                statistic /= dist.get_world_size()


class Reestimate(pl.Callback):
    """Before an evaluation, statistics estimated anew (the mean over all batches) where the running
    ones lag: in the first steps, and always for averaged weights, whose activations nobody saw.
    With `at_start` also before the first step: of weights carried over by surgery.

    `pixels` are training images, uint8 (N, 3, R, R), as an evaluation sees them; several processes
    have the same. Stands after the averaging among the callbacks, so that it finds the averaged
    weights in place. What was done is noted in the module's `batch_norm`, which goes into its
    checkpoints.
    """

    def __init__(self, pixels: Tensor, recipe: Recipe, *, at_start: bool):
        self._pixels = pixels
        self._recipe = recipe
        self._at_start = at_start

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._at_start and trainer.ckpt_path is None:
            self._reestimate_(pl_module, "after surgery")

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._recipe.batch_norm == "frozen":
            return
        if self._recipe.ema is not None:
            self._reestimate_(pl_module, "averaged weights")
        elif lags(trainer.global_step, self._recipe.bn_momentum, pl_module.network):
            self._reestimate_(pl_module, "few steps")
        else:
            pl_module.batch_norm |= {"reestimated": None, "images": 0}

    def _reestimate_(self, module: Any, why: str) -> None:
        update_bn(self._batches(module), module.network)
        module.batch_norm |= {"reestimated": why, "images": len(self._pixels)}

    @torch.no_grad()
    def _batches(self, module: Any) -> Iterator[Tensor]:
        size = self._recipe.batch_size
        whole = max(len(self._pixels) // size, 1) * size
        for batch in torch.split(self._pixels[:whole], size):
            yield module.normalized(batch.to(module.device).float() / 255)
