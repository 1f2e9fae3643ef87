"""Boxes in COCO's JSON (arXiv:1405.0312): a file, or a folder of several with their images.

`bbox` is x, y, width, height in pixels, x and y counted from 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict, final

from mobilenets.data.formats.box_faults import Fault
from mobilenets.data.formats.box_listing import (
    ABSENT,
    Drawn,
    list_boxes,
    path_under,
)
from mobilenets.data.formats.box_places import Annotated, Box, Corners, around
from mobilenets.data.formats.listing import Listing, few, printable
from mobilenets.data.formats.split_names import UNLABELLED, split_named
from mobilenets.data.formats.tree import reason, regular
from mobilenets.errors import DataError
from mobilenets.shapes import shaped

# COCO's own largest, instances_train2017.json, has 0.45 GB.
MOST_BYTES = 2 * 10**9
ROBOFLOW = "_annotations.coco.json"
_ANNOTATIONS = "annotations"
_KEYS = (b'"images"', b'"annotations"', b'"categories"')


class _Image(TypedDict):
    id: int | str
    file_name: str
    width: NotRequired[Any]
    height: NotRequired[Any]


class _Category(TypedDict):
    id: int | str
    name: str


class _Coco(TypedDict):
    images: list[_Image]
    annotations: list[Any]
    categories: list[_Category]


def holds_coco(path: Path) -> bool:
    """Whether a .json file has what COCO's has: images, annotations and categories. Without
    parsing it."""
    try:
        content = _content(path)
    except (OSError, ValueError):
        return False
    return all(key in content for key in _KEYS)


def coco_files(folder: Path) -> list[Path]:
    """The files of boxes in a folder: in annotations/ (of these instances*.json, where there are
    any), in the folder itself, and Roboflow's in train/, valid/ and test/."""
    inside = sorted(folder.glob(f"{_ANNOTATIONS}/*.json"))
    inside = [one for one in inside if one.name.startswith("instances")] or inside
    own = [*sorted(folder.glob("*.json")), *sorted(folder.glob(f"*/{ROBOFLOW}"))]
    return [one for one in (*inside, *own) if holds_coco(one)]


def list_coco(path: Path) -> Listing:
    """The listing of one file; its images lie beside it, in images/, in a folder called like it, or
    likewise beside its annotations/. Raises `DataError`."""
    drawn = Drawn(path.parent.parent if path.parent.name == _ANNOTATIONS else path.parent)
    _Reader(path, "", drawn).read()
    return list_boxes(path.stem, drawn)


def list_coco_folder(folder: Path) -> Listing:
    """The listing of a folder: a file a split, which its name (instances_val2017.json) or its
    folder's (valid/_annotations.coco.json) tells; or a single file. Raises `DataError`."""
    drawn = Drawn(folder)
    files = coco_files(folder)
    for path, split in _splits(folder, files, drawn):
        _Reader(path, split, drawn).read()
    return list_boxes(folder.resolve().name, drawn)


def _splits(folder: Path, files: list[Path], drawn: Drawn) -> Iterator[tuple[Path, str]]:
    if len(files) < 2:
        yield from ((path, "") for path in files)
        return
    told: dict[str, Path] = {}
    for path in files:
        split = _split(path)
        if split == UNLABELLED:
            drawn.notes.append(f"{path} left out: not for training by its name")
            continue
        if not split or split in told:
            names = [path_under(folder, one) for one in files]
            raise DataError(
                f"{folder} has several files of annotations, and their names do not tell which is "
                f"train and which is val: {few(names)}; give one of them"
            )
        told[split] = path
    drawn.notes.append(
        "splits read: " + ", ".join(f"{path_under(folder, p)} as {s}" for s, p in told.items())
    )
    yield from ((path, split) for split, path in told.items())


def _split(path: Path) -> str:
    name = split_named(path.parent.name if path.name == ROBOFLOW else path.stem)
    return name.split if name else ""


@final
class _Reader:
    """One file, read into what is drawn."""

    def __init__(self, path: Path, split: str, drawn: Drawn) -> None:
        self.path = path
        self.split = split
        self.drawn = drawn
        self.found = _parsed(path)
        self.folders = list(_folders(path))

    def read(self) -> None:
        """Add its images, with their boxes."""
        labels, images = self._labels(), self._images()
        boxes: dict[str, list[Box]] = {key: [] for key in images}
        for one in self.found["annotations"]:
            key, box = self._box(one, labels, images)
            if isinstance(box, Fault):
                self.drawn.faults.add(box, key)
            else:
                boxes[key].append(box)
        for key, one in images.items():
            path = self._file(one["file_name"])
            if path is None:
                self.drawn.skipped.append((printable(one["file_name"]), ABSENT))
            else:
                self.drawn.images.append(Annotated(path, self.split, boxes[key], _size(one)))

    def _labels(self) -> dict[str, str]:
        """The class of each category's id, in the order of the ids."""
        listed = sorted(self.found["categories"], key=lambda one: _in_order(one["id"]))
        labels: dict[str, str] = {}
        for one in listed:
            key, name = str(one["id"]), printable(one["name"]) or f"category {one['id']}"
            if labels.get(key, name) != name:
                raise DataError(
                    f"{self.path} has two categories of the id {key}, {labels[key]!r} and "
                    f"{name!r}; give each an id of its own"
                )
            if key not in labels and name in labels.values():
                self.drawn.faults.add(Fault.SAME_NAME, f"{name}, id {key}")
            labels[key] = name
        self.drawn.labels += [one for one in labels.values() if one not in self.drawn.labels]
        self.drawn.labels[:] = dict.fromkeys(self.drawn.labels)
        return labels

    def _images(self) -> dict[str, _Image]:
        """By their ids; two of one id are left out, as nobody knows whose the boxes are."""
        images: dict[str, _Image] = {}
        unclear = dict[str, list[str]]()
        for one in self.found["images"]:
            first = images.setdefault(str(one["id"]), one)
            if first["file_name"] != one["file_name"]:
                names = unclear.setdefault(str(one["id"]), [first["file_name"]])
                names.append(one["file_name"])
            elif first is not one:
                self.drawn.faults.add(Fault.LISTED_TWICE, printable(one["file_name"]))
        for key, names in unclear.items():
            del images[key]
            why = f"several images have the id {key} in {self.path.name}"
            self.drawn.skipped += [(printable(name), why) for name in names]
        return images

    def _box(
        self, one: Any, labels: dict[str, str], images: dict[str, _Image]
    ) -> tuple[str, Box | Fault]:
        """The image's id and the box; or where there is none, and the fault."""
        if not isinstance(one, dict):
            return self.path.name, Fault.NOT_FOUR
        key, category = str(one.get("image_id")), str(one.get("category_id"))
        if key not in images:
            return f"image_id {key} in {self.path.name}", Fault.UNLISTED_IMAGE
        name = printable(images[key]["file_name"])
        if category not in labels:
            return f"category_id {category}, {name}", Fault.UNLISTED_CLASS
        corners = self._corners(one, name)
        if isinstance(corners, Fault):
            return name, corners
        uncounted = any(one.get(flag) in (1, True) for flag in ("iscrowd", "ignore"))
        return key, Box(corners, labels[category], uncounted)

    def _corners(self, one: dict[str, Any], name: str) -> Corners | Fault:
        """Of the bbox, or around the polygons."""
        box = _numbers(one.get("bbox"))
        if box is not None and len(box) == 4:
            x, y, wide, high = box
            return Fault.NO_SIZE if wide <= 0 or high <= 0 else (x, y, x + wide, y + high)
        points = _polygon_points(one.get("segmentation")) if not one.get("bbox") else None
        if not points:
            return Fault.NOT_FOUR
        self.drawn.faults.add(Fault.FROM_POLYGON, name)
        return around(points)

    def _file(self, name: str) -> str | None:
        """The path of an image by its file_name, or by the end of that, which may be of another
        machine."""
        turned = name.replace("\\", "/")
        for wanted in dict.fromkeys((turned, turned.rpartition("/")[2])):
            for folder in self.folders:
                if wanted and _is_file(folder / wanted):
                    self.folders.remove(folder)  # where the next one is, most likely
                    self.folders.insert(0, folder)
                    return path_under(self.drawn.root, folder / wanted)
        return None


def _content(path: Path) -> bytes:
    """Raises `OSError`, and `ValueError` for what is no file or too large."""
    size = regular(path.stat()).st_size
    if size > MOST_BYTES:
        raise ValueError(f"it has {size / 1e9:.1f} GB, over the {MOST_BYTES / 1e9:g} that are read")
    return path.read_bytes()


def _parsed(path: Path) -> _Coco:
    try:
        found: _Coco = shaped(json.loads(_content(path)), _Coco)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} line {error.lineno} is no JSON: {error.msg}; export the annotations again"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply; export the annotations again") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as COCO's JSON: {reason(error)}; export the annotations again"
        ) from error
    if not found["images"]:
        raise DataError(f"{path} lists no images; export the annotations again")
    return found


def _folders(path: Path) -> Iterable[Path]:
    """Where the images of a file may lie, the likeliest first."""
    words = dict.fromkeys(("images", path.stem, path.stem.partition("_")[2], _split(path), "data"))
    tops = [path.parent]
    if path.parent.name == _ANNOTATIONS:
        tops.insert(0, path.parent.parent)
    for top in tops:
        inside = [top / word for word in words if word]
        deeper = [top / "images" / word for word in words if word]
        yield from (one for one in (top, *inside, *deeper) if one.is_dir())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long; a null byte
        return False


def _in_order(key: int | str) -> tuple[bool, int, str]:
    """Numbers by their value, before words."""
    return (isinstance(key, str), key if isinstance(key, int) else 0, str(key))


def _size(one: _Image) -> tuple[int, int] | None:
    """Width and height, where both are told."""
    found = _numbers([one.get("width"), one.get("height")])
    if found is None or not all(0 < side < 1e9 for side in found):
        return None
    return int(found[0]), int(found[1])


def _numbers(values: Any) -> list[float] | None:
    """A list of numbers, finite or not; None for anything else."""
    if not isinstance(values, list) or any(type(one) not in (int, float) for one in values):
        return None
    try:
        return [float(one) for one in values]
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _polygon_points(segmentation: Any) -> list[float]:
    """All points of an object's polygons; none of a mask's."""
    if not isinstance(segmentation, list):
        return []
    polygons = [_numbers(one) or [] for one in segmentation]
    return [value for one in polygons if len(one) >= 6 and not len(one) % 2 for value in one]
