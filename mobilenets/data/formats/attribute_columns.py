"""Tables of attributes: a row an image, a column of 1, 0 (or -1) or nothing for each attribute."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from mobilenets.data.formats.columns import Columns
from mobilenets.data.formats.csv_rows import Line, Row, read_rows
from mobilenets.data.formats.listing import Listing, fingerprint
from mobilenets.data.formats.tree import reason, regular
from mobilenets.data.source import Files
from mobilenets.errors import DataError
from mobilenets.tasks.attributes import Attributes, AttributeTable

CELEBA = "list_attr_celeba.txt"
_CELEBA_IMAGES, _CELEBA_SPLIT = "img_align_celeba", "list_eval_partition.txt"
_PATH, _SPLIT = "path", "split"
_VALUES = {"1": 1.0, "0": 0.0, "-1": 0.0, "": np.nan}


@final
@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header; of `columns` one is path, one may be split, the rest are attributes."""

    path: Path
    columns: tuple[str, ...]
    rows: list[Line]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Their names, as they are written."""
        return tuple(name for name in self.columns if name not in (_PATH, _SPLIT))


def attribute_table(path: Path, columns: Columns, rows: list[Line]) -> Table:
    """The table whose columns, but for path and split, are attributes."""
    names = list(columns.names)
    names[columns.path] = _PATH
    if columns.split is not None:
        names[columns.split] = _SPLIT
    return Table(path, tuple(names), rows)


def share_of_values(columns: Columns, rows: list[Line]) -> float:
    """How many of the cells that are not empty hold what an attribute may, 0 to 1."""
    cells = [line.cells[at] for line in rows for at in columns.others if at < len(line.cells)]
    filled = [cell for cell in cells if cell]
    return sum(cell in _VALUES for cell in filled) / max(1, len(filled))


def list_attributes(table: Table, root: Path) -> Listing:
    """The listing of a table whose paths are relative to `root`; an empty cell is unknown. Raises
    `DataError` with the line of a bad row."""
    names = table.attributes
    _check_names(table)
    read = read_rows(table.path, root, [_row(table, line) for line in table.rows])
    found = read.entries
    values = [one.label.split(",") for one in found]
    _check_minus(table, {cell for row in values for cell in row})
    known = np.array([[_VALUES[cell] for cell in row] for row in values], np.float32)
    return Listing(
        name=table.path.stem,
        task=Attributes(names),
        source=Files(tuple(one.path for one in found), str(root)),
        targets=AttributeTable(known.reshape(-1, len(names))),
        given=np.array([one.split for one in found], dtype=np.str_),
        described=fingerprint(repr(part).encode() for part in (names, *map(tuple, found))),
        flip=True,
        notes=read.notes,
        skipped=read.skipped,
    )


def list_celeba(path: Path) -> Listing:
    """The listing of CelebA's list_attr_celeba.txt: how many images, the names of the attributes, a
    line an image with 1 and -1; split as list_eval_partition.txt beside it says, where that is.
    The images are in img_align_celeba/ beside it, or beside it themselves."""
    lines = _words(path)
    if len(lines) < 2:
        raise DataError(f"{path} is not CelebA's list of attributes; copy it again")
    columns = Columns((_PATH, *lines[1].cells), path=0, label=None, split=None)
    table = attribute_table(path, columns, lines[2:])
    parts = path.with_name(_CELEBA_SPLIT)
    if parts.exists():
        table = _with_split(table, _words(parts))
    folder = path.parent / _CELEBA_IMAGES
    return list_attributes(table, folder if folder.is_dir() else path.parent)


def _words(path: Path) -> list[Line]:
    try:
        regular(path.stat())
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}; copy it again") from error
    lines = [Line(f"{path} line {at}", one.split()) for at, one in enumerate(text.splitlines(), 1)]
    return [line for line in lines if line.cells]


def _with_split(table: Table, lines: list[Line]) -> Table:
    """The table with what the partition says: 0 train, 1 val, 2 test."""
    words = {"0": "train", "1": "val", "2": "test"}
    said = {line.cells[0]: words.get(line.cells[-1], line.cells[-1]) for line in lines}
    rows = [Line(row.where, [*row.cells, said.get(row.cells[0], "")]) for row in table.rows]
    return Table(table.path, (*table.columns, _SPLIT), rows)


def _check_names(table: Table) -> None:
    counts = Counter(table.attributes)
    twice = [name for name, count in counts.items() if count > 1]
    if twice or "" in counts:
        what = f"two columns called {twice[0]!r}" if twice else "a column without a name"
        raise DataError(f"{table.path} has {what}; give each attribute a name of its own")
    if len(counts) < 2:
        raise DataError(
            f"{table.path} has {len(counts)} columns of attributes and needs two at least; for one "
            "question give a CSV of path,label"
        )


def _row(table: Table, line: Line) -> Row:
    """Its label is the attributes' cells, joined by commas."""
    if len(line.cells) != len(table.columns):
        raise DataError(
            f"{line.where} has {len(line.cells)} cells where the first line names "
            f"{len(table.columns)} columns; mend it"
        )
    cells = dict(zip(table.columns, line.cells, strict=True))
    for name in table.attributes:
        if cells[name] not in _VALUES:
            raise DataError(
                f"{line.where}: attribute {name!r} must be 1, 0 or -1, or empty where it is "
                f"unknown, got {cells[name]!r}; mend it, or call the column of the classes 'label'"
            )
    label = ",".join(cells[name] for name in table.attributes)
    return Row(line.where, {_PATH: cells[_PATH], _SPLIT: cells.get(_SPLIT, ""), "label": label})


def _check_minus(table: Table, values: set[str]) -> None:
    """-1 is "not there" to some and "not sure" to others, who have 0 beside it."""
    if {"0", "-1"} <= values:
        raise DataError(
            f"{table.path} has both 0 and -1; write 0 where an attribute is not there, and nothing "
            "where it is unknown"
        )
