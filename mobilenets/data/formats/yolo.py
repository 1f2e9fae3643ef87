"""Boxes in YOLO's text files: one an image, a line a box.

A line is the number of the class, the box's centre x and y, its width and height, as parts (0 to 1)
of the image's. images/a.jpg has labels/a.txt, or a.txt beside it; an image without one shows
nothing. More numbers are the points of a polygon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict, final

from mobilenets.data.formats.box_faults import Fault
from mobilenets.data.formats.box_listing import ABSENT, Drawn, list_boxes, path_under
from mobilenets.data.formats.box_places import Annotated, Box, around
from mobilenets.data.formats.listing import Listing, printable
from mobilenets.data.formats.split_names import is_split, split_named
from mobilenets.data.formats.tree import reason, regular, scan
from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError
from mobilenets.shapes import shaped
from mobilenets.text import counted

MOST_BYTES = 10 * 10**6
_MOST_YAML_BYTES = 10**6
_IMAGES, _LABELS = "images", "labels"
_NAMES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "classes.names")
_PIXELS = 1.5  # no part is above it, however carelessly a box was drawn beyond the edge


class _Yaml(TypedDict):
    """What is read of a data.yaml; each split is a folder, a list in a .txt file, or several."""

    names: list[Any] | dict[Any, Any]
    path: NotRequired[str | None]
    train: NotRequired[str | list[str] | None]
    val: NotRequired[str | list[str] | None]
    valid: NotRequired[str | list[str] | None]
    test: NotRequired[str | list[str] | None]


def yaml_files(folder: Path) -> list[Path]:
    """The files of a folder that name classes, as data.yaml does; they are not parsed."""
    found = chain(sorted(folder.glob("*.yaml")), sorted(folder.glob("*.yml")))
    return [path for path in found if re.search(r"^names\s*:", _start_of(path), re.MULTILINE)]


def holds_labels(folder: Path) -> bool:
    """Whether there are labels/ with text files beside images/, here or in train/ and the like; or
    text files beside images, and the names of the classes. Or this is labels/."""
    if folder.name == _LABELS and (folder.parent / _IMAGES).is_dir() and _has_text(folder):
        return True
    tops = [folder, *(one for one in folder.glob("*/") if is_split(one.name))]
    if any((top / _IMAGES).is_dir() and _has_text(top / _LABELS) for top in tops):
        return True
    return _named_in(folder) is not None and any(
        path.suffix == ".txt" and path.name not in _NAMES for path in folder.iterdir()
    )


def list_yolo(path: Path) -> Listing:
    """The listing of a data.yaml, or of a folder without one. Raises `DataError`."""
    if path.is_dir():
        root = path.parent if path.name == _LABELS else path
        drawn = Drawn(root)
        names, images = _names_in(root, drawn), _images_in(root)
        _Reader(drawn, names).read(images)
        return list_boxes(root.resolve().name, drawn)
    found = _parsed(path)
    root = _root(path, found)
    drawn = Drawn(root)
    names = _names_of(path, found["names"])
    points = "kpt_shape" in found
    _Reader(drawn, names, points=points).read(_images_of(path, root, found, drawn))
    return list_boxes(path.resolve().parent.name, drawn)


class _Image(NamedTuple):
    path: Path
    split: str


class _BrokenLine(Exception):
    """What is wrong with a line."""


@final
class _Reader:
    """The label files of images, read into what is drawn; with `points`, numbers behind a box are
    those of key points."""

    def __init__(self, drawn: Drawn, names: dict[int, str] | None, *, points: bool = False) -> None:
        self.drawn = drawn
        self.names = names
        self.points = points
        self.numbers = set[int]()

    def read(self, images: list[_Image]) -> None:
        """Add the images whose labels can be read."""
        labels = {one.path: _labels_of(one.path) for one in images}
        if images and not any(labels.values()):
            raise DataError(
                f"none of {counted(len(images), 'image')} has a label file (the first, "
                f"{images[0].path}, none called {_likely(images[0].path)}); put them there"
            )
        for path, split in images:
            self._read_one(path, split, labels[path])
        self._find_lone({one for one in labels.values() if one})
        known = self.names or {at: str(at) for at in sorted(self.numbers)}
        self.drawn.labels += dict.fromkeys(known[at] for at in sorted(known))
        self._find_alike(known)

    def _read_one(self, path: Path, split: str, label_file: Path | None) -> None:
        name = path_under(self.drawn.root, path)
        if label_file is None:
            self.drawn.faults.add(Fault.BACKGROUND, name)
            return self.drawn.images.append(Annotated(name, split, [], parts=True))
        try:
            boxes = list(self._boxes(label_file))
        except (OSError, ValueError, _BrokenLine) as error:
            where = path_under(self.drawn.root, label_file)
            return self.drawn.skipped.append((name, f"its labels, {where}, {reason(error)}"))
        return self.drawn.images.append(Annotated(name, split, boxes, parts=True))

    def _boxes(self, path: Path) -> Iterator[Box]:
        where = path_under(self.drawn.root, path)
        for at, line in enumerate(_text(path).splitlines(), 1):
            if not line.strip():
                continue
            box = self._box(line.split(), f"{where} line {at}", f"line {at}")
            if isinstance(box, Fault):
                self.drawn.faults.add(box, f"{where} line {at}")
            else:
                yield box

    def _box(self, words: list[str], where: str, line: str) -> Box | Fault:
        number, values = _values(words, line)
        if self.points:
            values = values[:4]
        polygon = len(values) >= 6 and len(values) % 2 == 0
        if len(values) != 4 and not polygon:
            raise _BrokenLine(f"{line}: it has {len(words)} numbers; a box has 5")
        if max(values) > _PIXELS:
            return Fault.IN_PIXELS
        if self.names is not None and number not in self.names:
            return Fault.UNLISTED_CLASS
        self.numbers.add(number)
        label = self.names[number] if self.names is not None else str(number)
        if polygon:
            self.drawn.faults.add(Fault.FROM_POLYGON, where)
            return Box(around(values), label)
        x, y, wide, high = values
        if wide <= 0 or high <= 0:
            return Fault.NO_SIZE
        return Box((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), label)

    def _find_lone(self, used: set[Path]) -> None:
        """Skip label files without an image."""
        for folder in sorted({path.parent for path in used}):
            for path in sorted(folder.glob("*.txt")):
                if path not in used and path.name not in _NAMES and _is_labels(path):
                    name = path_under(self.drawn.root, path)
                    self.drawn.skipped.append((name, "no image has these labels"))

    def _find_alike(self, known: dict[int, str]) -> None:
        first: dict[str, int] = {}
        for number in sorted(known):
            if first.setdefault(known[number], number) != number:
                self.drawn.faults.add(Fault.SAME_NAME, f"{known[number]}, number {number}")


def _values(words: list[str], line: str) -> tuple[int, list[float]]:
    """The number of the class, and what follows it."""
    try:
        number, *values = map(float, words)
        whole = int(number)
    except (ValueError, OverflowError) as error:
        raise _BrokenLine(f"{line}: not all of it are numbers") from error
    if whole != number or whole < 0:
        raise _BrokenLine(f"{line}: the class must be a whole number, got {words[0][:20]!r}")
    return whole, values


def _text(path: Path) -> str:
    """Raises `OSError`, and `ValueError` for what is no small text file."""
    size = regular(path.stat()).st_size
    if size > MOST_BYTES:
        raise ValueError(f"has {size / 1e6:.0f} MB, over the {MOST_BYTES / 1e6:g} that are read")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("is no text in UTF-8") from error


def _start_of(path: Path) -> str:
    try:
        return _text(path) if path.stat().st_size <= _MOST_YAML_BYTES else ""
    except (OSError, ValueError):
        return ""


def _has_text(folder: Path) -> bool:
    return next(folder.rglob("*.txt"), None) is not None


def _is_labels(path: Path) -> bool:
    """Whether a text file is of labels, by its first line."""
    words = _start_of(path).split("\n", 1)[0].split()
    return len(words) >= 5 and re.fullmatch(r"\d+(\.0*)?", words[0]) is not None


# Where label files are


def _likely(image: Path) -> Path:
    """labels/a.txt for images/a.jpg: of the last folder that is called so."""
    parts = list(image.parts)
    at = next((at for at in range(len(parts) - 2, -1, -1) if parts[at] == _IMAGES), None)
    if at is not None:
        parts[at] = _LABELS
    return Path(*parts).with_suffix(".txt")


def _labels_of(image: Path) -> Path | None:
    places = dict.fromkeys((_likely(image), image.with_suffix(".txt")))
    return next((path for path in places if path.is_file()), None)


# A folder without data.yaml


def _images_in(root: Path) -> list[_Image]:
    """All images under a folder; its splits are those of folders on the way."""
    found = []
    for path in scan(root).top.walk():
        names = (split_named(part) for part in path.split("/")[:-1] if is_split(part))
        found.append(_Image(root / path, next((name.split for name in names if name), "")))
    return found


def _named_in(root: Path) -> Path | None:
    """The file with the classes' names."""
    places = (folder / name for folder in (root, root / _LABELS) for name in _NAMES)
    return next((path for path in places if path.is_file() and not _is_labels(path)), None)


def _names_in(root: Path, drawn: Drawn) -> dict[int, str] | None:
    """The names of a classes.txt, a line each; None, and a note, where there is none."""
    path = _named_in(root)
    if path is None:
        drawn.notes.append(
            f"{root} does not name its classes, which are called by their numbers; write their "
            "names into classes.txt, a line each"
        )
        return None
    try:
        lines = _text(path).splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}; write it again") from error
    return {at: printable(line.strip()) for at, line in enumerate(lines) if line.strip()}


# data.yaml


def _parsed(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise DataError(
            f"{path} takes PyYAML to be read; pip install 'mobilenets[detection]'"
        ) from error
    try:
        size = regular(path.stat()).st_size
        if size > _MOST_YAML_BYTES:
            raise ValueError(f"it has {size / 1e6:.0f} MB, over the 1 that is read")
        found: dict[str, Any] = shaped(yaml.safe_load(_text(path)), _Yaml)
        return found
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"{path} line {line} is no YAML: {error.problem}; mend it") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else reason(error)
        raise DataError(
            f"{path} cannot be read as YOLO's YAML: {why}; it has names, train and val"
        ) from error


def _names_of(path: Path, names: list[Any] | dict[Any, Any]) -> dict[int, str]:
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    found: dict[int, str] = {}
    for number, name in pairs:
        if type(number) is not int or type(name) not in (int, float, str):
            raise DataError(
                f"{path}: each class has a number and a name in names, got {number!r}: {name!r}; "
                "write names in quotes"
            )
        found[number] = printable(str(name))
    return found


def _root(path: Path, found: dict[str, Any]) -> Path:
    """The folder that the yaml's paths are relative to: as it says, where there is one."""
    told = path.parent / (found.get("path") or "")
    return told if told.is_dir() else path.parent


def _images_of(path: Path, root: Path, found: dict[str, Any], drawn: Drawn) -> list[_Image]:
    images: list[_Image] = []
    for key in ("train", "val", "valid", "test"):
        told = found.get(key) or []
        for one in [told] if isinstance(told, str) else told:
            split = "val" if key == "valid" else key
            images += (_Image(image, split) for image in _listed(path, root, one, drawn))
    return _without_same(path, images, drawn)


def _without_same(path: Path, images: list[_Image], drawn: Drawn) -> list[_Image]:
    """The images with a val that is cut, where there is none or it is those of train again."""
    parts: dict[str, list[Path]] = {}
    for one in images:
        parts.setdefault(one.split, []).append(one.path)
    same = sorted(parts.get("val", [])) == sorted(parts.get("train", []))
    if same and images:
        drawn.notes.append(f"val has the same images as train in {path.name}: a part is cut off")
        del parts["val"]
    splits = {"train": ""} if set(parts) == {"train"} else {}
    return [_Image(one, splits.get(split, split)) for split, all_ in parts.items() for one in all_]


def _listed(path: Path, root: Path, told: str, drawn: Drawn) -> Iterator[Path]:
    """The images of a folder or of a list; a split that is not there is said."""
    place = _place(path, root, told)
    if place is None:
        drawn.notes.append(f"{told}, named in {path.name}, is left out: there is nothing")
    elif place.is_dir():
        yield from (place / one for one in scan(place).top.walk())
    else:
        yield from _in_list(place, drawn)


def _place(path: Path, root: Path, told: str) -> Path | None:
    """Where it is. Roboflow writes ../train/images for train/images beside the yaml."""
    bare = told
    while bare.startswith("../"):
        bare = bare[3:]
    places = (root / told, path.parent / told, root / bare, path.parent / bare)
    return next((one for one in places if one.exists()), None)


def _in_list(place: Path, drawn: Drawn) -> Iterator[Path]:
    """The images whose paths stand in a text file, relative to it or to the set's folder."""
    try:
        lines = [line.strip() for line in _text(place).splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{place} {reason(error)}; give a list of images there") from error
    for line in filter(None, lines):
        found = next((one for one in (drawn.root / line, place.parent / line) if one.is_file()),
                     None)  # fmt: skip
        if found is not None and is_image_name(found.name):
            yield found
        else:
            drawn.skipped.append((printable(line), ABSENT if found is None else "no image's name"))
