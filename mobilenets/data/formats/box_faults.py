"""What is wrong with annotated boxes, or odd about them: counted, and said in a sentence a kind."""

from __future__ import annotations

from enum import Enum
from typing import final


class Fault(Enum):
    """A kind of fault: what it counts, and what was done about it."""

    # fmt: off
    CLIPPED = ("box", "clipped: beyond the edge of the image")
    OUTSIDE = ("box", "left out: outside the image")
    NO_SIZE = ("box", "left out: of no size")
    NOT_FINITE = ("box", "left out: a coordinate is no finite number")
    NOT_FOUR = ("box", "left out: neither a box of four numbers nor a polygon")
    UNLISTED_CLASS = ("box", "left out: of a class that is not listed")
    UNLISTED_IMAGE = ("box", "left out: of an image that is not listed")
    TWICE = ("box", "left out: the same box and class twice in an image")
    SWAPPED = ("box", "mended: corners in the wrong order")
    FROM_POLYGON = ("box", "taken around a polygon")
    IN_PIXELS = ("box", "left out: coordinates far above 1, perhaps pixels; YOLO has parts of "
                        "the image's width and height")
    UNCOUNTED = ("box", "neither trained nor scored: marked as crowd, ignored or difficult")
    TURNED = ("image", "annotated as stored: the boxes are turned with the image by its EXIF "
                       "orientation")
    MAYBE_TURNED = ("image", "turned by EXIF, and the annotated size does not tell whether the "
                             "boxes are too: read as boxes on the upright image")
    LISTED_TWICE = ("image", "listed twice: the boxes of both are read")
    NOT_ANNOTATED = ("image", "left out: no annotation names it")
    NOT_IN_A_LIST = ("image", "left out: in no list of ImageSets/Main")
    BACKGROUND = ("image", "without a label file, read as background")
    NO_BOX = ("class", "left out: no box is of it that counts")
    SAME_NAME = ("class", "listed under a name that another has: read as one")
    # fmt: on


@final
class Faults:
    """How many there are of each kind, and where the first one is."""

    def __init__(self) -> None:
        self._found: dict[Fault, tuple[int, str]] = {}

    def add(self, fault: Fault, where: str) -> None:
        """Count one more."""
        count, first = self._found.get(fault, (0, where))
        self._found[fault] = (count + 1, first)

    def add_all(self, other: Faults) -> None:
        """Count those of `other`, too."""
        for fault, (count, where) in other._found.items():
            before, first = self._found.get(fault, (0, where))
            self._found[fault] = (before + count, first)

    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind: "3 boxes left out: of no size (the first, a.jpg)"."""
        return tuple(_said(*fault.value, *found) for fault, found in self._found.items())


def _said(noun: str, done: str, count: int, first: str) -> str:
    return f"{_many(count, noun)} {done} ({'the first, ' * (count > 1)}{first})"


def _many(count: int, noun: str) -> str:
    plural = "" if count == 1 else "s" if noun == "image" else "es"
    return f"{count:,} {noun}{plural}"
