"""A row of a table of images: its cells by column, and the file it names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.formats.listing import Entry
from mobilenets.data.split import SPELLINGS
from mobilenets.errors import DataError


class Line(NamedTuple):
    """The cells of a line, and where it is, for complaints."""

    where: str
    cells: list[str]


class Row(NamedTuple):
    """`cells` has a path and a label, and perhaps a split."""

    where: str
    cells: dict[str, str]


def entries(table: Path, root: Path, rows: Iterable[Row]) -> list[Entry]:
    """The rows of `table` as entries; paths are relative to `root`. Raises `DataError` with the
    first bad row: an unknown split, a path that was there before, no such file."""
    seen: dict[str, str] = {}
    found = [_entry(root, row, seen) for row in rows]
    if len({bool(entry.split) for entry in found}) > 1:
        raise DataError(f"{table} gives a split to some rows only; give it to all or to none")
    return found


def _entry(folder: Path, row: Row, seen: dict[str, str]) -> Entry:
    """The row as an entry; notes in `seen` which line had which path."""
    path, split = row.cells["path"], row.cells.get("split", "").lower()
    if split and split not in SPELLINGS:
        raise DataError(f"{row.where}: split must be train, val or test, got {split!r}; mend it")
    if path in seen:
        raise DataError(f"{row.where} repeats {path!r} of {seen[path]}; keep one of them")
    seen[path] = row.where
    try:
        stat = (folder / path).stat()
    except OSError as error:
        raise DataError(
            f"{row.where}: {folder / path} is not there ({error.strerror}); paths are relative to "
            f"{folder}"
        ) from error
    return Entry(path, row.cells["label"], SPELLINGS.get(split, ""), stat.st_size, stat.st_mtime_ns)
