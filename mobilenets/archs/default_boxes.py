"""The default boxes of an SSDLite: what its offsets and scores are of (arXiv:1512.02325, 2.2).

Two published forms, told apart by how many boxes a pixel of the first map has. With 6 it is
torchvision's (`DefaultBoxGenerator`, as `ssdlite320_mobilenet_v3_large` makes it): the same six
shapes on every map, cut to the image's width and height. With 3 it is the papers' (object_detection
of tensorflow/models, `create_ssd_anchors`): on the first map a square of half the smallest scale
and two oblong boxes of the smallest, on the others the six shapes, not cut. TensorFlow lists the
larger square of a pixel last; here it is second in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

from mobilenets.archs.arch import Arch, ops
from mobilenets.archs.op import Size
from mobilenets.archs.ssdlite import SSDLite
from mobilenets.errors import ArchError


class DefaultBox(NamedTuple):
    """Centre, width and height in parts of the image's width and height; it may reach beyond the
    image's edges."""

    x: float
    y: float
    width: float
    height: float


@lru_cache(maxsize=16)
def default_boxes(arch: Arch) -> tuple[DefaultBox, ...]:
    """One for each row of the outputs, in their order: of a pixel, then columns, rows and maps.

    Scales rise evenly from map to map (`SSDLite.scales`). Raises `ArchError` for a network without
    SSDLite, and for numbers of boxes a pixel that have no shapes.
    """
    head = arch.head
    if not isinstance(head, SSDLite):
        raise ArchError(f"{arch.full_name} has no SSDLite head, and default boxes are of such")
    sizes = [op.out_size for op in ops(arch) if op.role == "boxes" and op.kind == "conv"]
    scales = (*_between(*head.scales, len(sizes)), 1.0)
    cut = head.anchors[0] == len(_SHAPES)
    found: list[DefaultBox] = []
    for size, count, (scale, larger) in zip(sizes, head.anchors, pairwise(scales), strict=True):
        shapes = [*_shapes(count, scale, larger)]
        if cut:
            shapes = [(min(width, 1.0), min(height, 1.0)) for width, height in shapes]
        found += _on_each_pixel(size, shapes)
    return tuple(found)


# Width to height; None is the square between this scale and the next.
_SHAPES = (1.0, None, 2.0, 1 / 2, 3.0, 1 / 3)


def _shapes(count: int, scale: float, larger: float) -> Iterator[tuple[float, float]]:
    """Widths and heights of the boxes of a pixel."""
    if count not in (3, 4, 6):
        raise ArchError(
            f"a pixel has 3, 4 or 6 default boxes, and no shapes are known for {count}; change "
            "the head's anchors"
        )
    if count == 3:
        yield scale / 2, scale / 2
    for ratio in (2.0, 1 / 2) if count == 3 else _SHAPES[:count]:
        if ratio is None:
            yield sqrt(scale * larger), sqrt(scale * larger)
        else:
            yield scale * sqrt(ratio), scale / sqrt(ratio)


def _on_each_pixel(size: Size, shapes: list[tuple[float, float]]) -> Iterator[DefaultBox]:
    for row in range(size.height):
        for column in range(size.width):
            x, y = (column + 0.5) / size.width, (row + 0.5) / size.height
            for width, height in shapes:
                yield DefaultBox(x, y, width, height)


def _between(first: float, last: float, count: int) -> list[float]:
    """`count` numbers with even steps."""
    step = (last - first) / max(count - 1, 1)
    return [first + step * at for at in range(count)]
