"""Images in tar files (WebDataset shards), read at random by their byte offsets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mobilenets.data.formats.listing import Entry, Listing, left_out, list_entries
from mobilenets.data.formats.split_names import UNLABELLED, is_split, split_named
from mobilenets.data.formats.tars import Contents, Member, index_path, read_contents
from mobilenets.data.formats.tree import suffix
from mobilenets.data.read import GreyRange, read_image
from mobilenets.errors import DataError, FileError
from mobilenets.files import read_json

INDEX = "shards.json"  # beside the shards: their classes, whether they may be mirrored, their names
UNFINISHED = "shards.partial.json"  # while they are written
_SHARDS, _DIGITS = 100_000, 18  # more names, or longer numbers, are a slip of the pen
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Images in tar files: image i is `sizes[i]` bytes at `offsets[i]` of the tar `shards[i]`, a
    number into `paths`."""

    root: str
    paths: Sequence[str]
    names: Sequence[str]
    shards: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def stored(self, index: int) -> bytes:
        path = Path(self.root, self.paths[self.shards[index]])
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(int(self.offsets[index]))
                content = file.read(int(self.sizes[index]))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}; put it back") from error
        if len(content) < self.sizes[index]:
            raise DataError(f"{path} is shorter than it was: copy it again")
        return content

    def place(self, index: int) -> tuple[str, int]:
        path = Path(self.root, self.paths[self.shards[index]])
        return str(path.absolute()), int(self.offsets[index])

    def read(
        self, index: int, *, short_side: int | None = None, grey_range: GreyRange | None = None
    ) -> Tensor:
        name = self.name(index)
        return read_image(
            self.stored(index), short_side=short_side, grey_range=grey_range, name=name
        )

    def name(self, index: int) -> str:
        """The shard and the member in it."""
        return f"{self.paths[self.shards[index]]}/{self.names[index]}"


class _Shard(NamedTuple):
    """A tar relative to the listing's folder, with its split and contents."""

    path: str
    split: str
    contents: Contents


def holds_shards(folder: Path) -> bool:
    """Whether `folder` is one of shards: their index is there, begun or done, or tar files are, and
    no folders that could be classes."""
    return any((folder / name).exists() for name in (INDEX, UNFINISHED)) or bool(_tars(folder))


def _tars(folder: Path) -> list[Path]:
    """Those in `folder`, or in its train/, val/ and test/, where no folder could be a class."""
    folders = [one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")]
    if not folders:
        return sorted(folder.glob("*.tar"))
    if not all(is_split(one.name) for one in folders):
        return []
    return [] if any(folder.glob("*/*/")) else sorted(folder.glob("*/*.tar"))


def expand_braces(pattern: str) -> list[Path]:
    """The files of "a-{000..011}.tar", in order; without braces the one file. Raises `DataError`
    for a pattern of none, or of more than anybody has."""
    pieces = _BRACES.split(pattern)  # text, first, last, text, first, last, text
    texts, pairs = pieces[::3], list(zip(pieces[1::3], pieces[2::3], strict=True))
    count = 1 if max(map(len, pieces[1::3] + pieces[2::3]), default=0) < _DIGITS else _SHARDS + 1
    ranges = []
    for first, last in pairs if count == 1 else []:
        numbers = range(int(first), int(last) + 1)
        count *= len(numbers)
        ranges.append((numbers, len(first)))
    if not 0 < count <= _SHARDS:
        what = f"more than {_SHARDS:,} files" if count else "no file, as it counts down"
        raise DataError(f"{pattern} names {what}; write the numbers of the shards that are there")
    return [
        Path("".join(a + b for a, b in zip(texts, (*choice, ""), strict=True)))
        for choice in product(*([f"{n:0{width}}" for n in numbers] for numbers, width in ranges))
    ]


def list_shards(data: Path) -> Listing:
    """The listing of a folder with tar files, of one tar file, or of a pattern of their names.

    Classes come from shards.json beside the tars; without one, labels name themselves and numbers
    are sorted as numbers. A tar with train, val or test in its path is of that split. Raises
    `DataError`.
    """
    root, paths, index = _find(data)
    shards = [_shard(root, path) for path in paths]
    found = sorted(
        ((shard, number, member) for number, shard in enumerate(shards)
         for member in shard.contents.members),
        key=(lambda one: one[2].name) if index.get("ordered") else (lambda one: 0),
    )  # fmt: skip
    source = Members(
        root=str(root),
        paths=tuple(shard.path for shard in shards),
        names=tuple(member.name for _, _, member in found),
        shards=np.array([number for _, number, _ in found], dtype=np.int32),
        offsets=np.array([member.offset for *_, member in found], dtype=np.int64),
        sizes=np.array([member.size_bytes for *_, member in found], dtype=np.int64),
    )
    classes = index.get("classes")
    entries = [_entry(shard, member, classes) for shard, _, member in found]
    if len({bool(entry.split) for entry in entries}) > 1:
        raise DataError(
            f"{data} has train, val or test in the names of some shards only; name all so, or none"
        )
    if classes is None:
        classes = sorted({entry.label for entry in entries}, key=_by)
    left = sum((shard.contents.left for shard in shards), _beside(data, paths))
    listing = list_entries(
        index.get("name") or root.resolve().name,
        source,
        entries,
        classes=tuple(classes),
        ignored=left.total(),
        flip=index.get("flip", True),
    )
    return replace(listing, notes=left_out(left))


def _find(data: Path) -> tuple[Path, list[Path], dict[str, Any]]:
    """The folder, its tars in order, and what its index says."""
    folder = data if data.is_dir() else expand_braces(str(data))[0].parent
    if (folder / UNFINISHED).exists() and not (folder / INDEX).exists():
        raise DataError(
            f"{folder} lacks {INDEX}: its shards were not finished; run `mobilenets shard` again"
        )
    index = _read_index(folder / INDEX) if (folder / INDEX).exists() else {}
    if data.is_dir():
        paths = [folder / name for name in index.get("shards", [])] or _tars(folder)
    else:
        paths = expand_braces(str(data))
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} shards are missing, the first {missing[0]}; put them "
            "there"
        )
    return folder, paths, index


def _beside(data: Path, paths: list[Path]) -> Counter[str]:
    """The files beside shards, by suffix; none where the shards themselves were named."""
    folders = {path.parent for path in paths} if data.is_dir() else set[Path]()
    files = {one for folder in folders for one in folder.iterdir() if not one.is_dir()}
    ours = {data / INDEX, *paths, *map(index_path, paths)}
    return Counter(suffix(one.name) for one in files - ours)


def _read_index(path: Path) -> dict[str, Any]:
    """shards.json, its fields of the kinds that they should be; each may be missing."""
    try:
        record = read_json(path)
    except (FileError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON; write the shards anew") from error
    odd = None if isinstance(record, dict) else "it is no object"
    for field, is_kind in _FIELDS.items():
        if odd is None and field in record and not is_kind(record[field]):
            odd = f"its {field} is {str(record[field])[:40]!r}"
    if odd is not None:
        raise DataError(f"{path} is not an index of shards: {odd}; write the shards anew")
    return dict(record)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _are_paths(value: Any) -> bool:
    """Whether these are names of files in the folder or below."""
    return _are_names(value) and not any(
        Path(one).is_absolute() or ".." in Path(one).parts or "\0" in one for one in value
    )


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str) and bool(value),
    "classes": lambda value: _are_names(value) and len(set(value)) == len(value),
    "shards": _are_paths,
    "flip": lambda value: isinstance(value, bool),
    "ordered": lambda value: isinstance(value, bool),
}


def _shard(root: Path, path: Path) -> _Shard:
    within = path.relative_to(root).as_posix()
    told = (split_named(part) for part in Path(within).with_suffix("").parts)
    split = next((name.split for name in told if name and name.split != UNLABELLED), "")
    return _Shard(within, split, read_contents(path))


def _entry(shard: _Shard, member: Member, classes: list[str] | None) -> Entry:
    path, label = f"{shard.path}/{member.name}", member.label
    if classes is not None:
        label = _class_of(path, label, classes)
    return Entry(path, label, shard.split)


def _class_of(path: str, label: str, classes: list[str]) -> str:
    """A number counts the classes from 0; what is none of these is a class's name."""
    if label.isdecimal() and int(label) < len(classes):
        return classes[int(label)]
    if label not in classes:
        raise DataError(
            f"{path} has the label {label!r}, and {INDEX} has {len(classes)} classes, "
            f"{', '.join(classes[:3])}{' ...' if len(classes) > 3 else ''}; mend one of them"
        )
    return label


def _by(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdecimal() else (-1, label)
