"""Boxes in Pascal VOC's XML: a file an image, in Annotations/ or beside the images.

Pixels are counted from 1, the last one is part of the box: as VOC's own tools do, 1 is taken off
xmin and ymin. Many programs count from 0 instead. A set in which a box begins at 0 is read so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from mobilenets.data.formats.box_faults import Fault
from mobilenets.data.formats.box_listing import ABSENT, Drawn, list_boxes, path_under
from mobilenets.data.formats.box_places import Annotated, Box, Corners
from mobilenets.data.formats.listing import Listing, few, printable
from mobilenets.data.formats.split_names import is_split, split_named
from mobilenets.data.formats.tree import reason, regular
from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError

MOST_BYTES = 10 * 10**6  # VOC's own largest has 0.02 MB
_ANNOTATIONS = "annotations"
_IMAGES = ("JPEGImages", "images", "Images", "JPEGimages", "imgs")
_LISTS = ("train", "val", "trainval", "test")


def holds_voc(folder: Path) -> bool:
    """Whether there are XML files in Annotations/, in the folder, or in its train/ and the like."""
    return voc_file(folder) is not None


def voc_file(folder: Path) -> Path | None:
    """The first annotation of a folder, where it is one of these; folders below are not looked
    into."""
    tops = [one for one in folder.glob("*/") if one.name.lower() == _ANNOTATIONS]
    tops += [one for one in sorted(folder.glob("*/")) if is_split(one.name)]
    for top in (*tops, *(inner for one in tops for inner in sorted(one.glob("*/"))), folder):
        for path in sorted(top.glob("*.xml"))[:1]:
            if _holds_annotation(path):
                return path
    return None


def list_voc(folder: Path) -> Listing:
    """The listing of a folder; splits are those of ImageSets/Main, or of the folders train/,
    valid/ and test/. Raises `DataError`."""
    root = folder.parent if folder.name.lower() == _ANNOTATIONS else folder
    drawn = Drawn(root)
    _Reader(drawn, folder).read()
    return list_boxes(root.resolve().name, drawn)


@dataclass(slots=True)
class _Annotation:
    """A file's size of the image and its objects, and where the image may be."""

    path: Path
    filename: str
    size: tuple[int, int] | None
    objects: list[Box] = field(default_factory=list)


@final
class _Reader:
    """All files of a set, read into what is drawn."""

    def __init__(self, drawn: Drawn, folder: Path) -> None:
        self.drawn = drawn
        self.files = list(_files(folder))
        self.lists = _lists(drawn.root)
        self.stems: dict[Path, dict[str, list[str]]] = {}

    def read(self) -> None:
        """Add the images that have a file."""
        found = [one for path in self.files for one in self._parsed(path)]
        begin = 0 if self._from_zero(found) else 1
        for one in found:
            path = self._image(one)
            splits = self._splits(one.path)
            if isinstance(path, Path):
                boxes = [_from(begin, box) for box in one.objects]
                name = path_under(self.drawn.root, path)
                self.drawn.images += [Annotated(name, s, boxes, one.size) for s in splits]
            elif splits:
                self.drawn.skipped.append((one.filename or one.path.name, path))
        self._find_unannotated()

    def _parsed(self, path: Path) -> Iterator[_Annotation]:
        try:
            yield self._annotation(path, parse_xml(path))
        except (OSError, ValueError) as error:
            name = path_under(self.drawn.root, path)
            self.drawn.skipped.append((name, f"its annotation cannot be read: {reason(error)}"))

    def _annotation(self, path: Path, root: Element) -> _Annotation:
        if root.tag != "annotation":
            raise ValueError(f"it is <{printable(root.tag)[:40]}>, not <annotation>")
        one = _Annotation(path, _text(root, "filename"), _size(root))
        for thing in root.iterfind("object"):
            corners, label = _corners(thing), _text(thing, "name")
            if corners is None or not label:
                fault = Fault.NOT_FOUR if corners is None else Fault.UNLISTED_CLASS
                self.drawn.faults.add(fault, path_under(self.drawn.root, path))
                continue
            uncounted = _text(thing, "difficult") in ("1", "true", "True")
            one.objects.append(Box(corners, printable(label), uncounted))
        return one

    def _from_zero(self, found: Iterable[_Annotation]) -> bool:
        at = [one for one in found for thing in one.objects if 0 in thing.corners[:2]]
        if at:
            self.drawn.notes.append(
                "pixels are read as counted from 0, not from 1 as in Pascal VOC: "
                f"{len(at):,} of the boxes begin at 0 (the first, {at[0].path.name})"
            )
        return bool(at)

    def _splits(self, path: Path) -> list[str]:
        """The splits that an annotation's image is in."""
        if self.lists:
            splits = [split for split, stems in self.lists.items() if path.stem in stems]
            if not splits:
                self.drawn.faults.add(Fault.NOT_IN_A_LIST, path.stem)
            return splits
        parts = path.relative_to(self.drawn.root).parts[:-1]
        names = (split_named(part) for part in parts if is_split(part))
        return [next((name.split for name in names if name), "")]

    def _image(self, one: _Annotation) -> Path | str:
        """The image of the file's name, or of the name in it; or why there is none."""
        for folder in self._folders(one.path):
            names = self._stems(folder).get(one.path.stem, [])
            if len(names) > 1 and one.filename not in names:
                return f"several images are called so: {few(names)}"
            if names:
                return folder / (one.filename if len(names) > 1 else names[0])
            inside = one.filename.replace("\\", "/").rpartition("/")[2]
            if inside in self._stems(folder).get(Path(inside).stem, []):
                return folder / inside
        return ABSENT

    def _folders(self, path: Path) -> Iterator[Path]:
        """Where its image may be: as the file in Annotations/, or beside the file."""
        inside = path.parent.relative_to(self.drawn.root).parts
        for name in _IMAGES:
            swapped = (name if part.lower() == _ANNOTATIONS else part for part in inside)
            yield self.drawn.root.joinpath(*swapped)
        yield path.parent
        yield from (self.drawn.root / name for name in _IMAGES)
        yield self.drawn.root

    def _stems(self, folder: Path) -> dict[str, list[str]]:
        """The images in a folder by their names without suffix."""
        if folder not in self.stems:
            stems: dict[str, list[str]] = {}
            names = [one.name for one in folder.iterdir()] if folder.is_dir() else []
            for name in sorted(filter(is_image_name, names)):
                stems.setdefault(Path(name).stem, []).append(name)
            self.stems[folder] = stems
        return self.stems[folder]

    def _find_unannotated(self) -> None:
        """Skip what is in a list and has no annotation."""
        annotated = {path.stem for path in self.files}
        for split, stems in self.lists.items():
            for stem in sorted(stems - annotated):
                self.drawn.skipped.append((stem, f"listed as {split}, without an annotation"))


def _files(folder: Path) -> Iterator[Path]:
    inside = [one for one in sorted(folder.glob("*/")) if one.name.lower() == _ANNOTATIONS]
    for top in inside or [folder]:
        yield from sorted(one for one in top.rglob("*.xml") if not one.name.startswith("."))


def _lists(root: Path) -> dict[str, set[str]]:
    """The images' names of each split in ImageSets/Main; empty where there are no lists."""
    folder = root / "ImageSets" / "Main"
    found = {name: _stems_in(folder / f"{name}.txt") for name in _LISTS}
    lists = {name: stems for name, stems in found.items() if stems}
    both = lists.pop("trainval", set())
    if both and "train" not in lists:
        lists["train"] = both - lists.get("val", set())
    return lists


def _stems_in(path: Path) -> set[str]:
    if not path.exists():
        return set()
    try:
        regular(path.stat())
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}; copy it again") from error
    return {line.split()[0] for line in lines if line.strip()}


def parse_xml(path: Path) -> Element:
    """The root of a small XML file. A DOCTYPE is refused, as entities could make it any size.
    Raises `OSError`, and `ValueError` that says what is wrong and in which line."""
    size = regular(path.stat()).st_size
    if size > MOST_BYTES:
        raise ValueError(f"it has {size / 1e6:.0f} MB, over the {MOST_BYTES / 1e6:g} that are read")
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        words = expat.errors.messages[error.code]
        raise ValueError(f"broken XML, line {error.lineno}: {words}") from error
    return builder.close()


def _refuse_doctype(*_: object) -> None:
    raise ValueError("it has a DOCTYPE, which is not read")


def _holds_annotation(path: Path) -> bool:
    try:
        return parse_xml(path).tag == "annotation"
    except (OSError, ValueError):
        return path.parent.name.lower() == _ANNOTATIONS


def _text(element: Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _size(root: Element) -> tuple[int, int] | None:
    """Width and height, where both are told; many programs write 0 where they do not know."""
    try:
        wide, high = (int(float(_text(root, f"size/{side}"))) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (wide, high) if wide > 0 and high > 0 else None


def _corners(thing: Element) -> Corners | None:
    box = thing.find("bndbox")
    if box is None:
        return None
    try:
        x1, y1, x2, y2 = (float(_text(box, side)) for side in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return None
    return x1, y1, x2, y2


def _from(begin: int, box: Box) -> Box:
    """With `begin` taken off the upper left corner, whichever was written first."""
    x1, y1, x2, y2 = box.corners
    corners = (x1 - begin * (x1 <= x2), y1 - begin * (y1 <= y2),
               x2 - begin * (x2 < x1), y2 - begin * (y2 < y1))  # fmt: skip
    return box._replace(corners=corners)
