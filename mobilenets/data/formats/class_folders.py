"""Which folders of a tree are classes, and which are splits of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.formats.split_names import (
    UNLABELLED,
    is_beside_images,
    is_of_images,
    is_split,
    is_unlabelled,
    split_named,
)
from mobilenets.data.formats.tree import Folder
from mobilenets.errors import DataError
from mobilenets.text import counted

_HOW = "put each class into a folder of its own, or write a .csv file of path,label"
_NAMED = 5  # folders that a sentence names
_ORDER = ("train", "val", "test")
_PLAIN = (*_ORDER, "valid", "validation")


class ClassFolder(NamedTuple):
    """A folder whose images are all of the class `label`, and of `split` ("" where undecided)."""

    folder: Folder
    label: str
    split: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tree is read; `notes` say what was not plain, a sentence each."""

    classes: list[ClassFolder]
    notes: tuple[str, ...] = ()


def find_layout(root: Path, top: Folder) -> Layout:
    """The one plain reading of the folder `root`, whose tree is `top`.

    - train/ beside val/, test/ or their like (dev, holdout; Train; seg_train/seg_train), or alone:
      splits, each with a folder per class;
    - cat/train, cat/test, dog/train, dog/test: likewise;
    - otherwise a folder per class, its images nested as deep as they are.

    A single folder with all images is looked into. Raises `DataError` where there are two readings,
    with both.
    """
    reading = _Reading(root)
    top = reading.inner(top)
    classes = reading.splits(top) or reading.split_classes(top) or reading.classes(top)
    return Layout(classes, tuple(reading.notes))


class _Part(NamedTuple):
    """A split's folder, and the one `within` it or itself that holds the class folders."""

    split: str
    folder: Folder
    within: Folder


class _Reading:
    """How one folder is read, and the notes that come up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []

    def inner(self, top: Folder) -> Folder:
        """The folder in `top`, or `top`, that holds all images and has folders of them."""
        while (inside := self._only(top)) is not None:
            beside = [folder for folder in top.full if folder is not inside]
            rest = f"; left out beside it: {_names(beside)}" if beside else ""
            self.notes.append(f"{self._at(inside)} is read: it holds the images{rest}")
            top = inside
        return top

    def _only(self, top: Folder) -> Folder | None:
        full = top.full
        named = [folder for folder in full if is_of_images(folder.name)]
        if len(full) > 1 and len(named) == 1:
            full = named + [f for f in full if f not in named and not is_beside_images(f.name)]
            if len(full) == 1 and not full[0].full:
                raise self._flat(full[0])
        if len(full) != 1 or top.images or full[0].images or not full[0].full:
            return None
        if (is_split(full[0].name) and _split(full[0]) == "train") or any(
            not f.count and not f.others for f in top.folders
        ):
            return None
        return full[0]

    # Splits above classes

    def splits(self, top: Folder) -> list[ClassFolder]:
        """The classes in train/ and its like; none where `top` has no such folders."""
        members = self._members(top)
        train = [folder for split, folder in members if split == "train"]
        if not train:
            return []
        outside = [f for f in top.full if f not in [folder for _, folder in members]]
        parts = [_Part(split, folder, self._within(folder)) for split, folder in members]
        given = [one for one in parts if one.within.full and one.split != UNLABELLED]
        if not any(one.split == "train" for one in given):
            return self._train_alone(members, outside)
        if len(members) == 1 and not self._plainly_train(top, outside):
            return []
        self._say_unlabelled([one for one in parts if one not in given])
        self._say_outside(outside)
        self._say_left(top)
        self._check_twice(given)
        given.sort(key=lambda one: _ORDER.index(one.split))
        self._say_splits(given)
        return [one for part in given for one in self._class_folders(part)]

    def _members(self, top: Folder) -> list[tuple[str, Folder]]:
        """The folders that are splits of one set, with train among them."""
        told = [(split_named(folder.name), folder) for folder in top.full]
        sets: dict[tuple[str, ...], list[tuple[str, Folder]]] = {}
        for name, folder in told:
            if name is not None:
                sets.setdefault(name.rest, []).append((name.split, folder))
        whole = [one for rest, one in sets.items() if _is_set(one, bare=not rest)]
        if len(whole) > 1:
            names = " and ".join(_names(folder for _, folder in one) for one in whole)
            raise DataError(
                f"{self.root} holds two sets, {names}; give one of them as '{self.root}/FOLDER' or "
                f"a pattern of its class folders like '{self.root}/NAME*/*'"
            )
        return whole[0] if whole else []

    def _within(self, folder: Folder) -> Folder:
        """The split's folder of class folders: seg_train/seg_train, Final_Test/Images."""
        while len(folder.full) == 1 and not folder.images:
            inside = folder.full[0]
            nested = split_named(inside.name) == split_named(folder.name)
            if not nested and not is_of_images(inside.name):
                break
            folder = inside
        return folder

    def _train_alone(
        self, members: list[tuple[str, Folder]], outside: list[Folder]
    ) -> list[ClassFolder]:
        """train/ with images and no class folders: beside test/ it is no class."""
        if len(members) == 1 and outside:
            return []
        raise self._flat(next(folder for split, folder in members if split == "train"), members)

    def _plainly_train(self, top: Folder, outside: list[Folder]) -> bool:
        """Whether train/, the only split in `top`, is one: there is nothing else that could be a
        class beside it."""
        if all(is_unlabelled(f.name) or is_beside_images(f.name) for f in outside):
            return True
        train = next(folder for folder in top.full if folder not in outside)
        if len(self._within(train).full) > 1:
            within = self._within(train)
            raise self._two_readings(top.full, within.full, f"{self._at(within)}/*")
        return False

    def _say_unlabelled(self, parts: Iterable[_Part]) -> None:
        for split, folder, within in parts:
            if split == "val":
                raise DataError(
                    f"{self._at(folder)} holds no folder of images per class; put its images into "
                    "the folders of their classes, or move it elsewhere to have a part of train/ "
                    "for it"
                )
            why = "are not for training by its name" if within.full else "lie in no class folders"
            self.notes.append(
                f"{self._at(folder)} is left out: its {counted(folder.count, 'image')} {why}"
            )

    def _say_splits(self, parts: Sequence[_Part]) -> None:
        """Which folder is which split, unless all are called so."""
        if any(part.within.path.lower() not in _PLAIN for part in parts):
            read = ", ".join(f"{part.within.path}/ as {part.split}" for part in parts)
            self.notes.append(f"splits read in {self.root}: {read}")

    def _say_outside(self, folders: list[Folder]) -> None:
        if folders:
            images = counted(sum(folder.count for folder in folders), "image")
            self.notes.append(
                f"{_names(folders)} beside the splits of {self.root} left out, with {images}"
            )

    def _check_twice(self, parts: Sequence[_Part]) -> None:
        counts = Counter(part.split for part in parts)
        twice = next((split for split, count in counts.items() if count > 1), None)
        if twice is not None:
            names = _names(part.folder for part in parts if part.split == twice)
            raise DataError(
                f"{self.root} has two folders for one split ({names}, which both read as {twice}); "
                "move one of them elsewhere"
            )

    # Classes above splits

    def split_classes(self, top: Folder) -> list[ClassFolder]:
        """The classes of cat/train, cat/test, dog/train, dog/test."""
        inner = [one for folder in top.full for one in folder.full]
        kinds = {split_named(one.name) for one in inner}
        given = {kind.split for kind in kinds if kind is not None}
        nested = len(top.full) > 1 and not any(folder.images for folder in top.full)
        if not nested or None in kinds or "train" not in given or len(given) < 2:
            return []
        if any(one.full for one in inner):
            raise self._two_readings(top.full, inner)
        self.notes.append(
            f"the splits of {self.root} are the folders in its classes: {_names(inner)}"
        )
        self._say_unlabelled(_unlabelled(f for f in inner if _split(f) == UNLABELLED))
        return [
            ClassFolder(one, folder.name, _split(one))
            for folder in top.full
            for one in folder.full
            if _split(one) != UNLABELLED
        ]

    # Classes

    def classes(self, top: Folder) -> list[ClassFolder]:
        """A class for each folder in `top`."""
        if not top.full and top.images:
            raise self._flat(top)
        without = [folder for folder in top.full if is_unlabelled(folder.name)]
        others = [folder for folder in top.full if folder not in without]
        if len(others) < 2:
            without, others = [], top.full
        self._say_unlabelled(_unlabelled(without))
        tests = [f for f in others if is_split(f.name) and _split(f) in ("val", "test")]
        if tests and len(others) > len(tests):
            return self._beside_tests(top, tests, [f for f in others if f not in tests])
        return self._class_folders(_Part("", top, top), leave=without)

    def _beside_tests(
        self, top: Folder, tests: list[Folder], others: list[Folder]
    ) -> list[ClassFolder]:
        """cat/, dog/ and test/cat, test/dog; a test/ without these may be a class."""
        names = {folder.name for folder in others}
        if any(t.images or not {f.name for f in t.full} <= names for t in tests) or len(names) < 2:
            raise DataError(
                f"{self.root} has {_names(tests)} beside {_names(others)}: it is a class like "
                f"these, or images that are not for training; give '{self.root}/*' for a class, or "
                "move it elsewhere"
            )
        self.notes.append(
            f"{_names(tests)} of {self.root} read as a split, and the classes beside as train"
        )
        parts = [_Part(_split(test), test, test) for test in tests]
        self._check_twice(parts)
        train = self._class_folders(_Part("train", top, top), leave=tests)
        return train + [one for part in parts for one in self._class_folders(part)]

    def _class_folders(self, part: _Part, leave: Sequence[Folder] = ()) -> list[ClassFolder]:
        split, _, within = part
        found = [folder for folder in within.full if folder not in leave]
        if split in ("", "train"):
            self._check_nested(found)
        self._say_left(within)
        return [ClassFolder(folder, folder.name, split) for folder in found]

    def _say_left(self, folder: Folder) -> None:
        """Of a folder of class folders, what is in none."""
        empty = [one for one in folder.folders if not one.count]
        if empty:
            self.notes.append(f"{_names(empty)} of {self._at(folder)} left out: no images in there")
        if folder.images:
            self.notes.append(
                f"{counted(len(folder.images), 'image')} of {self._at(folder)} left out: in no "
                f"class folder (the first, {folder.images[0]})"
            )

    def _check_nested(self, folders: list[Folder]) -> None:
        """Refuse folders of which nobody can say whether they or those in them are the classes:
        2023/cat, 2023/dog, 2024/cat, 2024/dog; animals/cat, animals/dog, tools/saw, tools/axe."""
        inside = [_names_inside(folder) for folder in folders]
        nested = [names for names in inside if names]
        shared = [
            name for name, count in Counter(n for one in nested for n in one).items() if count > 1
        ]
        all_nested = len(nested) == len(folders) > 1
        splits = any(split_named(folder.name) for folder in folders)
        if (len(shared) > 1 and (all_nested or splits)) or (
            all_nested and all(len(names) > 1 for names in nested)
        ):
            raise self._two_readings(folders, [one for f in folders for one in _deepest(f).full])

    # Sentences

    def _at(self, folder: Folder) -> Path:
        return self.root / folder.path

    def _two_readings(
        self, outer: Sequence[Folder], inner: Sequence[Folder], pattern: str | None = None
    ) -> DataError:
        """With a pattern for each; `pattern` is that of the inner, if it is known."""
        first, second = self._pattern(outer), pattern or self._pattern(inner)
        return DataError(
            f"{self.root} can be read in two ways: the classes are {_names(outer)}, or they are "
            f"the folders in there, {_names(inner)}; give '{first}' for the first, '{second}' for "
            "the second"
        )

    def _pattern(self, folders: Sequence[Folder]) -> str:
        """A pattern of these folders for `list_pattern`."""
        paths = [folder.path.split("/") for folder in folders]
        depth = min(map(len, paths))
        same = [len({path[at] for path in paths}) == 1 for at in range(depth - 1)]
        kept = same.index(False) if False in same else depth - 1
        parts = [part if split_named(part) is None else "*" for part in paths[0][:kept]]
        return "/".join([str(self.root), *parts, *["*"] * (depth - kept)])

    def _flat(self, folder: Folder, members: Sequence[tuple[str, Folder]] = ()) -> DataError:
        path = next(folder.walk())
        if len(members) < 2:
            return DataError(
                f"{self._at(folder)} holds no images in class folders: its "
                f"{counted(folder.count, 'image')} (the first, {path}) lie side by side; {_HOW}"
            )
        return DataError(
            f"{self.root} can be read in two ways: {_names([f for _, f in members])} are splits, "
            f"and something else tells the class, perhaps the name of a file ({path}), or they are "
            f"the classes; for the first, {_HOW}; for the second, give '{self.root}/*'"
        )


def _is_set(members: Sequence[tuple[str, Folder]], *, bare: bool) -> bool:
    """Whether folders with the same other words are splits of one set."""
    splits = {split for split, _ in members}
    return "train" in splits and (bare or len(splits) > 1)


def _unlabelled(folders: Iterable[Folder]) -> Iterator[_Part]:
    return (_Part(UNLABELLED, folder, folder) for folder in folders)


def _split(folder: Folder) -> str:
    told = split_named(folder.name)
    return told.split if told else ""


def _deepest(folder: Folder) -> Folder:
    """The first folder that does not hold one folder of images only."""
    while not folder.images and len(folder.full) == 1:
        folder = folder.full[0]
    return folder


def _names_inside(folder: Folder) -> set[str]:
    """The folders in one that might hold classes; none where it holds images itself."""
    inside = _deepest(folder)
    return set() if inside.images else {one.name for one in inside.full}


def _names(folders: Iterable[Folder]) -> str:
    """cat/, dog/ and 3 more."""
    names = list(dict.fromkeys(f"{folder.name}/" for folder in folders))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
