"""The one walk: every layer that runs, with its shape. Cost, latency, reports and tests read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mobilenets.archs.rows import Arch, Bottleneck, Classifier, Conv, Dense, Pool, Row, Separable
from mobilenets.archs.scale import make_divisible


class Op(NamedTuple):
    """One layer of a network, batch norm and activation included.

    `kind` is input, conv, linear, pool, scale (the gate of squeeze-and-excite) or add. `name` is
    the module's path in `MobileNet(arch)`; `inputs` names the ops it reads; `row` is its row in
    `arch.rows`. Sizes are the side of the square feature map, in pixels.
    """

    name: str
    kind: str
    row: int
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    inputs: tuple[str, ...]
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    norm: bool = False
    bias: bool = False
    act: str = ""


class _At(NamedTuple):
    """A tensor on the way: who made it, its channels and its side in pixels."""

    name: str
    channels: int
    size: int


def squeeze_channels(expand: int) -> int:
    """Channels inside squeeze-and-excite: a quarter of the expansion (arXiv:1905.02244, 5.3)."""
    return make_divisible(expand / 4)


def ops(arch: Arch) -> tuple[Op, ...]:
    """The layers of `arch` in the order they run, the image first."""
    return tuple(_walk(arch))


def _walk(arch: Arch) -> Iterator[Op]:
    channels, size = arch.in_channels, arch.resolution
    image = Op("input", "input", -1, channels, channels, size, size, ())
    yield image
    at = _after(image)
    for index, row in enumerate(arch.rows):
        op = image
        for op in _row_ops(arch, index, row, at):
            yield op
        at = _after(op)


def _row_ops(arch: Arch, index: int, row: Row, at: _At) -> Iterator[Op]:
    name = f"rows.{index}"
    if isinstance(row, Bottleneck):
        yield from _bottleneck(name, index, row, at)
    elif isinstance(row, Separable):
        depthwise = _depthwise(f"{name}.depthwise", index, row, at)
        yield depthwise
        yield _conv(f"{name}.pointwise", index, _after(depthwise), out=row.out, act=row.act)
    elif isinstance(row, Conv):
        op = _conv(name, index, at, out=row.out, act=row.act)
        yield _strided(op, row.kernel, row.stride)
    elif isinstance(row, Pool):
        yield _pool(name, index, at)
    elif isinstance(row, Dense):
        yield _linear(name, index, at, out=row.out, act=row.act)
    elif isinstance(row, Classifier):
        yield _linear(name, index, at, out=arch.classes)


def _bottleneck(name: str, index: int, row: Bottleneck, block_in: _At) -> Iterator[Op]:
    at = block_in
    if row.expand != at.channels:
        op = _conv(f"{name}.expand", index, at, out=row.expand, act=row.act)
        yield op
        at = _after(op)
    op = _depthwise(f"{name}.depthwise", index, row, at)
    yield op
    at = _after(op)
    if row.se:
        for op in _squeeze_excite(f"{name}.se", index, at, act=row.se_act):
            yield op
        at = _after(op)
    op = _conv(f"{name}.project", index, at, out=row.out, act="")
    yield op
    if row.residual(block_in.channels):
        yield _elementwise(f"{name}.add", "add", index, _after(op), block_in)


def _squeeze_excite(name: str, index: int, at: _At, *, act: str) -> Iterator[Op]:
    squeeze = squeeze_channels(at.channels)
    pool = _pool(f"{name}.pool", index, at)
    reduce = _linear(f"{name}.reduce", index, _after(pool), out=squeeze, act=act, kind="conv")
    gate = _linear(
        f"{name}.gate", index, _after(reduce), out=at.channels, act="hsigmoid", kind="conv"
    )
    yield from (pool, reduce, gate)
    yield _elementwise(f"{name}.scale", "scale", index, at, _after(gate))


def _after(op: Op) -> _At:
    return _At(op.name, op.out_channels, op.out_size)


def _conv(name: str, index: int, at: _At, *, out: int, act: str) -> Op:
    """A 1x1 convolution with batch norm."""
    return Op(
        name, "conv", index, at.channels, out, at.size, at.size, (at.name,), norm=True, act=act
    )


def _strided(op: Op, kernel: int, stride: int) -> Op:
    return op._replace(kernel=kernel, stride=stride, out_size=-(-op.in_size // stride))


def _depthwise(name: str, index: int, row: Separable | Bottleneck, at: _At) -> Op:
    op = _conv(name, index, at, out=at.channels, act=row.act)
    return _strided(op, row.kernel, row.stride)._replace(groups=at.channels)


def _linear(name: str, index: int, at: _At, *, out: int, act: str = "", kind: str = "linear") -> Op:
    return Op(name, kind, index, at.channels, out, 1, 1, (at.name,), bias=True, act=act)


def _pool(name: str, index: int, at: _At) -> Op:
    return Op(name, "pool", index, at.channels, at.channels, at.size, 1, (at.name,))


def _elementwise(name: str, kind: str, index: int, at: _At, other: _At) -> Op:
    return Op(name, kind, index, at.channels, at.channels, at.size, at.size, (at.name, other.name))
