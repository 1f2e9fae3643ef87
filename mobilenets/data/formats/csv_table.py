"""A CSV file of path, label and, where given, split; or of a path and several attributes."""

from __future__ import annotations

import csv
from pathlib import Path

from mobilenets.data.formats.attribute_columns import (
    Table,
    is_of_attributes,
    list_attributes,
    read_table,
)
from mobilenets.data.formats.csv_rows import Line, Row, entries
from mobilenets.data.formats.listing import Listing, list_files
from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError

COLUMNS = ("path", "label", "split")


def list_csv(path: Path) -> Listing:
    """The listing of a CSV file; its paths are relative to its folder.

    A first line with the words path and label names the columns, in any order; a first line whose
    path is no image name is a header too. With two more columns or more that are neither label nor
    split, it is a table of attributes. Raises `DataError` with the line of the first bad row.
    """
    lines = _lines(path)
    table = _table(path, lines)
    if table is None or not is_of_attributes(table):
        return _list_classes(path, lines)
    return list_attributes(table, path.parent)


def list_class_csv(path: Path) -> Listing:
    """`list_csv` of rows of one class each, however many columns there are."""
    return _list_classes(path, _lines(path))


def list_attribute_csv(path: Path) -> Listing:
    """`list_csv` of a table of attributes, whatever its columns are called."""
    table = _table(path, _lines(path))
    if table is None:
        raise DataError(f"{path} does not name its attributes; write them above their columns")
    return list_attributes(table, path.parent)


def attributes_in(folder: Path) -> Path | None:
    """The CSV of attributes in `folder`: where there is one CSV only, and it names images here."""
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        return None
    try:
        table = _table(tables[0], _lines(tables[0]))
    except DataError:
        return None
    if table is None or not is_of_attributes(table) or not table.rows:
        return None
    first = folder / table.rows[0].cells[table.columns.index("path")]
    return tables[0] if is_image_name(first.name) and first.is_file() else None


def _table(path: Path, lines: list[Line]) -> Table | None:
    """The lines under the first, where that names columns."""
    if not lines or is_image_name(Path(lines[0].cells[0]).name):
        return None
    return read_table(path, lines[0].cells, lines[1:])


def _list_classes(path: Path, lines: list[Line]) -> Listing:
    header = _header(lines[0].cells) if lines else None
    rows = [
        Row(line.where, _named(line, header or COLUMNS))
        for line in (lines if header is None else lines[1:])
    ]
    found = entries(path, path.parent, rows)
    return list_files(path.stem, str(path.parent), found, ignored=0)


def _lines(path: Path) -> list[Line]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            return [
                Line(f"{path} line {reader.line_num}", [cell.strip() for cell in cells])
                for cells in reader
                if any(cells)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}; save it as UTF-8 CSV") from error


def _header(cells: list[str]) -> tuple[str, ...] | None:
    """The columns that the first line names; None where it is a row like the others."""
    words = tuple(cell.lower() for cell in cells)
    if {"path", "label"} <= set(words):
        return words
    return None if is_image_name(Path(words[0]).name) else COLUMNS


def _named(line: Line, columns: tuple[str, ...]) -> dict[str, str]:
    named = dict(zip(columns, line.cells, strict=False))
    if len(line.cells) > len(columns) or not named.get("path") or not named.get("label"):
        raise DataError(
            f"{line.where}: a row is path,label or path,label,split, got {line.cells!r}; mend it"
        )
    return named
