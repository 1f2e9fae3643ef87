"""One layer of a network, and the shapes between layers: what rows and heads are made of."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from mobilenets.errors import ArchError

Resolution = int | str | tuple[int, int]
"""An image's size as users give it: the side of a square, (height, width), "512x1024"."""


class Size(NamedTuple):
    """Height and width in pixels."""

    height: int
    width: int

    @classmethod
    def of(cls, value: object, what: str = "size") -> Size:
        """The size that a number (a square), (height, width), or "512x1024" means; raises
        `ArchError`."""
        if isinstance(value, str) and all(part.isdecimal() for part in value.split("x")):
            numbers = tuple(int(part) for part in value.split("x"))
            value = numbers if len(numbers) > 1 else numbers[0]
        sides = value if isinstance(value, tuple | list) else (value,)
        if len(sides) not in (1, 2) or any(type(side) is not int or side < 1 for side in sides):
            raise ArchError(
                f"{what} must be a whole number of at least 1, or height x width, got {value!r}"
            )
        return cls(sides[0], sides[-1])

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def side(self) -> int:
        """The side of a square of as many pixels, rounded."""
        return round(sqrt(self.area))

    @property
    def written(self) -> int | tuple[int, int]:
        """One number for a square: how JSON and users write it."""
        return self.height if self.height == self.width else (self.height, self.width)

    def strided(self, stride: int) -> Size:
        """The size behind a layer of that stride: an odd side halves upwards."""
        return Size(-(-self.height // stride), -(-self.width // stride))

    def __str__(self) -> str:
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"


PIXEL = Size(1, 1)


class FeatureMap(NamedTuple):
    """A tensor on the way: the op that made it, its channels and its size."""

    name: str
    channels: int
    size: Size


class Op(NamedTuple):
    """One layer of a network, batch norm and activation included.

    `kind` says what is computed: input, conv, linear, pool, scale (times a gate), add, resize
    (bilinear), concat (of channels), collect (the values of several maps in one list). `role` says
    what for: expand, depthwise, project, pointwise, reduce and gate of squeeze-and-excite; of a
    head classifier, boxes, and dense: a layer inside whose width can be chosen; "" for a plain
    convolution. `name` is the module's path in `MobileNet(arch)`; `inputs` names the ops it reads.
    `row` is its row in `arch.rows`: -1 for the image, `len(arch.rows)` for the head.
    """

    name: str
    kind: str
    in_channels: int
    out_channels: int
    in_size: Size
    out_size: Size
    inputs: tuple[str, ...]
    role: str = ""
    row: int = -1
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    norm: bool = False
    bias: bool = False
    act: str = ""

    @property
    def output(self) -> FeatureMap:
        return FeatureMap(self.name, self.out_channels, self.out_size)

    @property
    def has_weights(self) -> bool:
        """Whether the layer is a convolution or fully connected."""
        return self.kind in ("conv", "linear")

    @property
    def is_depthwise(self) -> bool:
        """Whether the layer has one filter per channel."""
        return self.role == "depthwise"

    @property
    def part(self) -> str:
        """Its name within its row or head: expand, se.gate; "" for a row of one layer."""
        prefix = "head" if self.name.startswith("head") else f"rows.{self.row}"
        return self.name.removeprefix(prefix).removeprefix(".")


def image(channels: int, size: Size) -> Op:
    """The network's input."""
    return Op("input", "input", channels, channels, size, size, ())


def conv(
    name: str,
    at: FeatureMap,
    out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    act: str = "",
    role: str = "",
) -> Op:
    """A full convolution with batch norm."""
    return Op(
        name, "conv", at.channels, out, at.size, at.size.strided(stride), (at.name,), role,
        kernel=kernel, stride=stride, dilation=dilation, norm=True, act=act,
    )  # fmt: skip


def depthwise(
    name: str, at: FeatureMap, *, kernel: int, stride: int = 1, dilation: int = 1, act: str
) -> Op:
    """One filter per channel, with batch norm."""
    op = conv(
        name, at, at.channels, kernel=kernel, stride=stride, dilation=dilation, act=act,
        role="depthwise",
    )  # fmt: skip
    return op._replace(groups=at.channels)


def linear(
    name: str, at: FeatureMap, out: int, *, role: str, act: str = "", kind: str = "linear"
) -> Op:
    """A layer with bias and no batch norm; `kind` conv: of 1x1, at each pixel."""
    return Op(
        name, kind, at.channels, out, at.size, at.size, (at.name,), role, bias=True, act=act
    )  # fmt: skip


def pool(name: str, at: FeatureMap) -> Op:
    """The mean of each channel."""
    return Op(name, "pool", at.channels, at.channels, at.size, PIXEL, (at.name,))


def resize(name: str, at: FeatureMap, size: Size) -> Op:
    """Enlarged or shrunk to `size`, bilinearly."""
    return Op(name, "resize", at.channels, at.channels, at.size, size, (at.name,))


def concat(name: str, maps: Sequence[FeatureMap]) -> Op:
    """The channels of maps of one size, one behind the other."""
    channels = sum(one.channels for one in maps)
    size = maps[0].size
    return Op(name, "concat", channels, channels, size, size, tuple(one.name for one in maps))


def collect(name: str, maps: Sequence[FeatureMap], channels: int) -> Op:
    """All values of maps of many sizes, as one list of entries of `channels`."""
    values = sum(one.channels * one.size.area for one in maps)
    size = Size(values // channels, 1)
    return Op(name, "collect", channels, channels, size, size, tuple(one.name for one in maps))


def elementwise(name: str, kind: str, at: FeatureMap, other: FeatureMap) -> Op:
    """`at` scaled by a gate, or added to."""
    return Op(name, kind, at.channels, at.channels, at.size, at.size, (at.name, other.name))


def squeeze_excite(name: str, at: FeatureMap, *, act: str) -> tuple[Op, ...]:
    """The layers of squeeze-and-excite (arXiv:1905.02244, section 5.3)."""
    means = pool(f"{name}.pool", at)
    squeeze = squeeze_channels(at.channels)
    reduce = linear(f"{name}.reduce", means.output, squeeze, role="reduce", act=act, kind="conv")
    gate = linear(
        f"{name}.gate", reduce.output, at.channels, role="gate", act="hsigmoid", kind="conv"
    )
    return means, reduce, gate, elementwise(f"{name}.scale", "scale", at, gate.output)


def squeeze_channels(expand: int) -> int:
    """Channels inside squeeze-and-excite: a quarter of the expansion (arXiv:1905.02244, 5.3)."""
    return make_divisible(expand / 4)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Channels rounded to the nearest multiple of `divisor`, never more than a tenth below
    (tensorflow/models, research/slim/nets/mobilenet/mobilenet.py)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
