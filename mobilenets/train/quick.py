"""Convolutions in training that CPUs are slow at, computed as products."""

from __future__ import annotations

from torch import Tensor, nn

MAX_POSITIONS = 16_384


def is_depthwise(module: nn.Module) -> bool:
    """Whether it is a convolution with one filter per channel."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels


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
    """A depthwise convolution that is one product where the map is one pixel: there a filter's
    middle sees all there is. As a convolution oneDNN takes ten times as long for the gradients."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (1, 1):
            return super().forward(x)
        rows, columns = self.kernel_size
        return x * self.weight[:, :, rows // 2, columns // 2].view(1, -1, 1, 1)


class Pointwise(nn.Conv2d):
    """A pointwise convolution that is a matrix product on a CPU, where the batch has few pixels: as
    a convolution oneDNN takes up to six times as long, for it reorders the weights each time."""

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        if x.device.type != "cpu" or batch * height * width > MAX_POSITIONS:
            return super().forward(x)
        y = nn.functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return y.permute(0, 3, 1, 2)
