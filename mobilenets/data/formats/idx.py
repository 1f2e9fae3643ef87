"""The idx files of MNIST and its kin: two of images, two of labels, gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import IO, cast

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
    """The uint8 array in an idx file. Raises `DataError` for a malformed one, reading no more than
    its header says."""
    try:
        with _opened(path) as file:
            shape = _shape(path, file.read(4 + 4 * dimensions), dimensions)
            needed = prod(shape)
            _check_size(path, needed, 4 + 4 * dimensions)
            content = file.read(needed + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}; fetch it again") from error
    if len(content) != needed:
        held = f"{len(content)}" if len(content) < needed else f"more than {needed}"
        raise DataError(f"{path} holds {held} bytes where its header says {needed}; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(
            f"{path} is not an idx file of bytes in {dimensions} dimensions: it starts with "
            f"{header[:4].hex() or 'nothing'}; fetch it again"
        )
    shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
    if 0 in shape[1:]:
        raise DataError(f"{path} has images of {shape[1]} x {shape[2]} pixels; fetch it again")
    return shape


def _check_size(path: Path, needed: int, header: int) -> None:
    """Whether a file can hold so many bytes; gzip makes them 1/1032 at best."""
    has, packed = path.stat().st_size, path.suffix == ".gz"
    room = 1032 * has if packed else has - header
    if needed > room:
        raise DataError(
            f"{path} holds {room} bytes{' at most' if packed else ''} where its header says "
            f"{needed}; fetch it again"
        )


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _need(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder} lacks {name} (or {name}.gz); put all four idx files there")
    return path
