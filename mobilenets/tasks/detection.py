"""Boxes around what is in an image, each of a class (arXiv:1512.02325, arXiv:1801.04381, 6.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Detection:
    """`BoxLists` whose classes are `labels`, without the background."""

    labels: tuple[str, ...] = ()
    name: ClassVar[str] = "detection"
    kind: ClassVar[str] = "class"
    kinds: ClassVar[str] = "classes"
    metric: ClassVar[str] = "map50_95"
    title: ClassVar[str] = "mAP50-95"
    fewest: ClassVar[int] = 1
    whole: ClassVar[bool] = True
