"""What images are labelled with: a value of one row an image, of a kind that its task reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Strata(NamedTuple):
    """What each of N images counts as where parts are cut fairly: `numbers` (N,) of its stratum,
    and whether anything is `known` of it (N,)."""

    numbers: Indices
    known: NDArray[np.bool_]


class Marked(NamedTuple):
    """A box that is drawn on an image: `corners` are x1, y1, x2, y2 in parts (0 to 1) of its width
    and height; `uncounted` where it is neither trained nor scored."""

    label: str
    corners: tuple[float, float, float, float]
    uncounted: bool = False


class Shown(NamedTuple):
    """What an image is labelled with, for a person: in words, and the boxes in it."""

    words: str
    boxes: tuple[Marked, ...] = ()


class Targets(Protocol):
    """The targets of N images. `names` are the classes or attributes that they tell of."""

    @property
    def values(self) -> NDArray[Any]:
        """(N, ...), a row an image, as losses take them."""

    def __len__(self) -> int: ...

    def take(self, indices: Indices) -> Targets:
        """Those of these images, in this order."""

    def strata(self) -> Strata:
        """For a fair split: each stratum is cut by itself."""

    def counts(self, names: Sequence[str]) -> dict[str, int]:
        """How many images are of each name, or have it."""

    def check_enough(self, names: Sequence[str], *, needed: int) -> None:
        """Raise `DataError` where a name has too few of these images, of which `needed` parts are
        to be made: train and holdout, and perhaps val."""

    def shown(self, index: int, names: Sequence[str]) -> Shown:
        """What the image `index` is labelled with."""
