"""Convolutions that CPUs are slow at in training, computed otherwise."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight

# Larger batches and maps gain nothing (docs/log.md, training speed on CPUs).
MAX_POSITIONS = 16_384
MAX_FIVE = 8


def is_depthwise(module: nn.Module) -> bool:
    """Whether it is a convolution with one filter per channel."""
    return (
        isinstance(module, nn.Conv2d)
        and 1 < module.groups == module.in_channels == module.out_channels
    )


def is_pointwise(module: nn.Module) -> bool:
    """Whether it is a convolution that mixes the channels of each pixel."""
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == 1
        and (module.kernel_size, module.stride, module.padding) == ((1, 1), (1, 1), (0, 0))
    )


def quicken_(network: nn.Module) -> None:
    """Make each pointwise convolution a `Pointwise`, and each depthwise one without a bias a
    `Depthwise`; all they have stays as it is."""
    for module in network.modules():
        if type(module) is not nn.Conv2d:
            continue
        if is_pointwise(module):
            module.__class__ = Pointwise
        elif is_depthwise(module) and module.bias is None:
            module.__class__ = Depthwise


class Depthwise(nn.Conv2d):
    """A depthwise convolution with ways around what oneDNN is slow at. Where the map is one pixel,
    a filter's middle sees all there is, which makes it a product. Where the gradient of the weights
    is slow, it is taken in pieces that are not."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] == (1, 1):
            rows, columns = self.kernel_size
            return x * self.weight[:, :, rows // 2, columns // 2].view(1, -1, 1, 1)
        if not self._is_slow(x):
            return super().forward(x)
        y = self._conv_forward(x, self.weight.detach(), None)
        return cast(Tensor, _WeightGradient.apply(y, x.detach(), self.weight, self.stride[0]))

    def _is_slow(self, x: Tensor) -> bool:
        """Whether the gradient is: oneDNN has a quick way for filters of three columns that fit the
        map."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        usual = (
            x.device.type == "cpu"
            and self.kernel_size == (kernel, kernel)
            and self.stride == (stride, stride)
            and self.padding == (kernel // 2, kernel // 2)
        )
        least, most = min(x.shape[2:]), max(x.shape[2:])
        small = least < _fitting(3, stride) if kernel == 3 else kernel == 5 and most <= MAX_FIVE
        return usual and least > 1 and small


class _WeightGradient(torch.autograd.Function):
    """y, a convolution of x with the weights cut off from the graph; gives them their gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kernel, ctx.stride = weight.shape[-1], stride
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, Tensor, None]:
        (x,) = ctx.saved_tensors
        return upstream, None, _weight_gradient(x, upstream, ctx.kernel, ctx.stride), None


def _weight_gradient(x: Tensor, upstream: Tensor, kernel: int, stride: int) -> Tensor:
    """Of five columns the first three see the map one pixel to the right, the last three see it one
    to the left."""
    if kernel == 3:
        return _three_columns(x, upstream, kernel, stride)
    last = (x.shape[3] - 2) // stride + 1
    left = _three_columns(functional.pad(x, (1, 0)), upstream, kernel, stride)
    right = _three_columns(x[..., 1:], upstream[..., :last], kernel, stride)
    return torch.cat((left, right[..., 1:]), dim=-1)


def _three_columns(x: Tensor, upstream: Tensor, rows: int, stride: int) -> Tensor:
    """The gradient of filters of three columns, on a map that zeros make large enough."""
    height, width = max(x.shape[2], _fitting(rows, stride)), max(x.shape[3], _fitting(3, stride))
    x = _enlarged(x, height, width)
    upstream = _enlarged(upstream, (height - 1) // stride + 1, (width - 1) // stride + 1)
    channels, padding = x.shape[1], (rows // 2, 1)
    shape = channels, 1, rows, 3
    return conv2d_weight(x, shape, upstream, stride, padding, groups=channels)  # type: ignore[no-untyped-call]


def _fitting(kernel: int, stride: int) -> int:
    """The least map of oneDNN's quick way."""
    return kernel if stride == 1 else 5


def _enlarged(x: Tensor, height: int, width: int) -> Tensor:
    x = functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))
    return x.contiguous(memory_format=torch.channels_last)


class Pointwise(nn.Conv2d):
    """A pointwise convolution that is a matrix product on a CPU, where the batch has few pixels. As
    a convolution oneDNN takes up to six times as long: it reorders the weights each time."""

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        if x.device.type != "cpu" or batch * height * width > MAX_POSITIONS:
            return super().forward(x)
        y = functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return y.permute(0, 3, 1, 2)
