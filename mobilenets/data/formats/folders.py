"""A folder per class, with or without a folder per split above."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mobilenets.data.formats.listing import Entry, Listing, list_files
from mobilenets.data.read import is_image_name
from mobilenets.data.split import SPELLINGS
from mobilenets.errors import DataError

# Left behind by macOS, Synology and Python, beside what starts with a dot.
_NOT_DATA = ("__MACOSX", "@eaDir", "__pycache__")


def list_folder(root: Path) -> Listing:
    """The listing of a folder.

    - train/ beside val/ (valid/, validation/) or test/, or alone: a split, each with a folder per
      class;
    - otherwise a folder per class, its images nested as deep as they are.

    Files that are no images by name, and those outside any class, are counted as ignored. Raises
    `DataError`.
    """
    try:
        parts = _split_folders(root) or {"": root}
        found = [_class_folders(root, folder, split) for split, folder in parts.items()]
    except OSError as error:
        raise DataError(f"{root} cannot be listed: {error}; check its permissions") from error
    entries = [entry for part, _ in found for entry in part]
    ignored = sum(count for _, count in found)
    return list_files(root.resolve().name, str(root), entries, ignored=ignored)


def _split_folders(root: Path) -> dict[str, Path]:
    """{"train": folder, ...}, or nothing where `root` holds classes.

    A train/ that holds images itself, or that stands beside other folders only, is a class.
    """
    folders = _subfolders(root)
    named = [(SPELLINGS[f.name.lower()], f) for f in folders if f.name.lower() in SPELLINGS]
    splits = dict(named)
    if "train" not in splits or not _subfolders(splits["train"]):
        return {}
    if len(splits) < len(named):
        names = ", ".join(f"{folder.name}/" for _, folder in named)
        raise DataError(f"{root} has two folders for one split ({names}); keep one of them")
    if len(splits) == 1 and len(folders) > 1:
        return {}
    return {name: splits[name] for name in ("train", "val", "test") if name in splits}


def _class_folders(root: Path, folder: Path, split: str) -> tuple[list[Entry], int]:
    """The images of every class folder, and how many other files there are."""
    entries: list[Entry] = []
    classes = _subfolders(folder)
    files = sum(1 for item in folder.iterdir() if not item.is_dir())
    for class_folder in classes:
        found = list(_walk(str(class_folder), frozenset()))
        images = [item for item in found if is_image_name(item.name)]
        if not images and split in ("train", ""):
            raise DataError(f"class folder {class_folder} holds no images; fill it or remove it")
        within = str(class_folder.relative_to(root))
        start = len(str(class_folder)) + 1
        entries += [
            _entry(item, f"{within}/{item.path[start:]}", class_folder.name, split)
            for item in images
        ]
        files += len(found) - len(images)
    if split == "val" and not entries:
        raise DataError(f"{folder} holds no folder of images per class; fill it or remove it")
    return entries, files


def _entry(item: os.DirEntry[str], path: str, label: str, split: str) -> Entry:
    try:
        stat = item.stat()
    except OSError:  # a broken link: listed here, skipped with its reason when it is opened
        return Entry(path, label, split, 0, 0)
    return Entry(path, label, split, stat.st_size, stat.st_mtime_ns)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir() and _is_data(item.name))


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name not in _NOT_DATA


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """Every file under `folder` by name; a link back to a folder `above` is not followed."""
    stat = Path(folder).stat()
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        return
    with os.scandir(folder) as items:
        ordered = sorted(items, key=lambda item: item.name)
    for item in ordered:
        if not item.is_dir():
            yield item
        elif _is_data(item.name):
            yield from _walk(item.path, above | {here})
