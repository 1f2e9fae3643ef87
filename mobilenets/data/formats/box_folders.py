"""Which format of boxes a folder holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.formats.box_table import box_tables, list_box_tables
from mobilenets.data.formats.coco import coco_files, list_coco, list_coco_folder
from mobilenets.data.formats.listing import Listing, few
from mobilenets.data.formats.voc import list_voc, voc_file
from mobilenets.data.formats.yolo import holds_labels, list_yolo, yaml_files
from mobilenets.errors import DataError

BOX_KINDS = (
    "COCO's .json, a folder with one or with Pascal VOC's .xml files, YOLO's data.yaml or its "
    "folder with images/ and labels/, or a .csv file of path,x1,y1,x2,y2,label"
)
_MOST_FOLDERS = 20  # in which boxes are looked for: a folder of more has classes
# Files that are boxes by their suffix.
_BY_SUFFIX: dict[str, Callable[[Path], Listing]] = {
    ".json": list_coco, ".yaml": list_yolo, ".yml": list_yolo,
}  # fmt: skip


class BoxReading(NamedTuple):
    """A way to read a folder: `first` is a file or folder that it is read by."""

    format: str
    first: Path
    read: Callable[[], Listing]


def box_readings(folder: Path) -> list[BoxReading]:
    """All ways to read a folder as images with boxes."""
    found = []
    if json := coco_files(folder):
        found.append(BoxReading("COCO", json[0], partial(list_coco_folder, folder)))
    if xml := voc_file(folder):
        found.append(BoxReading("Pascal VOC", xml.parent, partial(list_voc, folder)))
    if yaml := yaml_files(folder):
        found += [BoxReading("YOLO", one, partial(list_yolo, one)) for one in yaml]
    elif holds_labels(folder):
        found.append(BoxReading("YOLO", _labels(folder), partial(list_yolo, folder)))
    if tables := box_tables(folder):
        found.append(BoxReading("CSV", tables[0], partial(list_box_tables, folder)))
    return found


def _labels(folder: Path) -> Path:
    inside = folder / "labels"
    return inside if inside.is_dir() else folder


def find_boxes(folder: Path) -> BoxReading | None:
    """The one way to read a folder, or the only folder in it that holds boxes, as images with
    boxes; None where there is none. Raises `DataError` where there are several."""
    found = box_readings(folder)
    if len(found) > 1:
        ways = " or ".join(f"{one.format} by '{one.first}'" for one in found)
        raise DataError(
            f"{folder} can be read in {len(found)} ways: as {ways}; give one of these, "
            "or move the others elsewhere"
        )
    if found:
        return found[0]
    inside = [one for one in sorted(folder.glob("*/")) if not one.name.startswith(".")]
    full = [one for one in inside[:_MOST_FOLDERS] if _holds_boxes(one)]
    if len(full) > 1:
        names = few([one.name for one in full])
        raise DataError(f"{folder} holds several sets of boxes, {names}; give one of them")
    return _inside(full[0]) if full else None


def _holds_boxes(folder: Path) -> bool:
    """Not one that may not be listed, such as lost+found."""
    with suppress(PermissionError):
        return bool(box_readings(folder))
    return False


def _inside(folder: Path) -> BoxReading:
    found = find_boxes(folder)
    assert found is not None

    def read() -> Listing:
        listing = found.read()
        return replace(listing, notes=(f"{folder} is read: it holds the boxes", *listing.notes))

    return found._replace(read=read)


def list_box_folder(folder: Path) -> Listing:
    """The listing of a folder of images with boxes. Raises `DataError`."""
    found = find_boxes(folder)
    if found is None:
        raise DataError(f"{folder} holds no boxes; give {BOX_KINDS}")
    return found.read()


def list_box_file(path: Path) -> Listing | None:
    """The listing of a file that its suffix tells to be of boxes; None of another."""
    read = _BY_SUFFIX.get(path.suffix.lower())
    return read(path) if read else None
