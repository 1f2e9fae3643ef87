"""Depthwise convolutions in training, where CPUs are slow at them."""

from __future__ import annotations

from torch import Tensor, nn


def is_depthwise(module: nn.Module) -> bool:
    """Whether it is a convolution with one filter per channel."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels


def quicken_(network: nn.Module) -> None:
    """Make each depthwise convolution without a bias a `Depthwise`; all it has stays as it is."""
    for module in network.modules():
        if type(module) is nn.Conv2d and is_depthwise(module) and module.bias is None:
            module.__class__ = Depthwise


class Depthwise(nn.Conv2d):
    """A depthwise convolution that is one product where the map is one pixel: there a filter's
    middle sees all there is. As a convolution oneDNN takes ten times as long for the gradients."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (1, 1):
            return super().forward(x)
        rows, columns = self.kernel_size
        return x * self.weight[:, :, rows // 2, columns // 2].view(1, -1, 1, 1)
