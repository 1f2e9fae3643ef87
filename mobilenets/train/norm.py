"""Care for batch norm: statistics estimated anew where the running ones lag, or left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from mobilenets.data import Part
from mobilenets.nn import MobileNet
from mobilenets.train.recipe import Recipe

# Images a fresh estimate is made from, at most.
IMAGES = 1024
# Running statistics have forgotten where they started after so many times 1 / momentum steps.
_TIMES = 10


def norms(network: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a network, in the order they run."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def share_(network: nn.Module, accelerator: str) -> None:
    """Make each batch norm one over the images of all processes, with the same parameters."""
    if accelerator != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, SharedBatchNorm(child))


class SharedBatchNorm(nn.BatchNorm2d):
    """`norm` over the images of all processes, for CPUs: torch's SyncBatchNorm is for GPUs."""

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            setattr(self, name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        mean, variance, count = _statistics_of_all(x.detach())
        self._follow_(mean, variance * count / (count - 1))
        out: Tensor = _Normalised.apply(x, self.weight, self.bias, mean, variance, count, self.eps)
        return out

    def _follow_(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; momentum None is the mean over all batches."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def _statistics_of_all(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel (C,) over all processes' images, and how many numbers each
    is of. From the processes' own means and variances: sums of squares lose digits."""
    channels = x.shape[1]
    here = torch.cat(
        [*torch.batch_norm_update_stats(x, None, None, 0.0), x.new_tensor([x.numel() / channels])]
    )
    all_of_them = [torch.empty_like(here) for _ in range(dist.get_world_size())]
    dist.all_gather(all_of_them, here)
    stacked = torch.stack(all_of_them)
    means, variances, counts = torch.split(stacked, [channels, channels, 1], dim=1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    variance = (counts * (variances + (means - mean).square())).sum(0) / count
    return mean, variance, count


class _Normalised(Function):
    """x normalised by statistics that are all processes' images', of which x is a part: the
    gradient goes through the statistics too. Made of the two halves of torch's own batch norm that
    run over memory once."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor,
        mean: Tensor, variance: Tensor, count: Tensor, eps: float,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return nn.functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        gradient = gradients[0]
        if x.is_contiguous(memory_format=torch.channels_last):
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        # As if mean and variance were given: dL/dx, and this process's sums for weight and bias.
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([of_weight, of_bias])
        dist.all_reduce(sums)
        # The rest is a line in x for each channel: what the statistics move with x.
        inverse = (variance + ctx.eps).rsqrt()
        slope = weight * inverse.square() * sums[0] / count
        offset = weight * inverse * sums[1] / count - mean * slope
        of_x.sub_(torch.addcmul(offset.view(1, -1, 1, 1), x, slope.view(1, -1, 1, 1)))
        return of_x, of_weight, of_bias, None, None, None, None


def freeze_(network: MobileNet) -> None:
    """Normalise by the running statistics and leave them as they are, until `train` is called."""
    for norm in norms(network):
        norm.eval()


def lags(steps: int, momentum: float | None, network: MobileNet) -> bool:
    """Whether running statistics still show, after so many training steps, where they started.
    `momentum` None is the network's own."""
    return any(steps * (momentum or norm.momentum or 1) < _TIMES for norm in norms(network))


class Reestimate(pl.Callback):
    """Before an evaluation, statistics estimated anew (the mean over all batches) where the running
    ones lag: in the first steps, and always for averaged weights, whose activations nobody saw.
    With `at_start` also before the first step: of weights carried over by surgery.

    `pixels` are training images, uint8 (N, 3, R, R), as an evaluation sees them, of which each of
    several processes takes its `part`. Stands after the averaging among the callbacks, so that it
    finds the averaged weights in place. What was done is noted in the module's `batch_norm`, which
    goes into its checkpoints.
    """

    def __init__(self, pixels: Tensor, recipe: Recipe, *, at_start: bool, part: Part | None = None):
        self._pixels = pixels
        self._recipe = recipe
        self._part = part or Part()
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
            pixels = self._part.of(batch)
            yield module.normalised(pixels.to(module.device).float() / 255)
