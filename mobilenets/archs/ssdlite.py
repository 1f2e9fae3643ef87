"""SSDLite: the Single Shot Detector of depthwise separable convolutions (arXiv:1801.04381, 6.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from mobilenets.archs.checks import check_count, check_number
from mobilenets.archs.heads import Head, Tap, check_taps, taps_without
from mobilenets.archs.op import FeatureMap, Op, collect, conv, depthwise, linear
from mobilenets.archs.width import Width
from mobilenets.errors import ArchError

_ACT = "relu6"  # on every backbone, in TensorFlow's detector and torchvision's


@dataclass(frozen=True, slots=True)
class SSDLite(Head):
    """For `anchors` default boxes a pixel of several maps: "boxes" (A, 4), each anchor's raw
    offsets, and "scores" (A, classes), before softmax or sigmoid.

    The maps are the tapped ones, finest first, and behind the last of them one of each number of
    channels in `extras`, each half the size of the one before. `anchors` has a number for every
    map. In A the anchors of a pixel come first, then columns, rows and maps (`default_boxes` has
    each one's place). `classes` counts the background, which is the first. `scales` are the sides
    of the square default boxes of the first and the last map, in parts of the image's.
    """

    classes: int
    taps: tuple[Tap, ...] = field()
    anchors: tuple[int, ...]
    extras: tuple[int, ...] = (512, 256, 256, 128)
    scales: tuple[float, float] = (0.2, 0.95)

    def layers(self, maps: Sequence[FeatureMap]) -> Iterator[Op]:
        found = list(maps)
        for index, channels in enumerate(self.extras):
            layers = tuple(_extra(f"head.extras.{index}", found[-1], channels))
            yield from layers
            found.append(layers[-1].output)
        yield from self._predict("boxes", found, 4)
        yield from self._predict("scores", found, self.classes)

    def _predict(self, part: str, maps: Sequence[FeatureMap], values: int) -> Iterator[Op]:
        """`values` for each anchor, of every map and then in one list."""
        role = "classifier" if part == "scores" else "boxes"
        made = []
        for index, (at, anchors) in enumerate(zip(maps, self.anchors, strict=True)):
            name = f"head.{part}.{index}"
            op = depthwise(f"{name}.depthwise", at, kernel=3, act=_ACT)
            yield op
            op = linear(f"{name}.predict", op.output, anchors * values, role=role, kind="conv")
            yield op
            made.append(op.output)
        yield collect(f"head.{part}", made, values)

    def outputs(self, maps: Sequence[FeatureMap]) -> dict[str, tuple[int, ...]]:
        lists = (op for op in self.layers(maps) if op.kind == "collect")
        return {op.part: (op.out_size.height, op.out_channels) for op in lists}

    def check(self, where: str) -> None:
        check_count(f"{where}: classes", self.classes)
        check_taps(where, self.taps)
        for name, counts in (("anchors", self.anchors), ("extras", self.extras)):
            for count in counts:
                check_count(f"{where}: {name}", count)
        maps = len(self.taps) + len(self.extras)
        if len(self.anchors) != maps:
            raise ArchError(
                f"{where}: anchors must have one number for each of the {maps} maps (taps and "
                f"extras), got {self.anchors!r}"
            )
        _check_scales(f"{where}: scales", self.scales)

    def scaled(self, width: Width) -> SSDLite:
        """The tapped maps are as wide as the backbone makes them; the extras follow the width."""
        return replace(self, extras=tuple(max(16, int(one * width.factor)) for one in self.extras))

    def with_classes(self, classes: int) -> SSDLite:
        return replace(self, classes=classes)

    @property
    def labels(self) -> int:
        """The first class is the background."""
        return self.classes - 1

    def with_labels(self, labels: int) -> SSDLite:
        return self.with_classes(labels + 1)

    def without_row(self, row: int) -> SSDLite:
        return replace(self, taps=taps_without(self.taps, row))

    def pieces(self, maps: Sequence[FeatureMap]) -> Iterator[tuple[Head, FeatureMap]]:
        """A head for each tapped map; the extras go with the last.

        Approximated: each piece collects its own boxes and scores, the whole head does it once; and
        a tap inside a block is taken for free, as if the block wrote that tensor out anyway.
        """
        anchors = iter(self.anchors)
        for at in maps[:-1]:
            yield replace(self, taps=(Tap(),), anchors=(*islice(anchors, 1),), extras=()), at
        yield replace(self, taps=(Tap(),), anchors=tuple(anchors)), maps[-1]


def _check_scales(what: str, scales: tuple[float, ...]) -> None:
    """Two, the second at least as large."""
    if not isinstance(scales, tuple) or len(scales) != 2:
        raise ArchError(f"{what} must be two, of the first and the last map, got {scales!r}")
    for scale in scales:
        check_number(what, scale, above=0, below=1)
    if scales[0] > scales[1]:
        raise ArchError(f"{what} must rise from the first map to the last, got {scales!r}")


def _extra(name: str, at: FeatureMap, channels: int) -> Iterator[Op]:
    """1x1 to half the channels, depthwise of stride 2, 1x1."""
    op = conv(f"{name}.squeeze", at, channels // 2, act=_ACT)
    yield op
    op = depthwise(f"{name}.depthwise", op.output, kernel=3, stride=2, act=_ACT)
    yield op
    yield conv(f"{name}.pointwise", op.output, channels, act=_ACT, role="pointwise")
