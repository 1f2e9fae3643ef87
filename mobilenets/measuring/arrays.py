"""Arrays of numbers in JSON: float32, the lowest byte first, in base64."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def packed(array: ArrayLike) -> dict[str, Any]:
    """As JSON."""
    values = np.ascontiguousarray(array, "<f4")
    return {"shape": list(values.shape), "data": base64.b64encode(values.tobytes()).decode()}


def unpacked(value: Mapping[str, Any]) -> NDArray[np.float32]:
    """The inverse of `packed`."""
    values = np.frombuffer(base64.b64decode(value["data"]), "<f4")
    return values.reshape(value["shape"]).astype(np.float32)
