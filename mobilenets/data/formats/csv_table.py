"""A CSV file of path, label and, where given, split; or of a path and several attributes."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.formats.attribute_columns import (
    attribute_table,
    list_attributes,
    share_of_values,
)
from mobilenets.data.formats.columns import (
    LABEL,
    Columns,
    columns_named,
    columns_unnamed,
    names_columns,
)
from mobilenets.data.formats.csv_rows import Line, Row, read_rows
from mobilenets.data.formats.listing import Listing, few, list_files
from mobilenets.data.formats.tree import reason, regular
from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError
from mobilenets.tasks.attributes import Attributes
from mobilenets.tasks.classification import Classification


class Csv(NamedTuple):
    """The rows of a CSV file under its header, if it has one."""

    path: Path
    columns: Columns
    rows: list[Line]
    headed: bool

    def cells(self, at: int | None) -> list[str]:
        """A column; empty where a row is too short."""
        return [
            row.cells[at] if at is not None and at < len(row.cells) else "" for row in self.rows
        ]


def list_csv(path: Path) -> Listing:
    """The listing of a CSV file; its paths are relative to its folder.

    A first line without an image names the columns: path (file, filename, image), label (class,
    category) and split (subset), in any order. Without a label but with two more columns or more,
    it is a table of attributes. Raises `DataError` with the line of the first row that cannot be
    meant, and where the table may be of classes or of attributes.
    """
    table = read_csv(path)
    return _list_attributes(table) if task_of(table) == Attributes.name else _list_classes(table)


def list_class_csv(path: Path) -> Listing:
    """`list_csv` of rows of one class each, however many columns there are."""
    return _list_classes(read_csv(path))


def list_attribute_csv(path: Path) -> Listing:
    """`list_csv` of a table of attributes, whatever its columns are called."""
    table = read_csv(path)
    if not table.headed:
        raise DataError(f"{path} does not name its attributes; write them above their columns")
    return _list_attributes(table)


def table_in(folder: Path) -> Csv | None:
    """The CSV file of classes or attributes in `folder`: where there is one CSV only, and it names
    images here."""
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        return None
    try:
        table = read_csv(tables[0])
    except DataError:
        return None
    paths = [folder / path for path in table.cells(table.columns.path)[:10]]
    if not any(is_image_name(path.name) and path.is_file() for path in paths):
        return None
    if table.columns.label is None and share_of_values(table.columns, table.rows) < 0.5:
        return None
    return table


def task_of(table: Csv) -> str:
    """The task that a table is for. Raises `DataError` where it may be either."""
    columns, named = table.columns, table.columns.label is not None
    if not table.headed or len(columns.others) < 2:
        return Classification.name
    if not named:
        return Attributes.name
    name = columns.names[columns.label or 0]
    if name.lower() != LABEL[0] and share_of_values(columns, table.rows) == 1:
        raise DataError(
            f"{table.path} can be read in two ways: {name!r} is the class, or one of "
            f"{len(columns.others)} attributes of 1 and 0; give --task classification or --task "
            "attributes"
        )
    return Classification.name


def names_folders(table: Csv) -> bool:
    """Whether the label of each image is the name of its folder."""
    rows = zip(table.cells(table.columns.path), table.cells(table.columns.label), strict=True)
    return all(Path(path.replace("\\", "/")).parent.name == label for path, label in rows)


def read_csv(path: Path) -> Csv:
    """The rows and columns of a CSV file, separated by commas, or by semicolons or tabs."""
    lines = read_lines(path)
    if lines and names_columns(lines[0]):
        return Csv(path, columns_named(lines[0], lines[1:]), lines[1:], headed=True)
    return Csv(path, columns_unnamed(lines), lines, headed=False)


def _list_attributes(table: Csv) -> Listing:
    return list_attributes(
        attribute_table(table.path, table.columns, table.rows), table.path.parent
    )


def _list_classes(table: Csv) -> Listing:
    columns = table.columns
    if columns.label is None:
        others = ", ".join(columns.names[at] for at in columns.others)
        raise DataError(
            f"{table.path} has no column called label, but {others or 'a path only'}; a row is "
            "path,label or path,label,split"
        )
    read = read_rows(table.path, table.path.parent, [_row(line, columns) for line in table.rows])
    return list_files(
        table.path.stem,
        str(table.path.parent),
        read.entries,
        skipped=read.skipped,
        notes=(*_said(columns), *read.notes),
    )


def _said(columns: Columns) -> tuple[str, ...]:
    """How columns were taken, where there are others."""
    if not columns.left or columns.label is None:
        return ()
    taken = {columns.path: "path", columns.label: "label", columns.split: "split"}
    read = [f"{columns.names[at]} as {what}" for at, what in taken.items() if at is not None]
    return (f"columns read: {', '.join(read)}; left out: {few(columns.left, shown=8)}",)


def _row(line: Line, columns: Columns) -> Row:
    if len(line.cells) > len(columns.names):
        raise DataError(
            f"{line.where}: a row is path,label or path,label,split, got {line.cells!r}; mend it"
        )
    at = {"path": columns.path, "label": columns.label, "split": columns.split}
    return Row(line.where, {
        name: line.cells[number]
        for name, number in at.items()
        if number is not None and number < len(line.cells)
    })  # fmt: skip


def read_lines(path: Path, *, most: int | None = None) -> list[Line]:
    """The lines of a CSV file that are not empty, at most so many. Raises `DataError`."""
    try:
        regular(path.stat())
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = _separator(file.readline())
            file.seek(0)
            reader = csv.reader(file, strict=True, delimiter=separator)
            lines = (
                Line(f"{path} line {reader.line_num}", [cell.strip() for cell in cells])
                for cells in reader
                if any(cells)
            )
            return list(islice(lines, most))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as CSV: {reason(error)}; save it as UTF-8 CSV"
        ) from error


def _separator(line: str) -> str:
    """A first line without commas may be of a spreadsheet that writes semicolons or tabs."""
    return next((one for one in ",;\t" if one in line), ",")
