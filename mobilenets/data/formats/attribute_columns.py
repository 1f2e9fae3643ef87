"""Tables of attributes: a row an image, a column of 1, 0 (or -1) or nothing for each attribute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from mobilenets.data.formats.csv_rows import Line, Row, entries
from mobilenets.data.formats.listing import Listing, fingerprint
from mobilenets.data.source import Files
from mobilenets.data.split import SPELLINGS
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


def read_table(path: Path, header: Sequence[str], rows: list[Line]) -> Table:
    """The path is in the column of that name, else in the first."""
    words = [name.lower() for name in header]
    columns = [word if word == _SPLIT else name for name, word in zip(header, words, strict=True)]
    columns[words.index(_PATH) if _PATH in words else 0] = _PATH
    return Table(path, tuple(columns), rows)


def is_of_attributes(table: Table) -> bool:
    """Whether nobody can have meant path,label,split: there are two columns of labels or more, none
    of them called so, and the last does not hold splits."""
    names = [name.lower() for name in table.attributes]
    last = {row.cells[-1].lower() for row in table.rows}
    return len(names) > 1 and "label" not in names and not (
        table.columns[-1] != _SPLIT and last & set(SPELLINGS)
    )  # fmt: skip


def list_attributes(table: Table, root: Path) -> Listing:
    """The listing of a table whose paths are relative to `root`; an empty cell is unknown. Raises
    `DataError` with the line of a bad row."""
    names = table.attributes
    _check_names(table)
    found = entries(table.path, root, [_row(table, line) for line in table.rows])
    values = [one.label.split(",") for one in found]
    _check_minus(table, {cell for row in values for cell in row})
    known = np.array([[_VALUES[cell] for cell in row] for row in values], np.float32)
    return Listing(
        name=table.path.stem,
        task=Attributes(names),
        source=Files(tuple(one.path for one in found), str(root)),
        targets=AttributeTable(known.reshape(-1, len(names))),
        given=np.array([one.split for one in found], dtype=np.str_),
        fingerprint=fingerprint(repr(part).encode() for part in (names, *map(tuple, found))),
        flip=True,
    )


def list_celeba(path: Path) -> Listing:
    """The listing of CelebA's list_attr_celeba.txt: how many images, the names of the attributes, a
    line an image with 1 and -1; split as list_eval_partition.txt beside it says, where that is.
    The images are in img_align_celeba/ beside it, or beside it themselves."""
    lines = _words(path)
    if len(lines) < 2:
        raise DataError(f"{path} is not CelebA's list of attributes; copy it again")
    table = read_table(path, [_PATH, *lines[1].cells], lines[2:])
    parts = path.with_name(_CELEBA_SPLIT)
    if parts.exists():
        table = _with_split(table, _words(parts))
    folder = path.parent / _CELEBA_IMAGES
    return list_attributes(table, folder if folder.is_dir() else path.parent)


def _words(path: Path) -> list[Line]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; copy it again") from error
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
                f"unknown, got {cells[name]!r}; mend it or remove the column"
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
