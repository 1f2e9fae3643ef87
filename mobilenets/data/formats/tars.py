"""What is in a tar file of images laid out for WebDataset: KEY.jpg beside KEY.cls or KEY.json."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError
from mobilenets.files import read_json

# In a .json member, the first of these that is there is the label.
_LABEL_FIELDS = ("label", "class", "cls")
_BLOCK = 512


class Member(NamedTuple):
    """An image in a tar: its bytes begin at `offset`; `label` is as written, a number or a name."""

    name: str
    offset: int
    size_bytes: int
    label: str


class Contents(NamedTuple):
    """The labelled images of a tar in its order; `ignored` counts its other files, but labels."""

    members: list[Member]
    ignored: int


class _File(NamedTuple):
    name: str
    offset: int
    size_bytes: int


def read_contents(path: Path) -> Contents:
    """From the index beside the tar where there is one, else from the tar's headers.

    Raises `DataError` for a tar that is broken or cut short, or whose index is of another tar.
    """
    index = index_path(path)
    if not index.exists():
        return _scan(path)
    record = read_json(index)
    try:
        found, is_bytes = record["bytes"], path.stat().st_size
        members = [Member(*one) for one in record["members"]]
    except (OSError, KeyError, TypeError) as error:
        raise DataError(
            f"{index} does not index {path} ({error}); write the shards anew"
        ) from error
    if found != is_bytes:
        raise DataError(
            f"{path} has {is_bytes} bytes and {index.name} was written for {found}: it is cut "
            "short or another file; copy or write it again"
        )
    return Contents(members, record["ignored"])


def index_path(path: Path) -> Path:
    """Where the index of the tar at `path` is: 000.tar has 000.index.json beside it."""
    return path.with_suffix(".index.json")


def index_record(contents: Contents, size_bytes: int) -> dict[str, Any]:
    """The index of a tar of `size_bytes`."""
    return {"bytes": size_bytes, "ignored": contents.ignored, "members": contents.members}


def _scan(path: Path) -> Contents:
    """By the headers, reading no image."""
    members: list[Member] = []
    ignored = 0
    with path.open("rb") as tar:
        for sample in _samples(path):
            images = [file for file in sample if is_image_name(Path(file.name).name)]
            ignored += len(sample) - bool(images)
            if images:
                label = _label(tar, path, sample)
                members.append(Member(*images[0], label))
                ignored -= 1
    return Contents(members, ignored)


def _samples(path: Path) -> Iterator[list[_File]]:
    """Files in a row whose names are the same up to the first dot."""
    sample: list[_File] = []
    for file in _files(path):
        if sample and _key(file.name) != _key(sample[0].name):
            yield sample
            sample = []
        sample.append(file)
    if sample:
        yield sample


def _key(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


def _files(path: Path) -> Iterator[_File]:
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.isfile():
                    yield _File(info.name, info.offset_data, info.size)
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
            end = tar.offset  # of the block after the last file: zeros, or it is no end
        with path.open("rb") as file:
            file.seek(end)
            whole = file.read(_BLOCK) == bytes(_BLOCK)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read as a tar file: {error}; copy it again") from error
    if not whole:
        raise DataError(f"{path} ends before its end mark: it is cut short; copy it again")


def _label(tar: Any, path: Path, sample: list[_File]) -> str:
    """What the sample's .cls or .json says."""
    suffixes = [Path(file.name).suffix.lower() for file in sample]
    kind = next((one for one in (".cls", ".json") if one in suffixes), None)
    if kind is None:
        raise DataError(
            f"{path}: {sample[0].name} has no label; put a .cls or .json member of the same name "
            "beside it"
        )
    file = sample[suffixes.index(kind)]
    try:
        text = _read(tar, file)
        return text.strip() if kind == ".cls" else _labelled(json.loads(text))
    except (ValueError, TypeError, StopIteration) as error:
        raise DataError(
            f"{path}: {file.name} holds no label; it needs one of {', '.join(_LABEL_FIELDS)}"
        ) from error


def _labelled(record: dict[str, Any]) -> str:
    return str(next(record[field] for field in _LABEL_FIELDS if field in record))


def _read(tar: Any, file: _File) -> str:
    tar.seek(file.offset)
    content: bytes = tar.read(file.size_bytes)
    return content.decode("utf-8")
