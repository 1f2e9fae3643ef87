"""Segmentation heads: a class for every pixel of a map that is finer than the last.

"logits" (classes, h, w) are of the map's size; to enlarge them to the image's is left to who reads
them, as in the papers' counts.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mobilenets.archs.checks import check_count, check_flag, check_number
from mobilenets.archs.heads import Head, Tap, check_taps, taps_without
from mobilenets.archs.op import (
    FeatureMap,
    Op,
    Size,
    concat,
    conv,
    elementwise,
    linear,
    pool,
    resize,
)
from mobilenets.errors import ArchError


class _Segments(Head):
    """What the heads here share: their last layer makes the logits."""

    __slots__ = ()

    def outputs(self, maps: Sequence[FeatureMap]) -> dict[str, tuple[int, ...]]:
        *_, last = self.layers(maps)
        return {"logits": (last.out_channels, *last.out_size)}


@dataclass(frozen=True, slots=True)
class LRASPP(_Segments):
    """Lite R-ASPP (arXiv:1905.02244, fig. 10): the last map to `channels`, times a gate of its
    means, enlarged to the size of the finer map, and the classes of both maps added.

    `taps` are the last map and the finer one; without a finer one the map is enlarged `enlarge`
    times. The gate has a bias in TensorFlow's, none in torchvision's. The means are of the whole
    map, as in torchvision; the paper's window of 49 pixels (at 769) costs as much.
    """

    classes: int
    taps: tuple[Tap, ...] = field()
    channels: int = 128
    gate_bias: bool = True
    enlarge: int = 1

    def layers(self, maps: Sequence[FeatureMap]) -> Iterator[Op]:
        last, *finer = maps
        branch = conv("head.branch", last, self.channels, act="relu", role="dense")
        yield branch
        gate = yield from self._gate(last)
        op = elementwise("head.scale", "scale", branch.output, gate)
        yield op
        size = finer[0].size if finer else Size(*(self.enlarge * side for side in op.out_size))
        op = resize("head.resize", op.output, size)
        yield op
        op = linear("head.classifier", op.output, self.classes, role="classifier", kind="conv")
        yield op
        if finer:
            other = linear(
                "head.finer_classifier", finer[0], self.classes, role="classifier", kind="conv"
            )
            yield from (other, elementwise("head.add", "add", op.output, other.output))

    def _gate(self, last: FeatureMap) -> Generator[Op, None, FeatureMap]:
        means = pool("head.pool", last)
        yield means
        gate = linear(
            "head.gate", means.output, self.channels, role="gate", act="sigmoid", kind="conv"
        )._replace(bias=self.gate_bias)
        yield gate
        return gate.output

    def check(self, where: str) -> None:
        check_count(f"{where}: classes", self.classes)
        check_count(f"{where}: channels", self.channels)
        check_count(f"{where}: enlarge", self.enlarge)
        check_flag(f"{where}: gate_bias", self.gate_bias)
        check_taps(where, self.taps)
        if len(self.taps) > 2 or (len(self.taps) == 2 and self.enlarge > 1):
            raise ArchError(
                f"{where}: LR-ASPP taps the last map and a finer one, or one map that is enlarged, "
                f"got {len(self.taps)} taps, enlarged {self.enlarge} times"
            )

    def with_classes(self, classes: int) -> LRASPP:
        return replace(self, classes=classes)

    def with_channels(self, part: str, channels: int) -> LRASPP:
        return replace(self, channels=channels) if part in ("branch", "gate") else self

    def without_row(self, row: int) -> LRASPP:
        return replace(self, taps=taps_without(self.taps, row))

    def pieces(self, maps: Sequence[FeatureMap]) -> Iterator[tuple[Head, FeatureMap]]:
        """The last map enlarged, and the classes of the finer one.

        Approximated: their sum is left out, the map is enlarged by a whole number (up to a pixel
        too large), and a tap inside a block is taken for free.
        """
        last, *finer = maps
        if not finer:
            yield self, last
            return
        enlarge = -(-finer[0].size.height // last.size.height)
        yield replace(self, taps=(Tap(),), enlarge=enlarge), last
        yield Pixelwise(self.classes), finer[0]


@dataclass(frozen=True, slots=True)
class RASPP(_Segments):
    """Reduced atrous spatial pyramid pooling (arXiv:1801.04381, appendix B; arXiv:1905.02244, 6.4):
    the map to `channels`, beside its means enlarged again, both to `channels`, and to classes.

    With `rates`, a dilated 3x3 convolution each stands beside them: DeepLabV3's own head, 6, 12 and
    18 at output stride 16, twice that at 8.
    """

    classes: int = 21
    channels: int = 256
    rates: tuple[int, ...] = ()
    dropout: float = 0.1

    def layers(self, maps: Sequence[FeatureMap]) -> Iterator[Op]:
        (at,) = maps
        branch = conv("head.branch", at, self.channels, act="relu")
        yield branch
        made = [branch.output]
        for index, rate in enumerate(self.rates):
            name = f"head.pyramid.{index}"
            op = conv(name, at, self.channels, kernel=3, dilation=rate, act="relu")
            yield op
            made.append(op.output)
        means = yield from self._means(at)
        op = concat("head.concat", (*made, means))
        yield op
        op = conv("head.dense", op.output, self.channels, act="relu", role="dense")
        yield op
        yield linear("head.classifier", op.output, self.classes, role="classifier", kind="conv")

    def _means(self, at: FeatureMap) -> Generator[Op, None, FeatureMap]:
        op = pool("head.pool", at)
        yield op
        op = conv("head.means", op.output, self.channels, act="relu")
        yield op
        op = resize("head.resize", op.output, at.size)
        yield op
        return op.output

    def check(self, where: str) -> None:
        for name, counts in (
            ("classes", (self.classes,)),
            ("channels", (self.channels,)),
            ("rates", self.rates),
        ):
            for count in counts:
                check_count(f"{where}: {name}", count)
        if self.dropout != 0:
            check_number(f"{where}: dropout", self.dropout, above=0, below=1)

    def with_classes(self, classes: int) -> RASPP:
        return replace(self, classes=classes)

    def with_channels(self, part: str, channels: int) -> RASPP:
        return replace(self, channels=channels) if part == "dense" else self


@dataclass(frozen=True, slots=True)
class Pixelwise(_Segments):
    """A 1x1 convolution to the classes of each pixel of the last map."""

    classes: int = 21

    def layers(self, maps: Sequence[FeatureMap]) -> Iterator[Op]:
        yield linear("head.classifier", maps[0], self.classes, role="classifier", kind="conv")

    def check(self, where: str) -> None:
        check_count(f"{where}: classes", self.classes)

    def with_classes(self, classes: int) -> Pixelwise:
        return replace(self, classes=classes)
