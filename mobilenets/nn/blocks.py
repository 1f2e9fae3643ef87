"""The blocks of the papers, as plain modules. Feature maps are (N, C, H, W)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import pad

from mobilenets.archs import Arch
from mobilenets.archs.op import squeeze_channels
from mobilenets.archs.rows import (
    Bottleneck,
    Conv,
    FusedBottleneck,
    Row,
    Separable,
    UniversalBottleneck,
)


class Convention(NamedTuple):
    """What a checkpoint family decides for every convolution: batch norm's constants, padding."""

    bn_eps: float
    bn_momentum: float
    padding: str

    @classmethod
    def of(cls, arch: Arch) -> Convention:
        return cls(arch.bn_eps, arch.bn_momentum, arch.padding)


def activation(name: str) -> nn.Module:
    """relu, relu6, hswish (x ReLU6(x + 3) / 6, arXiv:1905.02244, section 5.2), or "" for none."""
    return {
        "": nn.Identity,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "hswish": nn.Hardswish,
    }[name]()


class ConvNormAct(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(
        self, c_in: int, row: Conv, convention: Convention, *, groups: int = 1, dilation: int = 1
    ):
        super().__init__()
        same = convention.padding == "same" and row.stride > 1
        padding = 0 if same else dilation * (row.kernel // 2)
        self.pad = SamePad(row.kernel, row.stride) if same else nn.Identity()
        self.conv = nn.Conv2d(
            c_in, row.out, row.kernel, row.stride, padding, dilation, groups, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(row.out, convention.bn_eps, convention.bn_momentum)
        self.act = activation(row.act)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(self.pad(x))))


def depthwise(
    channels: int, convention: Convention, *, kernel: int, act: str, stride: int, dilation: int = 1
) -> ConvNormAct:
    """A convolution of one filter per channel."""
    spec = Conv(kernel, channels, act, stride)
    return ConvNormAct(channels, spec, convention, groups=channels, dilation=dilation)


class SamePad(nn.Module):
    """TensorFlow's SAME padding for a strided convolution: the odd pixel goes right and below.

    For an even side and stride 2, a 3x3 kernel pads (0, 1) and a 5x5 (1, 2); PyTorch's symmetric
    padding has the same output shape and other values.
    """

    def __init__(self, kernel: int, stride: int):
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return pad(x, [*self._before_after(x.shape[3]), *self._before_after(x.shape[2])])

    def _before_after(self, size: int) -> tuple[int, int]:
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


class SeparableConv(nn.Module):
    """Depthwise, then pointwise, each with batch norm and activation (arXiv:1704.04861, fig. 3)."""

    def __init__(self, c_in: int, row: Separable, convention: Convention):
        super().__init__()
        self.depthwise = depthwise(
            c_in, convention, kernel=row.kernel, act=row.act, stride=row.stride,
            dilation=row.dilation,
        )  # fmt: skip
        self.pointwise = ConvNormAct(c_in, Conv(1, row.out, row.act), convention)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from all channels' means (arXiv:1905.02244, 5.3)."""

    def __init__(self, channels: int, act: str = "relu"):
        super().__init__()
        squeeze = squeeze_channels(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeeze, 1)
        self.act = activation(act)
        self.gate = nn.Conv2d(squeeze, channels, 1)
        self.hsigmoid = nn.Hardsigmoid()  # ReLU6(x + 3) / 6

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(self.act(self.reduce(self.pool(x))))  # (N, C, 1, 1)
        return x * self.hsigmoid(gate)


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excite, project; add the input if shapes agree
    (arXiv:1801.04381, fig. 4; arXiv:1905.02244, fig. 4)."""

    def __init__(self, c_in: int, row: Bottleneck, convention: Convention):
        super().__init__()
        self.residual = row.residual(c_in)
        self.expand = (
            ConvNormAct(c_in, Conv(1, row.expand, row.act), convention)
            if row.expand != c_in
            else nn.Identity()
        )
        self.depthwise = depthwise(
            row.expand, convention, kernel=row.kernel, act=row.act, stride=row.stride,
            dilation=row.dilation,
        )  # fmt: skip
        self.se = SqueezeExcite(row.expand, row.se_act) if row.se else nn.Identity()
        self.project = ConvNormAct(row.expand, Conv(1, row.out, act=""), convention)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return x + y if self.residual else y

    def with_parts(self, x: Tensor) -> dict[str, Tensor]:
        """The same, and what a head may tap on the way: expand, depthwise, out."""
        expand = self.expand(x)
        depthwise = self.depthwise(expand)
        y = self.project(self.se(depthwise))
        return {"expand": expand, "depthwise": depthwise, "out": x + y if self.residual else y}


class UniversalInvertedResidual(nn.Module):
    """Depthwise, expand, depthwise, project, each depthwise where there is one; add the input if
    shapes agree (arXiv:2404.10518, fig. 4)."""

    def __init__(self, c_in: int, row: UniversalBottleneck, convention: Convention):
        super().__init__()
        self.residual = row.residual(c_in)
        self.start = (
            depthwise(c_in, convention, kernel=row.start, act="", stride=row.start_stride)
            if row.start
            else nn.Identity()
        )
        self.expand = ConvNormAct(c_in, Conv(1, row.expand, row.act), convention)
        self.depthwise = (
            depthwise(row.expand, convention, kernel=row.kernel, act=row.act, stride=row.stride)
            if row.kernel
            else nn.Identity()
        )
        self.project = ConvNormAct(row.expand, Conv(1, row.out, act=""), convention)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(self.start(x))))
        return x + y if self.residual else y

    def with_parts(self, x: Tensor) -> dict[str, Tensor]:
        """The same, and what a head may tap on the way: expand, depthwise, out."""
        expand = self.expand(self.start(x))
        depthwise = self.depthwise(expand)
        y = self.project(depthwise)
        return {"expand": expand, "depthwise": depthwise, "out": x + y if self.residual else y}


class FusedInvertedResidual(nn.Module):
    """Expand by a full convolution, project; add the input if shapes agree (arXiv:2404.10518,
    section 4)."""

    def __init__(self, c_in: int, row: FusedBottleneck, convention: Convention):
        super().__init__()
        self.residual = row.residual(c_in)
        self.expand = ConvNormAct(
            c_in, Conv(row.kernel, row.expand, row.act, row.stride), convention
        )
        self.project = ConvNormAct(row.expand, Conv(1, row.out, act=""), convention)

    def forward(self, x: Tensor) -> Tensor:
        return self.with_parts(x)["out"]

    def with_parts(self, x: Tensor) -> dict[str, Tensor]:
        """The same, and what a head may tap on the way: expand, out."""
        expand = self.expand(x)
        y = self.project(expand)
        return {"expand": expand, "out": x + y if self.residual else y}


def row_module(row: Row, c_in: int, convention: Convention) -> nn.Module:
    """The module of a row that reads `c_in` channels."""
    match row:
        case Conv():
            return ConvNormAct(c_in, row, convention)
        case Separable():
            return SeparableConv(c_in, row, convention)
        case Bottleneck():
            return InvertedResidual(c_in, row, convention)
        case UniversalBottleneck():
            return UniversalInvertedResidual(c_in, row, convention)
        case FusedBottleneck():
            return FusedInvertedResidual(c_in, row, convention)
        case _:
            raise AssertionError(f"no module is built for {row}")
