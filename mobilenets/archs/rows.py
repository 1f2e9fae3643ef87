"""The rows of an architecture: one line of a paper's table each, as a frozen value.

A row says its own layers, its narrower self and what it cannot be; whoever walks, widens or cuts a
network asks the row or its layers, never what type it is. A new kind of row is a class and a name
here, and a module in `nn.blocks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from mobilenets.archs.checks import (
    ACTIVATIONS,
    check_choice,
    check_count,
    check_flag,
    check_kernel,
    check_stride,
)
from mobilenets.archs.op import FeatureMap, Op, conv, depthwise, elementwise, squeeze_excite
from mobilenets.archs.width import Place, Width
from mobilenets.errors import ArchError


class Row(ABC):
    """What every row answers. All have `out` channels and a `stride`."""

    __slots__ = ()
    out: int
    stride: int

    @abstractmethod
    def layers(self, at: FeatureMap, name: str) -> Iterator[Op]:
        """Its layers in the order they run, each called `name` and its part; the last makes the
        row's output. `at` is what it reads."""

    @abstractmethod
    def scaled(self, width: Width, place: Place) -> Row:
        """Its narrower or wider self."""

    @abstractmethod
    def check(self, where: str) -> None:
        """Raise `ArchError` for what cannot be."""

    def with_channels(self, part: str, channels: int) -> Row:
        """With another number of channels made by its layer `part` (`Op.part`); itself where that
        follows from its input."""
        column = {"": "out", "pointwise": "out", "project": "out"}.get(part)
        return self if column is None else self.with_columns(out=channels)

    def with_columns(self, **columns: Any) -> Self:
        """With other values in some columns; raises `ArchError` for one that it does not have."""
        missing = [name for name in columns if not hasattr(self, name)]
        if missing:
            raise ArchError(f"a {type(self).__name__} has no {', '.join(missing)}")
        return replace(self, **columns)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True)
class Conv(Row):
    """A full convolution with batch norm and activation."""

    kernel: int
    out: int
    act: str
    stride: int = 1

    def layers(self, at: FeatureMap, name: str) -> Iterator[Op]:
        yield conv(name, at, self.out, kernel=self.kernel, stride=self.stride, act=self.act)

    def scaled(self, width: Width, place: Place) -> Conv:
        if place.first:
            return replace(self, out=width.stem(self.out))
        scale = width.last(self.out, place) if place.last else width.channels(self.out)
        return replace(self, out=scale)

    def check(self, where: str) -> None:
        _check_window(where, self)


@dataclass(frozen=True, slots=True)
class Separable(Row):
    """A depthwise separable convolution: depthwise, then pointwise, each with batch norm and
    activation (arXiv:1704.04861, fig. 3)."""

    kernel: int
    out: int
    act: str
    stride: int = 1
    dilation: int = 1

    def layers(self, at: FeatureMap, name: str) -> Iterator[Op]:
        op = _depthwise(f"{name}.depthwise", at, self)
        yield op
        yield conv(f"{name}.pointwise", op.output, self.out, act=self.act, role="pointwise")

    def scaled(self, width: Width, place: Place) -> Separable:
        scale = width.stem if place.first else width.channels
        return replace(self, out=scale(self.out))

    def check(self, where: str) -> None:
        _check_window(where, self)
        _check_dilation(where, self)


class Block(Row):
    """What the rows with a linear bottleneck share: `expand` channels inside, projected to `out`.
    The input is added where stride is 1 and the channels agree, unless `skip` is False."""

    __slots__ = ()
    expand: int
    skip: bool

    def residual(self, c_in: int) -> bool:
        """Whether the input, of `c_in` channels, is added to the output."""
        return self.skip and self.stride == 1 and c_in == self.out

    def scaled(self, width: Width, place: Place) -> Self:
        expand, out = width.expanded(self.expand, place), width.block(self.out)
        return self.with_columns(expand=expand, out=out)

    def with_channels(self, part: str, channels: int) -> Self:
        # Without an expansion layer the depthwise works on the input's channels.
        column = {"expand": "expand", "depthwise": "expand", "project": "out"}.get(part)
        return self if column is None else self.with_columns(**{column: channels})

    def _projected(self, name: str, at: FeatureMap, block_in: FeatureMap) -> Iterator[Op]:
        """The last layers: the projection, and the addition."""
        op = conv(f"{name}.project", at, self.out, role="project")
        yield op
        if self.residual(block_in.channels):
            yield elementwise(f"{name}.add", "add", op.output, block_in)


@dataclass(frozen=True, slots=True)
class Bottleneck(Block):
    """An inverted residual with a linear bottleneck: expand, depthwise, project (arXiv:1801.04381,
    fig. 4), with squeeze-and-excite after the depthwise where `se` (arXiv:1905.02244, fig. 4).

    `expand` is the number of expanded channels; where it equals the input's, there is no expansion
    layer. The input is added where stride is 1 and the channels agree, unless `skip` is False;
    `se_act` is the activation inside squeeze-and-excite. No paper sets these two, timm's
    mobilenetv3_rw does. `dilation` spreads the depthwise's window (atrous, for segmentation).
    """

    kernel: int
    expand: int
    out: int
    se: bool
    act: str
    stride: int = 1
    skip: bool = True
    se_act: str = "relu"
    dilation: int = 1

    def layers(self, at: FeatureMap, name: str) -> Iterator[Op]:
        block_in = at
        if self.expand != at.channels:
            op = conv(f"{name}.expand", at, self.expand, act=self.act, role="expand")
            yield op
            at = op.output
        op = _depthwise(f"{name}.depthwise", at, self)
        yield op
        if self.se:
            *gate, op = squeeze_excite(f"{name}.se", op.output, act=self.se_act)
            yield from (*gate, op)
        yield from self._projected(name, op.output, block_in)

    def check(self, where: str) -> None:
        _check_window(where, self)
        _check_dilation(where, self)
        check_count(f"{where}: expand", self.expand)
        check_flag(f"{where}: se", self.se)
        check_flag(f"{where}: skip", self.skip)
        check_choice(f"{where}: se_act", self.se_act, ACTIVATIONS)


def _depthwise(name: str, at: FeatureMap, row: Separable | Bottleneck) -> Op:
    return depthwise(
        name, at, kernel=row.kernel, stride=row.stride, dilation=row.dilation, act=row.act
    )


def _check_dilation(where: str, row: Separable | Bottleneck) -> None:
    check_count(f"{where}: dilation", row.dilation)
    if row.dilation > 1 and row.stride > 1:
        raise ArchError(
            f"{where}: dilation {row.dilation} stands in for a stride, which must be 1, "
            f"got {row.stride}"
        )


@dataclass(frozen=True, slots=True)
class UniversalBottleneck(Block):
    """A universal inverted bottleneck: depthwise, expand, depthwise, project (arXiv:2404.10518,
    fig. 4). `start` and `kernel` are the kernels of the two depthwise convolutions, 0 where there
    is none: an inverted bottleneck without the first, ConvNext-like without the second, a
    feed-forward network without both.

    The stride sits on the last depthwise. The first has batch norm and no activation. The input is
    added where stride is 1 and the channels agree, unless `skip` is False.
    """

    start: int
    kernel: int
    expand: int
    out: int
    act: str
    stride: int = 1
    skip: bool = True

    @property
    def start_stride(self) -> int:
        """The first depthwise convolution's."""
        return 1 if self.kernel else self.stride

    def layers(self, at: FeatureMap, name: str) -> Iterator[Op]:
        block_in = at
        if self.start:
            op = depthwise(f"{name}.start", at, kernel=self.start, stride=self.start_stride, act="")
            yield op
            at = op.output
        op = conv(f"{name}.expand", at, self.expand, act=self.act, role="expand")
        yield op
        if self.kernel:
            op = depthwise(
                f"{name}.depthwise", op.output, kernel=self.kernel, stride=self.stride, act=self.act
            )
            yield op
        yield from self._projected(name, op.output, block_in)

    def check(self, where: str) -> None:
        for column in ("start", "kernel"):
            if getattr(self, column) != 0:
                check_kernel(f"{where}: {column}", getattr(self, column))
        if not (self.start or self.kernel) and self.stride != 1:
            raise ArchError(f"{where}: a stride of {self.stride} needs a depthwise convolution")
        _check_block(where, self)


@dataclass(frozen=True, slots=True)
class FusedBottleneck(Block):
    """A fused inverted bottleneck: a full convolution that expands, project (arXiv:2404.10518,
    section 4). The input is added where stride is 1 and the channels agree, unless `skip` is
    False."""

    kernel: int
    expand: int
    out: int
    act: str
    stride: int = 1
    skip: bool = True

    def layers(self, at: FeatureMap, name: str) -> Iterator[Op]:
        op = conv(
            f"{name}.expand", at, self.expand, kernel=self.kernel, stride=self.stride,
            act=self.act, role="expand",
        )  # fmt: skip
        yield op
        yield from self._projected(name, op.output, at)

    def check(self, where: str) -> None:
        check_kernel(f"{where}: kernel", self.kernel)
        _check_block(where, self)


def _check_block(where: str, row: UniversalBottleneck | FusedBottleneck) -> None:
    check_choice(f"{where}: act", row.act, ACTIVATIONS)
    check_count(f"{where}: expand", row.expand)
    check_count(f"{where}: out", row.out)
    check_stride(f"{where}: stride", row.stride)
    check_flag(f"{where}: skip", row.skip)


def _check_window(where: str, row: Conv | Separable | Bottleneck) -> None:
    check_choice(f"{where}: act", row.act, ACTIVATIONS)
    check_count(f"{where}: out", row.out)
    check_kernel(f"{where}: kernel", row.kernel)
    check_stride(f"{where}: stride", row.stride)


# What files call them (`archs.codec`).
ROWS: Mapping[str, type[Row]] = {
    "conv": Conv,
    "separable": Separable,
    "bottleneck": Bottleneck,
    "universal_bottleneck": UniversalBottleneck,
    "fused_bottleneck": FusedBottleneck,
}
