"""Which column of a table of images is which: told by its name, else by what is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.formats.csv_rows import Line
from mobilenets.data.formats.split_names import is_split
from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError

# The first of each is what we call it, and goes before the others.
PATH = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path",
    "image_name", "image_file", "img", "img_path", "img_name",
)  # fmt: skip
LABEL = ("label", "labels", "class", "class_name", "classname", "category", "target")
SPLIT = ("split", "subset", "partition", "set")


class Columns(NamedTuple):
    """The columns' names as they are written, and the numbers of those with a meaning."""

    names: tuple[str, ...]
    path: int
    label: int | None
    split: int | None

    @property
    def others(self) -> list[int]:
        """All but path and split: the label, attributes, or what else there is."""
        return [at for at in range(len(self.names)) if at not in (self.path, self.split)]

    @property
    def left(self) -> list[str]:
        """The names of those that say nothing of a class."""
        return [self.names[at] for at in self.others if at != self.label]


def names_columns(line: Line) -> bool:
    """Whether a table's first line names its columns: no cell of it is an image."""
    return not any(_is_image(cell) for cell in line.cells)


def columns_named(header: Line, rows: Sequence[Line]) -> Columns:
    """Those of a table whose first line names them. Raises `DataError` where two could be meant."""
    words = [re.sub(r"[\s-]+", "_", cell.lower()) for cell in header.cells]
    path = _called(PATH, words, header)
    if path is None:
        path = _with_images(rows) or 0
    label = _called(LABEL, words, header)
    split = _called(SPLIT, words, header)
    if split is None or not (words[split] == SPLIT[0] or _tells_split(rows, split)):
        split = _with_splits(rows, set(range(len(words))) - {path, label})
    columns = Columns(tuple(header.cells), path, label, split)
    only = columns.others if label is None else []
    return columns._replace(label=only[0]) if len(only) == 1 else columns


def columns_unnamed(rows: Sequence[Line]) -> Columns:
    """path,label or path,label,split; the path is where an image is, or first."""
    path = _with_images(rows[:1]) or 0
    label, split = [at for at in range(3) if at != path]
    count = 3 if path == 2 or any(len(row.cells) > 2 for row in rows) else 2
    if count == 2:
        return Columns(("path", "label"), path, 1 - path, None)
    names = {path: "path", label: "label", split: "split"}
    return Columns(tuple(names[at] for at in range(3)), path, label, split)


def _called(names: tuple[str, ...], words: list[str], header: Line) -> int | None:
    found = [at for at, word in enumerate(words) if word in names]
    if names[0] in words:
        return words.index(names[0])
    if len(found) > 1:
        both = " and ".join(repr(header.cells[at]) for at in found)
        raise DataError(
            f"{header.where} has the columns {both}, and each may be the {names[0]}; call the one "
            f"that is meant {names[0]!r}"
        )
    return found[0] if found else None


def _is_image(cell: str) -> bool:
    return is_image_name(Path(cell).name)


def _with_images(rows: Sequence[Line]) -> int | None:
    """The first column whose cells are images."""
    cells = rows[0].cells if rows else []
    return next((at for at, cell in enumerate(cells) if _is_image(cell)), None)


def _with_splits(rows: Sequence[Line], columns: set[int]) -> int | None:
    """The column that holds nothing but train, val and test."""
    for at in sorted(columns):
        cells = {row.cells[at] for row in rows if at < len(row.cells)}
        if cells and all(is_split(cell) for cell in cells):
            return at
    return None


def _tells_split(rows: Sequence[Line], at: int) -> bool:
    return any(at < len(row.cells) and is_split(row.cells[at]) for row in rows)
