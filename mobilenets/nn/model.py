"""`MobileNet(arch)`: the network that an `Arch` describes."""

from __future__ import annotations

from torch import Tensor, nn

from mobilenets.archs.rows import Arch, Bottleneck, Classifier, Conv, Dense, Pool, Row, Separable
from mobilenets.nn.blocks import (
    ClassifierHead,
    Convention,
    ConvNormAct,
    DenseAct,
    GlobalPool,
    InvertedResidual,
    SeparableConv,
)


class MobileNet(nn.Module):
    """The network of `arch`: one module per row, in order.

    Called with normalised images (N, arch.in_channels, H, W), it gives logits (N, arch.classes).
    H and W are `arch.resolution` for the costs to hold; any size runs.
    """

    def __init__(self, arch: Arch):
        super().__init__()
        self.arch = arch
        self.rows = nn.Sequential()
        c_in = arch.in_channels
        for row in arch.rows:
            self.rows.append(_module(row, c_in, arch))
            c_in = getattr(row, "out", c_in)
        self.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x)


def _module(row: Row, c_in: int, arch: Arch) -> nn.Module:
    convention = Convention.of(arch)
    match row:
        case Conv():
            return ConvNormAct(c_in, row, convention)
        case Separable():
            return SeparableConv(c_in, row, convention)
        case Bottleneck():
            return InvertedResidual(c_in, row, convention)
        case Pool():
            return GlobalPool()
        case Dense():
            return DenseAct(c_in, row.out, row.act)
        case Classifier():
            return ClassifierHead(c_in, arch.classes, arch.dropout)


def _init(module: nn.Module) -> None:
    """Convolutions: normal, variance 2 / fan-out; linear layers: normal, deviation 0.01; biases 0;
    batch norm 1 and 0. Torchvision's, which its recipes were tuned with."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
