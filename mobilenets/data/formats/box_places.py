"""From a box as it was written to one in parts of the upright image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mobilenets.data.formats.box_faults import Fault, Faults
from mobilenets.data.read import Frame

Corners = tuple[float, float, float, float]
_ROUNDING_PX = 0.5  # beyond the edge by no more, a box was rounded, and nothing is said of it


class Box(NamedTuple):
    """A box as it was written: x1, y1, x2, y2 in pixels of its image, or in parts of its width and
    height; `uncounted` where it is a crowd or marked as difficult."""

    corners: Corners
    label: str
    uncounted: bool = False


class Annotated(NamedTuple):
    """An image and its boxes; `path` is relative to the set's folder, or absolute.

    `size` is the width and height that the annotation tells, None where it does not. With `parts`
    corners are parts (0 to 1) of width and height, else pixels.
    """

    path: str
    split: str
    boxes: Sequence[Box]
    size: tuple[int, int] | None = None
    parts: bool = False


class View(NamedTuple):
    """The image as the boxes were drawn on it: width and height in pixels, and the EXIF orientation
    that boxes have still to follow, 1 for none."""

    width: int
    height: int
    orientation: int = 1


# fmt: off
# Where a place (x, y) of the stored image comes to in the upright one, by EXIF orientation.
_UPRIGHT: dict[int, Callable[[float, float], tuple[float, float]]] = {
    1: lambda x, y: (x, y),         2: lambda x, y: (1 - x, y),
    3: lambda x, y: (1 - x, 1 - y), 4: lambda x, y: (x, 1 - y),
    5: lambda x, y: (y, x),         6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x), 8: lambda x, y: (y, 1 - x),
}
# fmt: on


def view_of(one: Annotated, frame: Frame, faults: Faults) -> View | str:
    """How the boxes of an image were drawn on it; or, where its annotated size is not that of its
    file, a sentence on that.

    Tools differ on images that EXIF turns: the size tells whether the boxes lie on the stored image
    or on the upright one. Where both have that size, or none is told, it is the upright one, as
    browsers and OpenCV show it.
    """
    stored, upright = (frame.width, frame.height), frame.upright
    if one.size not in (None, stored, upright):
        return (
            f"annotated as {_by(one.size)}, the file has {_by(stored)}"
            if stored == upright
            else f"annotated as {_by(one.size)}, the file has {_by(stored)} and is turned to "
            f"{_by(upright)} by EXIF"
        )
    if frame.orientation == 1 or not one.boxes:
        return View(*upright)
    if one.size is None or stored == upright:
        faults.add(Fault.MAYBE_TURNED, one.path)
    elif one.size == stored:
        faults.add(Fault.TURNED, one.path)
        return View(*stored, frame.orientation)
    return View(*upright)


def _by(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))


def placed(box: Box, one: Annotated, view: View, faults: Faults) -> Corners | Fault:
    """The corners in parts (0 to 1) of the upright image, as float32 has them, clipped to it; or
    why nothing is left of the box."""
    if not all(map(math.isfinite, box.corners)):
        return Fault.NOT_FINITE
    x1, y1, x2, y2 = box.corners
    if x2 < x1 or y2 < y1:
        faults.add(Fault.SWAPPED, one.path)
    wide, high = (1, 1) if one.parts else (view.width, view.height)
    (x1, x2), (y1, y2) = sorted((x1 / wide, x2 / wide)), sorted((y1 / high, y2 / high))
    if x1 == x2 or y1 == y2:
        return Fault.NO_SIZE
    if x2 <= 0 or y2 <= 0 or x1 >= 1 or y1 >= 1:
        return Fault.OUTSIDE
    beyond_px = max(-x1 * view.width, (x2 - 1) * view.width,
                    -y1 * view.height, (y2 - 1) * view.height)  # fmt: skip
    if beyond_px > _ROUNDING_PX:
        faults.add(Fault.CLIPPED, one.path)
    return _upright((x1, y1, x2, y2), view.orientation)


def _upright(corners: Corners, orientation: int) -> Corners | Fault:
    x1, y1, x2, y2 = (min(max(one, 0.0), 1.0) for one in corners)
    turn = _UPRIGHT[orientation]
    (x1, y1), (x2, y2) = turn(x1, y1), turn(x2, y2)
    left, right = sorted((float(np.float32(x1)), float(np.float32(x2))))
    top, bottom = sorted((float(np.float32(y1)), float(np.float32(y2))))
    if left == right or top == bottom:
        return Fault.NO_SIZE
    return left, top, right, bottom


def around(points: Sequence[float]) -> Corners:
    """The box around a polygon x1, y1, x2, y2, x3, y3 and so on."""
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)
