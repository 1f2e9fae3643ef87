"""How a whole data set is read: which values of deep grey are black and white, whether images are
resized whole; and whether there is anything to see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenets.data.pool import each
from mobilenets.data.read import GreyRange, deep_values, is_deep, ratio
from mobilenets.data.reading import Reading, Resize, checked_range, checked_resize
from mobilenets.data.source import Arrays, Source
from mobilenets.errors import DataError
from mobilenets.tasks.targets import Indices

# The most images, evenly spread, whose header is looked at, and whose values are.
_HEADERS, _LOOKED_AT = 5000, 256
_VALUES = 4096  # of each image
_ENDS = (0.001, 0.999)  # quantiles: a few hot pixels shall not darken all others
_SIDE = 32  # JPEGs are decoded no smaller to see whether there is more than one colour
_DEEP = "16-bit or float grey"
# Where the median image is longer than this many times its short side, the centre square lacks too
# much of it (docs/log.md: photographs of things that fill them).
_LONG = 1.1


@dataclass(frozen=True, slots=True)
class Values:
    """The range of deep grey (`read_image`), how images are resized (`Preprocess`), and sentences
    on what is odd; `asked` is what the first two come from."""

    grey_range: GreyRange | None = None
    resize: Resize = "crop"
    asked: Reading = field(default_factory=Reading)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        found = Reading(self.grey_range, self.resize).to_json()
        return {**found, "asked": self.asked.to_json(), "notes": list(self.notes)}


def known_values(record: dict[str, Any] | None, asked: Reading) -> Values | None:
    """What `to_json` wrote of the same images in an earlier record, if the same was asked."""
    if record is None or record.get("asked") != asked.to_json():
        return None
    found = record["grey_range"]
    grey_range = found and checked_range(found)
    return Values(grey_range, checked_resize(record["resize"]), asked, tuple(record["notes"]))


def look(source: Source, train: Indices, usable: Indices, asked: Reading) -> Values:
    """How these images are read, and what is odd about them.

    A range of "auto" is that of a thousandth to 999 thousandths of the values of the deep grey
    training images; None where there are none. Resized whole are, by "auto", images that are much
    longer than short. Of many images a part is looked at, evenly spread.
    """
    deep = np.empty(0, np.int64) if isinstance(source, Arrays) else _deep_ones(source, usable)
    if asked.grey_range == "auto":
        grey_range = _range_of(source, np.intersect1d(deep, train))
        notes = _chosen(grey_range, len(deep) / min(len(usable), _HEADERS))
    else:
        grey_range = asked.grey_range
        notes = _given(source, deep, grey_range)
    resize = asked.resize
    if resize == "auto":
        resize, said = _resize_for(source, train)
        notes += said
    notes += _constant(source, usable, grey_range)
    return Values(grey_range, resize, asked, tuple(notes))


def _spread(indices: Indices, most: int) -> Indices:
    """At most so many of them, evenly."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]


def _deep_ones(source: Source, usable: Indices) -> Indices:
    looked_at = _spread(usable, _HEADERS)
    found = each(lambda at: is_deep(source.stored(int(looked_at[at]))), len(looked_at))
    return looked_at[np.array(found, dtype=bool)]


def _sampled(source: Source, deep: Indices) -> list[NDArray[np.float64]]:
    """Some of the numbers of some of these images."""
    chosen = _spread(deep, _LOOKED_AT)
    return each(lambda at: _some_values(source, int(chosen[at])), len(chosen))


def _some_values(source: Source, index: int) -> NDArray[np.float64]:
    try:
        values = deep_values(source.stored(index)).ravel()
    except DataError:  # gone since it was checked: it is skipped where it is read
        return np.empty(0)
    values = values[:: max(1, len(values) // _VALUES)].astype(np.float64)
    return values[np.isfinite(values)]


def _range_of(source: Source, deep: Indices) -> GreyRange | None:
    values = np.concatenate([np.empty(0), *_sampled(source, deep)])
    if not len(values):
        return None
    low, high = np.quantile(values, _ENDS)
    if not low < high:
        low, high = values.min(), values.max()
    low, high = (float(f"{end:.6g}") for end in (low, high))
    return (low, high) if low < high else (low, low + 1)


def _resize_for(source: Source, train: Indices) -> tuple[Resize, list[str]]:
    """The way that suits them, and what the user is told of it."""
    chosen = _spread(train, _LOOKED_AT)
    found = each(lambda at: ratio(source.stored(int(chosen[at]))), len(chosen))
    times = float(np.median([one for one in found if one] or [1.0]))
    if times < _LONG:
        return "crop", []
    return "stretch", [
        f"the median image is {times:.2f} times as long as its short side: images are resized "
        "whole, whatever their shape; --resize crop cuts the centre"
    ]


def _chosen(grey_range: GreyRange | None, share: float) -> list[str]:
    if grey_range is None:
        return []
    which = f"{_DEEP} images"
    if share < 1:
        which = (
            f"{100 * share:.3g} % of the images are {_DEEP}, the others are read as they are; of "
            "the former"
        )
    low, high = grey_range
    return [
        f"{which}: {low:g} to {high:g}, by the training images, is taken as black to white; "
        "--range LOW:HIGH changes it"
    ]


def _given(source: Source, deep: Indices, grey_range: GreyRange | None) -> list[str]:
    """Notes on a range that does not suit the images."""
    if grey_range is None:
        return [] if not len(deep) else [
            f"{len(deep):,} images are {_DEEP}, of which the network was trained on none: 0 to "
            "65535 is taken as black to white, of floats 0 to 1"
        ]  # fmt: skip
    low, high = grey_range
    if not len(deep):
        return [f"no image is {_DEEP}: the range {low:g} to {high:g} changes nothing"]
    values = np.concatenate([np.empty(0), *_sampled(source, deep)])
    share = float(np.mean((values < low) | (values > high))) if len(values) else 0.0
    if share <= 0.5:
        return []
    return [
        f"{100 * share:.0f} % of the values of the {_DEEP} images lie beyond {low:g} to {high:g}, "
        "and are all black or all white; give another --range LOW:HIGH"
    ]


def _constant(source: Source, usable: Indices, grey_range: GreyRange | None) -> list[str]:
    """A note on images of one colour only, from which nothing can be told."""
    looked_at = _spread(usable, _LOOKED_AT)

    def is_constant(at: int) -> bool:
        try:
            pixels = source.read(int(looked_at[at]), short_side=_SIDE, grey_range=grey_range)
        except DataError:
            return False
        return bool((pixels == pixels[:, :1, :1]).all())

    found = looked_at[np.array(each(is_constant, len(looked_at)), dtype=bool)]
    if not len(found):
        return []
    of = "images" if len(looked_at) == len(usable) else "images looked at"
    return [
        f"{len(found):,} of {len(looked_at):,} {of} are of one colour only, the first "
        f"{source.name(int(found[0]))}"
    ]
