"""What is asked of how images become pixels, and how that is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mobilenets.data.read import GreyRange
from mobilenets.errors import DataError

# To the network's input: "crop" resizes by the short side and cuts the centre, "stretch" resizes
# the whole image, whatever its shape.
Resize = Literal["crop", "stretch"]
RESIZES: tuple[Resize, ...] = get_args(Resize)


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of deep grey that are black and white, and how images of any shape are resized.

    "auto" is what suits the training images (`mobilenets.data.values`); a `grey_range` of None is
    that of `read_image`.
    """

    grey_range: GreyRange | Literal["auto"] | None = "auto"
    resize: Resize | Literal["auto"] = "auto"

    def to_json(self) -> dict[str, Any]:
        """As JSON reads it back."""
        grey_range = self.grey_range
        listed = list(grey_range) if isinstance(grey_range, tuple) else grey_range
        return {"grey_range": listed, "resize": self.resize}


AUTO_READING = Reading()


def parse_reading(grey_range: str | None, resize: str | None) -> Reading:
    """What the options mean: LOW:HIGH or auto, and crop, stretch or auto. Raises `DataError`."""
    if resize in (None, "auto"):
        return Reading(_parse_range(grey_range))
    return Reading(_parse_range(grey_range), checked_resize(resize))


def _parse_range(text: str | None) -> GreyRange | Literal["auto"]:
    if text is None or text == "auto":
        return "auto"
    low, colon, high = text.partition(":")
    return checked_range((low, high) if colon else text)


def checked_range(values: Any) -> GreyRange:
    """Two numbers, the first below the second. Raises `DataError` for anything else."""
    try:
        low, high = (float(value) for value in (() if isinstance(values, str) else values))
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise DataError(
            "a range of grey is two numbers, the values of black and white, the first below the "
            f"second, such as 0:4095, got {values!r}"
        )
    return low, high


def checked_resize(word: Any) -> Resize:
    """Raises `DataError` for what is no way to resize."""
    if word not in RESIZES:
        raise DataError(f"images are resized by {' or '.join(RESIZES)}, got {word!r}")
    return word
