"""`load_images`: from a folder, a CSV file or a built-in name to `Images`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.data.content import Contents, contents_of
from mobilenets.data.copies import copies_said
from mobilenets.data.formats.attribute_columns import CELEBA, list_celeba
from mobilenets.data.formats.box_folders import (
    BOX_KINDS,
    BoxReading,
    find_boxes,
    list_box_file,
    list_box_folder,
)
from mobilenets.data.formats.box_table import is_box_table, list_box_table
from mobilenets.data.formats.builtin import BUILT_IN
from mobilenets.data.formats.csv_table import (
    list_attribute_csv,
    list_class_csv,
    list_csv,
    names_folders,
    table_in,
    task_of,
)
from mobilenets.data.formats.folders import is_pattern, list_folder, list_pattern
from mobilenets.data.formats.idx import holds_idx, list_idx
from mobilenets.data.formats.listing import Listing, few, fingerprint, skipped_note
from mobilenets.data.formats.shards import holds_shards, list_shards
from mobilenets.data.formats.tree import holds_images
from mobilenets.data.grey import Values, known_values, look
from mobilenets.data.images import Images
from mobilenets.data.pool import Progress
from mobilenets.data.reading import AUTO_READING, Reading
from mobilenets.data.split import Split, SplitRule, divide
from mobilenets.errors import DataError
from mobilenets.tasks.attributes import Attributes
from mobilenets.tasks.classification import Classification
from mobilenets.tasks.detection import Detection
from mobilenets.tasks.targets import Indices

_KINDS = (
    "a folder per class, a folder with train/ and val/, a folder of .tar shards, a .csv file of "
    f"path,label or of path and attributes, boxes ({BOX_KINDS}), or one of {', '.join(BUILT_IN)}"
)


def load_images(
    data: str | Path,
    *,
    seed: int = 0,
    val_fraction: float = 0.2,
    holdout_fraction: float = 0.1,
    known: dict[str, Any] | None = None,
    task: str | None = None,
    reading: Reading = AUTO_READING,
    progress: Progress | None = None,
) -> Images:
    """Labelled images with their split; every file is opened once to see whether it can be read.

    `data` is a built-in name (digits, fashion-mnist; a folder so called is "./digits" or a `Path`)
    or a path:

    - a folder per class, the same under train/, val/ and test/, or a pattern of class folders
      ("photos/*/*");
    - a folder with MNIST's four idx files;
    - WebDataset shards: a folder of them or "folder/{000..011}.tar";
    - a CSV file of path,label and perhaps split;
    - attributes: a CSV file of path and several columns of 1, 0 (or -1) or nothing, CelebA's
      list_attr_celeba.txt, or the folder with one of these;
    - boxes: COCO's JSON, Pascal VOC's XML, YOLO's text files or data.yaml, a CSV file of
      path,x1,y1,x2,y2,label, or the folder with one of these.

    `task`, a name of `mobilenets.tasks`, says which is meant; None looks. Where two readings of a
    folder are possible, both are named and none is taken. What was read is remembered in the cache
    folder: files that have not changed are not opened again. Raises `DataError`.

    `reading` says which values of 16-bit, 32-bit and float grey are black and white, one range for
    all images, and how they are resized; by default as suits the training images. `known` is an
    earlier record (`Images.to_json`): what was seen of the same images stands.
    """
    rule = SplitRule(seed, val_fraction, holdout_fraction)
    found = find_images(data, task=task, reading=reading, progress=progress)
    return found.split(rule, known)


def find_images(
    data: str | Path,
    *,
    task: str | None = None,
    reading: Reading = AUTO_READING,
    progress: Progress | None = None,
) -> Found:
    """The images of `load_images` before they are split: every file is read once, and remembered.
    Raises `DataError`."""
    _check_task(task)
    listing = _list(data, task)
    if not len(listing.source):
        raise DataError(f"{data} holds no images in class folders; give {_KINDS}")
    contents = contents_of(listing.source, progress)
    if not contents.sides.any():
        raise DataError(
            f"none of the {len(contents.sides)} images can be read (the first, "
            f"{listing.source.name(0)}: {contents.reasons[0]}); replace them"
        )
    return Found(data, listing, contents, _suited(reading, listing))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Labelled images of which it is known what their files hold."""

    data: str | Path
    listing: Listing
    contents: Contents
    reading: Reading

    @property
    def fingerprint(self) -> str:
        """Of names, labels, given splits and what the files hold, not of where they lie or when
        they were written."""
        parts = (self.listing.described.encode(), self.contents.digests.astype("<u8").tobytes())
        return fingerprint(parts)

    @property
    def usable(self) -> Indices:
        """Those that can be read."""
        usable = np.flatnonzero(self.contents.sides)
        skipped = {name for name, _ in self.listing.skipped}
        if not skipped:
            return usable
        name = self.listing.source.name
        return np.array([at for at in usable if name(int(at)) not in skipped], dtype=np.int64)

    def split(self, rule: SplitRule, known: dict[str, Any] | None = None) -> Images:
        """To train, choose and report: as given, or cut by the rule. Raises `DataError` where there
        are too few for that."""
        listing, usable = self.listing, self.usable
        listing.check_classes(self.data)
        labels, digests = listing.task.labels, self.contents.digests
        split = divide(listing.targets, listing.given, usable, rule, labels, digests)
        said = copies_said(listing, usable, digests, split.copies)
        same = known if known and known.get("fingerprint") == self.fingerprint else {}
        values = known_values(same.get("values"), self.reading)
        return self._images(split, rule, said, values or self._look(split.train))

    def whole(self) -> Images:
        """All of them as `val`, to be scored: of one class, or a single image, if need be."""
        none = np.zeros(0, np.int64)
        split = Split(none, none, self.usable, none, {"val": "all", "test": "none"}, none)
        return self._images(split, SplitRule(), (), self._look(none))

    def _look(self, train: Indices) -> Values:
        return look(self.listing.source, train, self.usable, self.reading)

    def _images(
        self, split: Split, rule: SplitRule, said: tuple[str, ...], values: Values
    ) -> Images:
        listing, contents = self.listing, self.contents
        unread = {listing.source.name(at): why for at, why in contents.reasons.items()}
        skipped = tuple(sorted({**dict(listing.skipped), **unread}.items()))
        return Images(
            name=listing.name,
            task=listing.task,
            source=listing.source,
            targets=listing.targets,
            train=split.train,
            holdout=split.holdout,
            val=split.val,
            test=split.test,
            skipped=skipped,
            ignored=listing.ignored,
            native_size=int(np.median(contents.sides[self.usable])),
            digests=contents.digests,
            fingerprint=self.fingerprint,
            flip=listing.flip,
            rule=rule,
            origin=split.origin,
            notes=listing.notes + skipped_note(skipped) + said + values.notes,
            values=values,
        )


def _check_task(task: str | None) -> None:
    if task not in _READERS:
        names = ", ".join(name for name in _READERS if name)
        raise DataError(f"no task is called {task!r}; there are {names}")


def _suited(reading: Reading, listing: Listing) -> Reading:
    """How images are read for their task. Raises `DataError` where it is asked otherwise."""
    if not listing.task.whole:
        return reading
    if reading.resize == "crop":
        raise DataError(
            f"{listing.task.name} needs whole images, as what is cut off cannot be found, and "
            "--resize crop is given; leave it out"
        )
    return replace(reading, resize="stretch")


@dataclass(frozen=True, slots=True)
class _Readers:
    """How a table and a folder are read where their task is told; `found_in` says what else to
    give where it `holds` none of what the task is about."""

    table: Callable[[Path], Listing]
    folder: Callable[[Path], Listing]
    found_in: str = _KINDS
    holds: str = "classes"


def _list_any_table(path: Path) -> Listing:
    """A CSV file of boxes, of classes or of attributes."""
    return list_box_table(path) if is_box_table(path) else list_csv(path)


def _list_any_folder(path: Path) -> Listing:
    """By its boxes, where it has some, or by the names of its folders or the table in there."""
    boxes = find_boxes(path)
    if boxes is None:
        return _list_table_or_folder(path)
    _check_only_boxes(path, boxes)
    return boxes.read()


def _check_only_boxes(path: Path, boxes: BoxReading) -> None:
    folders = _classes_in(path)
    if folders is not None:
        raise DataError(
            f"{path} can be read in two ways: it holds boxes ({boxes.format}, {boxes.first.name}), "
            f"and folders of images called {few(folders.task.labels)}; give --task "
            f"{Detection.name} for the first, --task {Classification.name} for the second"
        )


def _list_table_or_folder(path: Path) -> Listing:
    """By the one CSV file in a folder that names its images, or by the folders in there."""
    table = table_in(path)
    if table is None:
        return list_folder(path)
    folders = _classes_in(path)
    if folders is None:
        listing = list_csv(table.path)
        return replace(listing, notes=(f"{path} is read by {table.path.name}", *listing.notes))
    if task_of(table) == Classification.name and names_folders(table):
        return folders
    raise DataError(
        f"{path} can be read in two ways: the labels are in {table.path.name}, or they are the "
        f"names of its folders, {few(folders.task.labels)}; give '{table.path}' for the first, "
        "--task classification for the second"
    )


def _classes_in(path: Path) -> Listing | None:
    """The folder by its class folders, if there are two or more."""
    try:
        listing = list_folder(path)
    except DataError:
        return None
    return listing if len(listing.task.labels) > 1 else None


def _list_attribute_folder(path: Path) -> Listing:
    table = table_in(path)
    return list_folder(path) if table is None else list_attribute_csv(table.path)


# By the task that the user names; without one the data is looked at.
_READERS: dict[str | None, _Readers] = {
    None: _Readers(_list_any_table, _list_any_folder),
    Classification.name: _Readers(list_class_csv, list_folder),
    Attributes.name: _Readers(
        list_attribute_csv,
        _list_attribute_folder,
        "a .csv file of path and attributes",
        Attributes.kinds,
    ),
    Detection.name: _Readers(list_box_table, list_box_folder, BOX_KINDS, "boxes"),
}


def _list(data: str | Path, task: str | None) -> Listing:
    listing = _found(data, _READERS[task])
    if task not in (None, listing.task.name):
        readers = _READERS[task]
        raise DataError(f"{data} holds no {readers.holds}; give {readers.found_in}")
    return listing


def _found(data: str | Path, readers: _Readers) -> Listing:
    if isinstance(data, str) and data in BUILT_IN:
        _check_built_in(data)
        return BUILT_IN[data]()
    path = Path(data).expanduser()
    if is_pattern(path):
        return list_pattern(path)
    try:
        return _found_at(path, readers)
    except OSError as error:  # a name too long, a folder above that may not be looked into
        raise DataError(f"{path} cannot be read: {error.strerror}; give {_KINDS}") from error


def _check_built_in(name: str) -> None:
    path = Path(name)
    if path.is_dir() and (holds_idx(path) or holds_images(path)):
        raise DataError(
            f"{name} is a data set that is built in, and a folder with images here; give "
            f"./{name} for the folder, and run it from elsewhere for the other"
        )


def _found_at(path: Path, readers: _Readers) -> Listing:
    if path.is_dir():
        return _list_folder(path, readers)
    if path.suffix.lower() == ".tar":
        return list_shards(path)
    if not path.exists():
        raise DataError(f"there is nothing at {path}; give {_KINDS}")
    if path.name == CELEBA:
        return list_celeba(path)
    boxes = list_box_file(path)
    if boxes is not None:
        return boxes
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path} is neither a folder nor a .csv file; give {_KINDS}")
    return readers.table(path)


def _list_folder(path: Path, readers: _Readers) -> Listing:
    if (path / CELEBA).exists():
        return list_celeba(path / CELEBA)
    if holds_idx(path):
        _check_only_idx(path)
        return list_idx(path, name=path.resolve().name)
    if holds_shards(path):
        return list_shards(path)
    return readers.folder(path)


def _check_only_idx(path: Path) -> None:
    folders = _classes_in(path)
    if folders is not None:
        raise DataError(
            f"{path} can be read in two ways: it holds idx files, and folders of images called "
            f"{few(folders.task.labels)}; give '{path}/*' for the folders, and move them elsewhere "
            "for the idx files"
        )
