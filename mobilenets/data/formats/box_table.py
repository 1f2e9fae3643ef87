"""Boxes in a CSV file: a row a box, with the path of its image.

The columns are path, x1, y1, x2, y2, label, perhaps width and height of the image, and split,
called so or as TensorFlow's tutorials, RetinaNet and Open Images call them. Corners are in pixels,
x and y counted from 0. A row with a path only is an image without a box.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from mobilenets.data.formats.box_listing import ABSENT, Drawn, list_boxes
from mobilenets.data.formats.box_places import Annotated, Box
from mobilenets.data.formats.columns import LABEL, PATH, SPLIT
from mobilenets.data.formats.csv_rows import Line
from mobilenets.data.formats.csv_table import read_lines
from mobilenets.data.formats.listing import Listing, few, printable
from mobilenets.data.formats.split_names import split_named
from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError

ROBOFLOW = "_annotations.csv"
_CORNERS = {
    "x1": ("x1", "xmin", "x_min", "left", "bbox_x1"),
    "y1": ("y1", "ymin", "y_min", "top", "bbox_y1"),
    "x2": ("x2", "xmax", "x_max", "right", "bbox_x2"),
    "y2": ("y2", "ymax", "y_max", "bottom", "bbox_y2"),
}
_COLUMNS = {
    "path": (*PATH, "imageid", "image_id"),
    **_CORNERS,
    "label": (*LABEL, "labelname", "label_name", "name"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
    "split": SPLIT,
}
# RetinaNet's, without a line of names.
_PLAIN = ("path", "x1", "y1", "x2", "y2", "label", "split")
_NEEDED = ("path", *_CORNERS, "label")


def is_box_table(path: Path) -> bool:
    """Whether a CSV file has columns of boxes."""
    try:
        lines = read_lines(path, most=2)
    except DataError:
        return False
    return bool(lines) and (_named(lines[0]) is not None or _is_plain(lines[0]))


def box_tables(folder: Path) -> list[Path]:
    """The CSV files of boxes in a folder, and Roboflow's in its train/, valid/ and test/."""
    found = [*sorted(folder.glob("*.csv")), *sorted(folder.glob(f"*/{ROBOFLOW}"))]
    return [path for path in found if is_box_table(path)]


def list_box_table(path: Path) -> Listing:
    """The listing of a CSV file; its paths are relative to its folder. Raises `DataError`."""
    drawn = Drawn(path.parent)
    _Reader(path, "", drawn).read()
    return list_boxes(path.stem, drawn)


def list_box_tables(folder: Path) -> Listing:
    """The listing of a folder's files, of which each is a split by its name or its folder's; or of
    a single file. Raises `DataError`."""
    drawn = Drawn(folder)
    files = box_tables(folder)
    splits = [_split(path) if len(files) > 1 else "" for path in files]
    if len(files) > 1 and ("" in splits or len(set(splits)) < len(splits)):
        raise DataError(
            f"{folder} has several tables of boxes, and their names do not tell which is train and "
            f"which is val: {few([path.name for path in files])}; give one of them"
        )
    for path, split in zip(files, splits, strict=True):
        _Reader(path, split, drawn).read()
    return list_boxes(folder.resolve().name, drawn)


def _split(path: Path) -> str:
    name = split_named(path.parent.name if path.name == ROBOFLOW else path.stem)
    return name.split if name else ""


class _Unusable(Exception):
    """Why an image cannot be used: one of its rows cannot be meant."""


@final
class _Reader:
    """The rows of one file, read into what is drawn; `split` is that of all, "" where each row
    tells its own."""

    def __init__(self, path: Path, split: str, drawn: Drawn) -> None:
        self.path = path
        self.split = split
        self.drawn = drawn
        lines = read_lines(path)
        named = _named(lines[0]) if lines else None
        if named is None and (not lines or not _is_plain(lines[0])):
            raise DataError(
                f"{path} has no columns of boxes: a row is path,x1,y1,x2,y2,label; write these "
                "names above the columns"
            )
        self.columns = named or {name: at for at, name in enumerate(_PLAIN)}
        self.rows = lines[1:] if named else lines

    def read(self) -> None:
        """Add the images that are there."""
        rows: dict[str, list[Line]] = {}
        for line in self.rows:
            rows.setdefault(self._cell(line, "path"), []).append(line)
        parts = self._in_parts()
        for name, lines in rows.items():
            try:
                path, split = self._file(name, lines[0]), self._split(lines)
                boxes = [box for line in lines for box in self._boxes(line)]
                size = self._size(lines)
            except _Unusable as error:
                self.drawn.skipped.append((printable(name) or lines[0].where, str(error)))
            else:
                self.drawn.images.append(Annotated(path, split, boxes, size, parts))

    def _cell(self, line: Line, name: str) -> str:
        at = self.columns.get(name)
        return line.cells[at] if at is not None and at < len(line.cells) else ""

    def _in_parts(self) -> bool:
        """Whether no corner is above 1: as Open Images has them, parts of width and height."""
        found = [_number(self._cell(line, name)) for line in self.rows for name in _CORNERS]
        known = [one for one in found if one is not None and math.isfinite(one)]
        parts = bool(known) and max(known) <= 1
        if parts:
            self.drawn.notes.append(
                f"no corner in {self.path.name} is above 1: they are read as parts of the image's "
                "width and height"
            )
        return parts

    def _file(self, name: str, line: Line) -> str:
        """The image's path from the set's folder."""
        if not name:
            raise _Unusable("no path")
        inside = self.path.parent.relative_to(self.drawn.root)
        turned = name.replace("\\", "/")
        for one in (inside / name, inside / turned, inside / "images" / turned):
            for path in (one, one.with_name(f"{one.name}.jpg")):  # Open Images gives no suffix
                if _is_image(self.drawn.root / path):
                    return path.as_posix()
        raise _Unusable(ABSENT)

    def _split(self, lines: Sequence[Line]) -> str:
        told = {self._cell(line, "split") for line in lines}
        if len(told) > 1:
            raise _Unusable(f"its rows tell several splits: {', '.join(sorted(told))}")
        word = told.pop()
        name = split_named(word)
        if word and (name is None or name.rest or name.split not in ("train", "val", "test")):
            raise _Unusable(f"split must be train, val or test, got {word[:40]!r}")
        return self.split or (name.split if name else "")

    def _boxes(self, line: Line) -> Iterator[Box]:
        """The box of a row; none where all of its cells are empty."""
        cells = {name: self._cell(line, name) for name in (*_CORNERS, "label")}
        if not any(cells.values()):
            return
        at = line.where.rpartition(" line ")[2]
        if not cells["label"]:
            raise _Unusable(f"{self.path.name} line {at}: no label")
        corners = [_number(cells[name]) for name in _CORNERS]
        for name, value in zip(_CORNERS, corners, strict=True):
            if value is None:
                raise _Unusable(
                    f"{self.path.name} line {at}: {name} is no number, {cells[name][:40]!r}"
                )
        x1, y1, x2, y2 = (value or 0.0 for value in corners)
        yield Box((x1, y1, x2, y2), printable(cells["label"]))

    def _size(self, lines: Sequence[Line]) -> tuple[int, int] | None:
        told = {(self._cell(line, "width"), self._cell(line, "height")) for line in lines}
        if len(told) > 1:
            raise _Unusable("its rows tell several sizes of the image")
        wide, high = (_number(cell) for cell in told.pop())
        if wide is None or high is None or not (0 < wide < 1e9 and 0 < high < 1e9):
            return None
        return int(wide), int(high)


def _named(header: Line) -> dict[str, int] | None:
    """The columns by their meaning; None where the first line does not name those of a box."""
    words = [re.sub(r"[\s-]+", "_", cell.lower()) for cell in header.cells]
    found = {
        name: next(at for at, word in enumerate(words) if word in known)
        for name, known in _COLUMNS.items()
        if any(word in known for word in words)
    }
    return found if all(name in found for name in _NEEDED) else None


def _is_plain(line: Line) -> bool:
    """path,x1,y1,x2,y2,label with numbers, or with nothing behind the path."""
    if len(line.cells) not in (6, 7) or not is_image_name(Path(line.cells[0]).name):
        return False
    corners = line.cells[1:5]
    return not any(line.cells[1:6]) or all(_number(cell) is not None for cell in corners)


def _is_image(path: Path) -> bool:
    try:
        return is_image_name(path.name) and path.is_file()
    except (OSError, ValueError):  # a name too long; a null byte
        return False


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
