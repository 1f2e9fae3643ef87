"""A CSV file of path, label and, where given, split."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.listing import Entry, Listing, list_files
from mobilenets.data.read import is_image_name
from mobilenets.data.split import SPELLINGS
from mobilenets.errors import DataError

COLUMNS = ("path", "label", "split")


class _Row(NamedTuple):
    where: str
    cells: dict[str, str]


def list_csv(path: Path) -> Listing:
    """The listing of a CSV file; its paths are relative to its folder.

    A first line with the words path and label names the columns, in any order; a first line whose
    path is no image name is a header too. Raises `DataError` with the line of the first bad row.
    """
    rows = list(_rows(path))
    seen: dict[str, str] = {}
    entries = [_entry(path.parent, row, seen) for row in rows]
    if len({bool(entry.split) for entry in entries}) > 1:
        raise DataError(f"{path} gives a split to some rows only; give it to all or to none")
    return list_files(path.stem, str(path.parent), entries, ignored=0)


def _rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(f"{path} line {reader.line_num}", cells) for cells in reader if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}; save it as UTF-8 CSV") from error
    header = _header(lines[0][1]) if lines else None
    for where, cells in lines if header is None else lines[1:]:
        yield _Row(where, _named(where, [cell.strip() for cell in cells], header or COLUMNS))


def _header(cells: list[str]) -> tuple[str, ...] | None:
    """The columns that the first line names; None where it is a row like the others."""
    words = tuple(cell.strip().lower() for cell in cells)
    if {"path", "label"} <= set(words):
        return words
    return None if is_image_name(Path(words[0]).name) else COLUMNS


def _named(where: str, cells: list[str], columns: tuple[str, ...]) -> dict[str, str]:
    named = dict(zip(columns, cells, strict=False))
    if len(cells) > len(columns) or not named.get("path") or not named.get("label"):
        raise DataError(f"{where}: a row is path,label or path,label,split, got {cells!r}; mend it")
    return named


def _entry(folder: Path, row: _Row, seen: dict[str, str]) -> Entry:
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
