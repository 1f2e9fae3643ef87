"""What is in a tar file of images laid out for WebDataset: KEY.jpg beside KEY.cls or KEY.json."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.data.formats.tree import HIDDEN, suffix
from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError, FileError
from mobilenets.files import read_json

# In a .json member, the first of these that is there is the label.
_LABEL_FIELDS = ("label", "class", "cls")
_LABELS = (".cls", ".json")
_LABEL_BYTES = 1_000_000  # a label file of more is none
_BLOCK = 512


class Member(NamedTuple):
    """An image in a tar: its bytes begin at `offset`; `label` is as written, a number or a name."""

    name: str
    offset: int
    size_bytes: int
    label: str


class Contents(NamedTuple):
    """The labelled images of a tar in its order; `left` counts its other files, but labels, by
    suffix or by reason."""

    members: list[Member]
    left: Counter[str]


class _File(NamedTuple):
    name: str
    offset: int
    size_bytes: int


class _Sample(NamedTuple):
    image: _File
    label: _File


def read_contents(path: Path) -> Contents:
    """From the index beside the tar where there is one, else from the tar's headers.

    Raises `DataError` for a tar that is broken or cut short, or whose index is of another tar.
    """
    index = index_path(path)
    if not index.exists():
        return _scan(path)
    is_bytes = path.stat().st_size
    try:
        found, members = _indexed(read_json(index))
    except (ValueError, RecursionError, FileError) as error:
        why = "too deep" if isinstance(error, RecursionError) else error
        raise DataError(f"{index} does not index {path} ({why}); write the shards anew") from error
    if found != is_bytes:
        raise DataError(
            f"{path} has {is_bytes} bytes and {index.name} was written for {found}: it is cut "
            "short or another file; copy or write it again"
        )
    beyond = next((one for one in members if one.offset + one.size_bytes > is_bytes), None)
    if beyond is not None:
        raise DataError(
            f"{index} does not index {path} ({beyond.name} would end behind its end); write the "
            "shards anew"
        )
    return Contents(members, Counter())


def _indexed(record: Any) -> tuple[int, list[Member]]:
    """The bytes of the tar and its images. Raises `ValueError` for a record of another shape."""
    if not isinstance(record, dict) or type(record.get("bytes")) is not int:
        raise ValueError("it has no number of bytes")
    rows = record.get("members")
    if not isinstance(rows, list) or not all(map(_is_member, rows)):
        raise ValueError("its members are not name, offset, size and label each")
    return record["bytes"], [Member(*row) for row in rows]


def _is_member(row: Any) -> bool:
    if not isinstance(row, list) or [type(cell) for cell in row] != [str, int, int, str]:
        return False
    return row[1] >= 0 and row[2] >= 0


def index_path(path: Path) -> Path:
    """Where the index of the tar at `path` is: 000.tar has 000.index.json beside it."""
    return path.with_suffix(".index.json")


def index_record(contents: Contents, size_bytes: int) -> dict[str, Any]:
    """The index of a tar of `size_bytes`."""
    return {"bytes": size_bytes, "members": contents.members}


def _scan(path: Path) -> Contents:
    """By the headers, reading no image."""
    found = Contents([], Counter())
    with path.open("rb") as tar:
        for group in _groups(path, found.left):
            samples = list(_samples(path, group))
            found.members.extend(
                Member(*sample.image, _label(tar, path, sample.label)) for sample in samples
            )
            found.left.update(_left(group, samples))
    return found


def _groups(path: Path, left: Counter[str]) -> Iterator[list[_File]]:
    """Files in a row whose names are the same up to the first dot: a sample by WebDataset's rule.
    Hidden ones, as macOS puts beside each file, are counted in `left`."""
    group: list[_File] = []
    for file in _files(path, left):
        if _is_hidden(file.name):
            left[HIDDEN] += 1
            continue
        if group and _key(file.name) != _key(group[0].name):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _is_hidden(name: str) -> bool:
    parts = [part for part in name.split("/") if part not in (".", "..")]
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _key(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


def _stem(name: str) -> str:
    """The name up to its last dot."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.rpartition('.')[0]}"


def _labels(group: list[_File]) -> dict[str, _File]:
    """The label files by their stems; a .cls before a .json."""
    found: dict[str, _File] = {}
    for kind in _LABELS:
        for file in group:
            if file.name.lower().endswith(kind):
                found.setdefault(_stem(file.name), file)
    return found


def _samples(path: Path, group: list[_File]) -> Iterator[_Sample]:
    """The images with their labels. A group is a sample, KEY.jpg with KEY.cls, or several whose
    keys have dots in them, cam.00.png with cam.00.cls; what is called otherwise than its label,
    KEY.mask.png, is the image only where there is no KEY.png."""
    images: dict[str, list[_File]] = {}
    labels = _labels(group)
    for file in group:
        if is_image_name(file.name.rpartition("/")[2]):
            images.setdefault(_label_stem(path, file, labels), []).append(file)
    for stem, files in images.items():
        plain = [file for file in files if _stem(file.name) == stem] or files
        if len(plain) > 1:
            raise DataError(
                f"{path}: {plain[0].name} and {plain[1].name} may each be the image of "
                f"{labels[stem].name}; name the image as the label is named, and no other so"
            )
        yield _Sample(plain[0], labels[stem])


def _label_stem(path: Path, image: _File, labels: dict[str, _File]) -> str:
    """The longest stem of a label that the image's name begins with."""
    stem = _stem(image.name)
    while stem not in labels and "." in stem.rpartition("/")[2]:
        stem = _stem(stem)
    if stem not in labels:
        raise DataError(
            f"{path}: {image.name} has no label; put a .cls or .json member of the same name "
            "beside it"
        )
    return stem


def _left(group: list[_File], samples: list[_Sample]) -> Iterator[str]:
    """The kinds of what is neither an image that is used nor its label."""
    used = {file for sample in samples for file in sample}
    for file in group:
        base = file.name.rpartition("/")[2]
        if file not in used:
            yield f".{base.partition('.')[2]}" if is_image_name(base) else suffix(base)


def _files(path: Path, left: Counter[str]) -> Iterator[_File]:
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.isfile():
                    yield _File(info.name, info.offset_data, info.size)
                elif not info.isdir():
                    left["no file"] += 1  # a link, a device
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
            end = tar.offset  # of the block after the last file: zeros, or it is no end
        with path.open("rb") as file:
            file.seek(end)
            whole = file.read(_BLOCK) == bytes(_BLOCK)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read as a tar file: {error}; copy it again") from error
    if not whole:
        raise DataError(f"{path} ends before its end mark: it is cut short; copy it again")


def _label(tar: Any, path: Path, file: _File) -> str:
    """What a .cls or .json says."""
    try:
        text = _read(tar, file).strip()
        label = text if file.name.lower().endswith(".cls") else _labelled(json.loads(text))
        if not label:
            raise ValueError("it is empty")
        return label
    except (ValueError, TypeError, RecursionError, StopIteration) as error:
        is_name = file.name.lower().endswith(".cls")
        needs = "a number or a name" if is_name else f"one of {', '.join(_LABEL_FIELDS)}"
        raise DataError(f"{path}: {file.name} holds no label; it needs {needs}") from error


def _labelled(record: dict[str, Any]) -> str:
    label = next(record[field] for field in _LABEL_FIELDS if field in record)
    if type(label) not in (str, int):
        raise TypeError(f"{label!r} is no label")
    return str(label).strip()


def _read(tar: Any, file: _File) -> str:
    if file.size_bytes > _LABEL_BYTES:
        raise ValueError("too large for a label")
    tar.seek(file.offset)
    content: bytes = tar.read(file.size_bytes)
    return content.decode("utf-8")
