"""A folder per class, with or without a folder per split above."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from mobilenets.data.formats.class_folders import ClassFolder, Layout, find_layout
from mobilenets.data.formats.listing import Entry, Listing, left_out, list_files, printable
from mobilenets.data.formats.split_names import UNLABELLED, split_named
from mobilenets.data.formats.tree import Folder, Tree, scan
from mobilenets.errors import DataError


def list_folder(root: Path) -> Listing:
    """The listing of a folder, as `find_layout` reads it. What is no image by name, and images
    outside any class, are ignored and counted; what cannot be used is skipped and named. Raises
    `DataError`."""
    tree = scan(root)
    return _listing(root, tree, find_layout(root, tree.top))


def is_pattern(data: str | Path) -> bool:
    """Whether `data` is one of folders: there is a * in it, and nothing called so."""
    return "*" in str(data) and not Path(data).expanduser().exists()


def name_of(data: str | Path) -> str:
    """What a run on `data` is called after: a folder or a file, or what a pattern begins with."""
    kept = [part for part in Path(data).expanduser().parts if "*" not in part]
    path = Path(*kept).resolve()
    return path.stem if path.suffix.lower() in (".csv", ".tar") else path.name


def list_pattern(pattern: Path) -> Listing:
    """The listing of the class folders that `pattern` names, as 'photos/*/*' does. A folder above
    them, below the first star, may tell a split. Raises `DataError`."""
    parts = pattern.parts
    at = next(number for number, part in enumerate(parts) if "*" in part)
    root, below = Path(*parts[:at]), parts[at:]
    tree = scan(root)
    folders = [tree.top]
    for part in below:
        folders = [one for f in folders for one in f.full if fnmatchcase(one.name, part)]
    if not folders:
        raise DataError(f"'{pattern}' names no folder with images; check what is in {root}")
    return _listing(root, tree, Layout(_split_by_path(pattern, folders)))


def _split_by_path(pattern: Path, folders: list[Folder]) -> list[ClassFolder]:
    told = [_told(folder) for folder in folders]
    if UNLABELLED in told:
        given = [folder for folder, split in zip(folders, told, strict=True) if split != UNLABELLED]
        return _split_by_path(pattern, given)
    if "" in told and "train" in told:
        raise DataError(
            f"'{pattern}' names folders under train/ and others under no split, the first "
            f"{folders[told.index('')].path}; name those of one kind"
        )
    rest = "train" if any(told) else ""
    return [
        ClassFolder(folder, folder.name, split or rest)
        for folder, split in zip(folders, told, strict=True)
    ]


def _told(folder: Folder) -> str:
    """The split that the folders above a class folder tell."""
    names = (split_named(part) for part in folder.path.split("/")[:-1])
    return next((name.split for name in names if name is not None), "")


def _listing(root: Path, tree: Tree, layout: Layout) -> Listing:
    entries = [
        Entry(path, printable(one.label), one.split)
        for one in layout.classes
        for path in one.folder.walk()
    ]
    others = tree.left.total()
    return list_files(
        root.resolve().name,
        str(root),
        entries,
        ignored=others + tree.top.count - len(entries),
        skipped=tree.skipped,
        notes=(*layout.notes, *left_out(tree.left, tree.apart)),
    )
