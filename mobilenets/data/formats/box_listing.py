"""The listing of images with boxes: what the formats read, put onto the upright images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from mobilenets.data.formats.box_faults import Fault, Faults
from mobilenets.data.formats.box_places import Annotated, Box, Corners, placed, view_of
from mobilenets.data.formats.listing import Listing, few, fingerprint, printable
from mobilenets.data.pool import each
from mobilenets.data.read import Frame, frame, is_image_name
from mobilenets.data.source import Files
from mobilenets.errors import DataError
from mobilenets.progress import report
from mobilenets.tasks.boxes import CLASS, BoxLists
from mobilenets.tasks.detection import Detection

ABSENT = "No such file or directory"
_KINDS_TOLD = 3  # of the faults, where no box is left


@final
@dataclass(slots=True, eq=False)
class Drawn:
    """What a format has read: images with boxes, which lie under `root`; the `labels` of their
    classes in the order of their numbers; what was `skipped`, (name, reason); faults and notes."""

    root: Path
    images: list[Annotated] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    notes: list[str] = field(default_factory=list)


_Placed = tuple[Box, Corners]  # and where it is on the upright image


class _Kept(NamedTuple):
    image: Annotated
    boxes: list[_Placed]


def list_boxes(name: str, drawn: Drawn) -> Listing:
    """The listing of what was drawn. The header of every file is read, for its size and its EXIF
    orientation. Raises `DataError` where no image or no box can be used, and where some images have
    a split and others none."""
    images = _once(drawn)
    kept = _placed(images, drawn)
    _check_some(drawn, kept)
    _check_splits(drawn, images)
    _find_others(drawn, images)
    labels = _used(drawn, kept)
    number = {label: at for at, label in enumerate(labels)}
    targets = BoxLists.of([_rows(one, number) for one in kept])
    return Listing(
        name=name,
        task=Detection(labels),
        source=Files(tuple(one.image.path for one in kept), str(drawn.root)),
        targets=targets,
        given=np.array([one.image.split for one in kept], dtype=np.str_),
        described=_described(labels, kept, targets),
        flip=True,
        notes=(*drawn.notes, *drawn.faults.notes()),
        skipped=tuple(dict(drawn.skipped).items()),
    )


def path_under(root: Path, path: Path) -> str:
    """As a listing has it: relative to `root` where it lies there."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path.absolute())


def _once(drawn: Drawn) -> list[Annotated]:
    """Each image once in a split, with all its boxes."""
    found: dict[tuple[str, str], Annotated] = {}
    for one in drawn.images:
        before = found.get((one.path, one.split))
        if before is not None:
            drawn.faults.add(Fault.LISTED_TWICE, one.path)
            one = one._replace(boxes=[*before.boxes, *one.boxes])
        found[one.path, one.split] = one
    return list(found.values())


def _placed(images: list[Annotated], drawn: Drawn) -> list[_Kept]:
    """The images that can be used, with the boxes that are left of theirs."""
    frames = each(lambda at: frame(Path(drawn.root, images[at].path)), len(images),
                  progress=partial(report, "reading image sizes"))  # fmt: skip
    kept = []
    for one, found in zip(images, frames, strict=True):
        boxes = found if isinstance(found, str) else _boxes(one, found, drawn.faults)
        if isinstance(boxes, str):
            drawn.skipped.append((one.path, boxes))
        else:
            kept.append(_Kept(one, boxes))
    return kept


def _boxes(one: Annotated, found: Frame, faults: Faults) -> list[_Placed] | str:
    view = view_of(one, found, faults)
    if isinstance(view, str):
        return view
    boxes: dict[tuple[Corners, str], Box] = {}
    for box in one.boxes:
        corners = placed(box, one, view, faults)
        if isinstance(corners, Fault):
            faults.add(corners, one.path)
        elif (corners, box.label) in boxes:
            faults.add(Fault.TWICE, one.path)
        else:
            boxes[corners, box.label] = box
    for box in boxes.values():
        if box.uncounted:
            faults.add(Fault.UNCOUNTED, one.path)
    return [(box, corners) for (corners, _), box in boxes.items()]


def _check_some(drawn: Drawn, kept: list[_Kept]) -> None:
    if not kept:
        first, why = drawn.skipped[0] if drawn.skipped else ("none", "no image is listed")
        raise DataError(
            f"{drawn.root} has no image with boxes that can be used: {len(drawn.skipped)} are "
            f"skipped (the first, {first}: {why}); check the paths in the annotations"
        )
    if not any(not box.uncounted for one in kept for box, _ in one.boxes):
        found = "; ".join(drawn.faults.notes()[:_KINDS_TOLD]) or "none is annotated"
        raise DataError(f"{drawn.root} has no box that can be used: {found}; check the annotations")


def _check_splits(drawn: Drawn, images: list[Annotated]) -> None:
    without = [one.path for one in images if not one.split]
    if without and len(without) < len(images):
        raise DataError(
            f"{drawn.root} gives a split to {len(images) - len(without):,} images and none to "
            f"{len(without):,} (the first, {without[0]}); give it to all or to none"
        )


def _find_others(drawn: Drawn, images: Iterable[Annotated]) -> None:
    """Count the images beside those that are annotated, which no annotation names."""
    named = {Path(drawn.root, one.path) for one in images}
    named |= {Path(drawn.root, path) for path, _ in drawn.skipped}
    for folder in sorted({path.parent for path in named}):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if is_image_name(path.name) and path not in named:
                    drawn.faults.add(Fault.NOT_ANNOTATED, path_under(drawn.root, path))


def _used(drawn: Drawn, kept: list[_Kept]) -> tuple[str, ...]:
    """The classes that have a box that counts."""
    counts = Counter(box.label for one in kept for box, _ in one.boxes if not box.uncounted)
    listed = dict.fromkeys(drawn.labels or sorted({b.label for k in kept for b, _ in k.boxes}))
    for label in listed:
        if not counts[label]:
            drawn.faults.add(Fault.NO_BOX, printable(label))
    return tuple(label for label in listed if counts[label])


def _rows(one: _Kept, number: dict[str, int]) -> NDArray[np.float32]:
    """(n, 6) as `BoxLists` has them, in an order that does not depend on the annotations'."""
    rows = [
        (*corners, float(number[box.label]), float(box.uncounted))
        for box, corners in one.boxes
        if box.label in number
    ]
    rows.sort(key=lambda row: (row[CLASS], row))
    return np.array(rows, np.float32).reshape(-1, 6)


def _described(labels: tuple[str, ...], kept: list[_Kept], targets: BoxLists) -> str:
    images = (repr((one.image.path, one.image.split)).encode() for one in kept)
    return fingerprint([repr(labels).encode(), *images, targets.values.tobytes()])


def check_two(root: Path, what: str, names: Iterable[str]) -> None:
    """Raise `DataError` where there are two of what one is needed of."""
    found = sorted(names)
    if len(found) > 1:
        raise DataError(f"{root} has {what}: {few(found)}; give one of them")
