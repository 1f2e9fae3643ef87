"""The idx files of MNIST and its kin: two of images, two of labels, gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobilenets.data.formats.listing import Listing, list_arrays
from mobilenets.data.source import Arrays
from mobilenets.errors import DataError

# Their t10k part is what they report on, so it is our val.
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "val": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def holds_idx(folder: Path) -> bool:
    """Whether any of the four files is there."""
    return any(_find(folder, name) is not None for pair in FILES.values() for name in pair)


def list_idx(
    folder: Path, *, name: str, classes: tuple[str, ...] | None = None, flip: bool = False
) -> Listing:
    """The listing of a folder with the four files; its t10k part is val.

    Without `classes` the label numbers are the names. Raises `DataError` for a missing or
    malformed file.
    """
    images, labels = zip(*(_read_pair(folder, *pair) for pair in FILES.values()), strict=True)
    joined = np.concatenate(labels).astype(np.int64)
    names = classes or tuple(str(number) for number in range(int(joined.max(initial=-1)) + 1))
    if joined.max(initial=0) >= len(names):
        raise DataError(f"{folder} has label {joined.max()} but {len(names)} classes; check it")
    if images[0].shape[1:] != images[1].shape[1:]:
        raise DataError(
            f"{folder} has training images of {images[0].shape[1:]} pixels and t10k images of "
            f"{images[1].shape[1:]}; fetch the files again"
        )
    source = Arrays(np.concatenate(images), name)
    given = np.repeat(list(FILES), [len(part) for part in labels])
    return list_arrays(source, joined, classes=names, given=given, flip=flip)


def _read_pair(folder: Path, images: str, labels: str) -> tuple[NDArray[np.uint8], ...]:
    pixels = read_idx(_need(folder, images), dimensions=3)
    numbers = read_idx(_need(folder, labels), dimensions=1)
    if len(pixels) != len(numbers):
        raise DataError(
            f"{folder / images} holds {len(pixels)} images and {labels} {len(numbers)} labels; "
            "fetch both again"
        )
    return pixels, numbers


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """The uint8 array in an idx file. Raises `DataError` for a malformed one."""
    content = _content(path)
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(
            f"{path} is not an idx file of bytes in {dimensions} dimensions: it starts with "
            f"{content[:4].hex() or 'nothing'}; fetch it again"
        )
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4).astype(np.int64)
    if len(content) - header != shape.prod():
        raise DataError(
            f"{path} holds {len(content) - header} bytes where its header says {shape.prod()}; "
            "fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}; fetch it again") from error


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _need(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder} lacks {name} (or {name}.gz); put all four idx files there")
    return path
