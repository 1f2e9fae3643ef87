"""The boxes of images: what a detector learns and is scored by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilenets.errors import DataError
from mobilenets.tasks.targets import Indices, Marked, Shown, Strata
from mobilenets.text import counted

# The columns of a row: corners, the number of its class, and whether it does not count.
CORNERS, CLASS, UNCOUNTED = slice(0, 4), 4, 5
NO_BOX = -1.0
_COLUMNS = 6


@dataclass(frozen=True, slots=True, eq=False)
class BoxLists:
    """The boxes of N images: `values` float32 (N, M, 6), a row a box.

    A row is x1, y1, x2, y2, in parts (0 to 1) of the upright image's width and height; the number
    of its class; and 1 where it is neither to be found nor a fault if it is (a crowd, or marked as
    difficult), else 0. An image with fewer than M boxes has rows of class -1 behind them.
    """

    values: NDArray[np.float32]

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.float32]]) -> BoxLists:
        """The boxes (n, 6) of each image."""
        most = max((len(one) for one in lists), default=0)
        values = np.zeros((len(lists), most, _COLUMNS), np.float32)
        values[..., CLASS] = NO_BOX
        for at, boxes in enumerate(lists):
            values[at, : len(boxes)] = boxes
        return cls(values)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Indices) -> BoxLists:
        return BoxLists(self.values[indices])

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which rows (N, M) are boxes to be found."""
        return (self.values[..., CLASS] >= 0) & (self.values[..., UNCOUNTED] == 0)

    def has(self, classes: int) -> NDArray[np.bool_]:
        """Which images have a box of each class (N, classes) that is to be found."""
        found = np.zeros((len(self), classes), bool)
        images, rows = np.nonzero(self.counted)
        found[images, self.values[images, rows, CLASS].astype(np.int64)] = True
        return found

    def strata(self) -> Strata:
        """By the rarest class that an image has; those without a box are one more."""
        classes = int(self.values[..., CLASS].max(initial=NO_BOX)) + 1
        has = self.has(classes)
        by_rarity = np.argsort(has.sum(axis=0), kind="stable")
        rarest = np.full(len(self), classes)
        for number in by_rarity[::-1]:
            rarest[has[:, number]] = number
        return Strata(rarest, np.ones(len(self), bool))

    def counts(self, names: Sequence[str]) -> dict[str, int]:
        """How many images have a box of each name."""
        return dict(zip(names, self.has(len(names)).sum(axis=0).tolist(), strict=True))

    def check_enough(self, names: Sequence[str], *, needed: int) -> None:
        """A class that the training images lack is not learned; one in few images may be missing
        where it is scored, and only a note is worth that."""
        if len(self) < needed:
            raise DataError(
                f"there are {counted(len(self), 'usable training image')}, and {needed} at least "
                "are needed, one each for train, holdout and val; add images"
            )
        for name, count in self.counts(names).items():
            if not count:
                raise DataError(
                    f"no usable training image has a box of class {name!r}; add some, or leave "
                    "the class out"
                )

    def shown(self, index: int, names: Sequence[str]) -> Shown:
        """The boxes, and how many there are."""
        rows = self.values[index]
        boxes = tuple(
            Marked(names[int(row[CLASS])], tuple(row[CORNERS].tolist()), bool(row[UNCOUNTED]))
            for row in rows[rows[:, CLASS] >= 0]
        )
        return Shown(f"{len(boxes):,} box{'' if len(boxes) == 1 else 'es'}", boxes)
