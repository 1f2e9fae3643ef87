"""Heads: what is made of the feature maps, a frozen value beside the rows.

A head names the tensors inside the backbone that it reads (`taps`), its own layers and its
outputs. Whoever walks, prices, cuts or builds a network asks the head, never what type it is. A
new kind of head is a class here (or in a file beside), a module in `nn.head_modules` and a line in
`archs.codec`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mobilenets.archs.checks import ACTIVATIONS, check_choice, check_count, check_flag, check_number
from mobilenets.archs.op import FeatureMap, Op, conv, linear, pool
from mobilenets.archs.width import Width
from mobilenets.errors import ArchError


class Tap(NamedTuple):
    """A tensor inside the backbone: of `row` (-1: the last) its output, or the output of one of its
    layers, `part`: expand or depthwise."""

    row: int = -1
    part: str = "out"


class Head(ABC):
    """What every head answers. `classes` is the number of classes, 0 where there are none."""

    __slots__ = ()
    classes: int

    @property
    def labels(self) -> int:
        """The classes that have names: all, where none is the background."""
        return self.classes

    @property
    def taps(self) -> tuple[Tap, ...]:
        """What it reads, in the order that `layers` takes."""
        return (Tap(),)

    @abstractmethod
    def layers(self, maps: Sequence[FeatureMap]) -> Iterator[Op]:
        """Its layers in the order they run, each called "head." and its part."""

    @abstractmethod
    def outputs(self, maps: Sequence[FeatureMap]) -> Mapping[str, tuple[int, ...]]:
        """The shape of each named output for one image."""

    @abstractmethod
    def check(self, where: str) -> None:
        """Raise `ArchError` for what cannot be."""

    def scaled(self, width: Width) -> Head:
        """Its narrower or wider self."""
        return self

    def with_classes(self, classes: int) -> Head:
        """For another number of classes."""
        raise ArchError(f"a head {type(self).__name__} has no classes")

    def with_labels(self, labels: int) -> Head:
        """For another number of labels."""
        return self.with_classes(labels)

    def with_channels(self, part: str, channels: int) -> Head:
        """With another number of channels made by its layer `part`; itself where that follows from
        what it reads."""
        return self

    def without_row(self, row: int) -> Head:
        """For the backbone without that row."""
        return self

    def pieces(self, maps: Sequence[FeatureMap]) -> Iterator[tuple[Head, FeatureMap]]:
        """The heads of one tap whose latencies add up to its own, and what each reads."""
        (at,) = maps
        yield self, at


def check_taps(where: str, taps: tuple[Tap, ...]) -> None:
    """At least one, each a row from the start, or -1 for the last, and a part."""
    for tap in taps:
        if type(tap) is not Tap or type(tap.row) is not int or tap.row < -1:
            raise ArchError(
                f"{where}: a tap must be a row, -1 for the last, and a part: out, expand or "
                f"depthwise, got {tap!r}"
            )
    if not taps:
        raise ArchError(f"{where}: the head must tap a row, got no taps")


def taps_without(taps: tuple[Tap, ...], row: int) -> tuple[Tap, ...]:
    """The same tensors where that row, which is not tapped, has gone."""
    return tuple(tap._replace(row=tap.row - 1) if tap.row > row else tap for tap in taps)


@dataclass(frozen=True, slots=True)
class Classify(Head):
    """Global average pooling, a dense layer where there is one, dropout, and the last fully
    connected layer: "logits" of `classes`.

    `dense` is the width of V3's layer after the pool, with bias and activation `act` ("conv2d 1x1,
    NBN"); with `norm` it has batch norm and no bias, as V4's.
    """

    classes: int = 1000
    dropout: float = 0.2
    dense: int | None = None
    act: str = ""
    norm: bool = False

    def layers(self, maps: Sequence[FeatureMap]) -> Iterator[Op]:
        op = pool("head.pool", *maps)
        yield op
        if self.dense is not None:
            op = self._dense(op.output, self.dense)
            yield op
        yield linear("head.classifier", op.output, self.classes, role="classifier")

    def _dense(self, at: FeatureMap, channels: int) -> Op:
        if self.norm:
            return conv("head.dense", at, channels, act=self.act, role="dense")
        return linear("head.dense", at, channels, act=self.act, role="dense")

    def outputs(self, maps: Sequence[FeatureMap]) -> dict[str, tuple[int, ...]]:
        return {"logits": (self.classes,)}

    def check(self, where: str) -> None:
        check_count(f"{where}: classes", self.classes)
        if self.dropout != 0:
            check_number(f"{where}: dropout", self.dropout, above=0, below=1)
        if self.dense is not None:
            check_count(f"{where}: dense", self.dense)
            check_choice(f"{where}: act", self.act, ACTIVATIONS)
        check_flag(f"{where}: norm", self.norm)

    def scaled(self, width: Width) -> Classify:
        return self if self.dense is None else replace(self, dense=width.dense(self.dense))

    def with_classes(self, classes: int) -> Classify:
        return replace(self, classes=classes)

    def pieces(self, maps: Sequence[FeatureMap]) -> Iterator[tuple[Head, FeatureMap]]:
        (at,) = maps
        yield replace(self, dropout=0.0), at  # which takes no time

    def with_channels(self, part: str, channels: int) -> Classify:
        return replace(self, dense=channels) if part == "dense" else self


@dataclass(frozen=True, slots=True)
class Pooled(Head):
    """The mean of each channel of the last feature map, as "features": what stands behind a block
    that is timed on its own."""

    classes: int = 0

    def layers(self, maps: Sequence[FeatureMap]) -> Iterator[Op]:
        yield pool("head.pool", *maps)

    def outputs(self, maps: Sequence[FeatureMap]) -> dict[str, tuple[int, ...]]:
        return {"features": (maps[0].channels,)}

    def check(self, where: str) -> None:
        """It has nothing that could be wrong."""
