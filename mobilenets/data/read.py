"""One image file to one uint8 RGB tensor, whatever the file's format, mode and orientation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mobilenets.errors import DataError

# fmt: off
SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
))
# fmt: on


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its extension, hidden files never."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def read_image(
    data: str | Path | bytes, *, short_side: int | None = None, name: str | None = None
) -> Tensor:
    """The image as uint8 (3, H, W) RGB, upright, on white where it is transparent.

    `data` is a path or a file's bytes. 16-bit grey is divided by 257, float grey in [0, 1] is
    multiplied by 255. With `short_side`, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, its
    short side never below that, which is many times faster for photos. Raises `DataError`, which
    calls bytes `name`.
    """
    with _opened(data, name or "an image given as bytes") as image:
        if short_side is not None:
            image.draft(None, (short_side, short_side))
        pixels = _pixels(_upright(image))  # (H, W, 3)
    # A view, channels last in memory as decoded: resizing is faster so.
    return torch.from_numpy(pixels).permute(2, 0, 1)


def probe(data: str | Path | bytes, *, header_only: bool) -> int | str:
    """The short side in pixels, or the reason why the file cannot be read.

    The pixels are decoded too, a JPEG at 1/8 of its size, unless `header_only`.
    """
    try:
        # From the path, as reading all of a big file for its header would be a waste.
        header = header_only and not isinstance(data, bytes)
        with _quiet(), Image.open(data if header else BytesIO(_file_bytes(data))) as image:
            width, height = image.size
            if not header_only:
                image.draft("L", (max(1, width // 8), max(1, height // 8)))
                image.load()
            return min(width, height)
    except Exception as error:
        return _reason(error)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file: of (H, W) grey or (H, W, 3) RGB."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@contextmanager
def _opened(data: str | Path | bytes, name: str) -> Iterator[Image.Image]:
    try:
        with _quiet(), Image.open(BytesIO(_file_bytes(data))) as image:
            yield image
    except Exception as error:  # PIL's plugins raise a dozen types on a broken file
        what = name if isinstance(data, bytes) else data
        raise DataError(
            f"{what} cannot be read as an image: {_reason(error)}; replace or remove it"
        ) from error


def _file_bytes(data: str | Path | bytes) -> bytes:
    content = data if isinstance(data, bytes) else Path(data).read_bytes()
    if not content:
        raise ValueError("the file is empty")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    """The loaded image, turned as its EXIF says."""
    image.load()
    with suppress(Exception):  # EXIF that cannot be parsed is no reason to lose the picture
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) in RGB."""
    if image.mode == "F" or image.mode.startswith("I"):
        return np.repeat(_eight_bits(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Deep grey to 0..255: 16-bit values by 1/257, floats up to 1 by 255, others are bytes."""
    fractions = values.dtype.kind == "f" and np.nanmax(values) <= 1
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    scale = 255 if fractions else 1 / 257 if values.max() > 255 else 1
    return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)


class _Quiet:
    """Silences PIL's warnings while any thread reads.

    What matters is whether the pixels decode: a large photo is no bomb here (PIL still refuses
    above 179 million pixels), and odd metadata is not used. `warnings.catch_warnings` alone is not
    safe in threads, hence the count of readers.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._readers = 0
        self._caught = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")

    def leave(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._caught.__exit__(None, None, None)


_QUIET = _Quiet()


@contextmanager
def _quiet() -> Iterator[None]:
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()
