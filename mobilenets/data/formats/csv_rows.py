"""A row of a table of images: its cells by column, and the file it names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.formats.listing import Entry, few, printable
from mobilenets.data.formats.split_names import split_named
from mobilenets.data.formats.tree import reason, regular
from mobilenets.errors import DataError
from mobilenets.text import counted


class Line(NamedTuple):
    """The cells of a line, and where it is, for complaints."""

    where: str
    cells: list[str]


class Row(NamedTuple):
    """`cells` has a path and a label, and perhaps a split."""

    where: str
    cells: dict[str, str]


class Rows(NamedTuple):
    """The images that a table names, and what is to be said of its other rows: `skipped` are
    (path, reason)."""

    entries: list[Entry]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


class _Unusable(Exception):
    """A row that names no image with a label, and why."""


def read_rows(table: Path, root: Path, rows: Iterable[Row]) -> Rows:
    """The rows of `table`; paths are relative to `root`. A row without path or label, or whose file
    is not there, is skipped. Raises `DataError` with the first row that cannot be meant: an unknown
    split, a path that was there before with another label; and where all are skipped."""
    seen: dict[str, tuple[str, Entry]] = {}
    skipped, repeated, turned = dict[str, str](), list[str](), 0
    for row in rows:
        path = row.cells.get("path", "")
        try:
            entry = _entry(root, row)
        except _Unusable as error:
            skipped[path or row.where] = f"{error} ({row.where})" if path else str(error)
            continue
        turned += entry.path != path
        if entry.path in seen:
            _check_repeated(row, entry, *seen[entry.path])
            repeated.append(row.where)
        seen.setdefault(entry.path, (row.where, entry))
    found = [entry for _, entry in seen.values()]
    _check_split(table, found)
    if skipped and not found:
        name, why = next(iter(skipped.items()))
        raise DataError(
            f"{table} names no image that can be used: all {len(skipped)} rows are skipped (the "
            f"first, {name}: {why}); paths are relative to {root}"
        )
    return Rows(found, tuple(skipped.items()), (*_said_repeated(repeated), *_said_turned(turned)))


def _entry(folder: Path, row: Row) -> Entry:
    path, label, told = (row.cells.get(name, "") for name in ("path", "label", "split"))
    name = split_named(told)
    split = name.split if name and not name.rest else ""
    if told and split not in ("train", "val", "test"):
        raise DataError(f"{row.where}: split must be train, val or test, got {told!r}; mend it")
    if not path or not label:
        raise _Unusable("no label" if path else "no path")
    return Entry(_found(folder, path), printable(label), split)


def _found(folder: Path, path: str) -> str:
    """The path as it is found here, one of Windows by its folders."""
    turned = path.replace("\\", "/")
    try:
        if turned != path and not (folder / path).exists():
            path = turned
        regular((folder / path).stat())
    except (OSError, ValueError) as error:  # ValueError: a null byte in it, or it is no file
        raise _Unusable(reason(error)) from error
    return path


def _check_repeated(row: Row, entry: Entry, where: str, first: Entry) -> None:
    if entry != first:
        raise DataError(
            f"{row.where} repeats {entry.path!r} of {where} with another label or split; correct "
            "one of them"
        )


def _check_split(table: Path, found: list[Entry]) -> None:
    if len({bool(entry.split) for entry in found}) > 1:
        raise DataError(f"{table} gives a split to some rows only; give it to all or to none")


def _said_repeated(where: list[str]) -> tuple[str, ...]:
    return (
        (f"{counted(len(where), 'row')} left out, the same twice: {few(where)}",) if where else ()
    )


def _said_turned(count: int) -> tuple[str, ...]:
    return (f"{counted(count, 'path')} with \\ read as folders",) if count else ()
