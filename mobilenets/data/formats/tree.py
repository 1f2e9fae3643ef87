"""What lies under a folder: its images by folder, and what is left out; no file is opened."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mobilenets.data.read import is_image_name
from mobilenets.errors import DataError
from mobilenets.runs.layout import is_run

# Left behind by macOS, Synology, Python and a file system's check, beside what starts with a dot.
_NOT_DATA = ("__MACOSX", "@eaDir", "__pycache__", "lost+found", "$RECYCLE.BIN")
HIDDEN = "hidden"

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


@dataclass(slots=True, eq=False)
class Folder:
    """A folder of a tree; `path` is relative to the top's, whose own is "".

    `images` are the names of its files that are named as images, `folders` its folders, both in
    the order of names; `count` is of the images in it and below, `others` of all other files there.
    """

    path: str
    images: list[str] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    count: int = 0
    others: int = 0

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def full(self) -> list[Folder]:
        """The folders in it that hold images, themselves or below."""
        return [folder for folder in self.folders if folder.count]

    def walk(self) -> Iterator[str]:
        """The path of every image in it and below, in the order of names."""
        todo: list[Folder | str] = [self]
        while todo:
            item = todo.pop()
            if isinstance(item, str):
                yield item
                continue
            within = f"{item.path}/" if item.path else ""
            inside: list[tuple[str, Folder | str]] = [(one.name, one) for one in item.folders]
            inside += [(name, f"{within}{name}") for name in item.images]
            todo += [one for _, one in sorted(inside, key=lambda one: one[0], reverse=True)]


@dataclass(slots=True, eq=False)
class Tree:
    """`top` and all below. `left` counts the files that are no images by their suffix; `skipped`
    are (path, reason) of what is named as an image or is a folder, and cannot be used; `apart` are
    folders that are no data."""

    top: Folder
    left: Counter[str]
    skipped: list[tuple[str, str]]
    apart: list[str]


def scan(root: Path) -> Tree:
    """The tree under `root`. A folder that is there twice, by a link, is taken once; what cannot be
    listed is skipped. Raises `DataError` where `root` itself cannot be."""
    tree = Tree(Folder(""), Counter(), [], [])
    seen, order, todo = {_top_identity(root): "."}, list[Folder](), [tree.top]
    while todo:
        folder = todo.pop()
        items = _items(root, folder, tree)
        if is_run(item.name for item in items) and folder is not tree.top:
            tree.apart.append(folder.path)  # a run of ours
            continue
        _fill(folder, items, tree, seen)
        order.append(folder)
        todo += reversed(folder.folders)
    _add_up(order)
    return tree


def holds_images(root: Path) -> bool:
    """Whether an image or a tar is anywhere under `root`."""
    tree = scan(root)
    return tree.top.count > 0 or tree.left[".tar"] > 0


def regular(found: os.stat_result) -> os.stat_result:
    """What is `found`, if it is a file that can be read to its end. Raises `ValueError` with the
    reason why it is none: a FIFO, a socket, a device, a folder, a file of /proc."""
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
        raise ValueError(f"{kind}, not a file")
    if found.st_dev in _PSEUDO:
        raise ValueError("a file of the system, not a stored one")
    return found


def suffix(name: str) -> str:
    """As files are counted: ".txt", "hidden", or "without suffix"."""
    return HIDDEN if name.startswith(".") else Path(name).suffix or "without suffix"


def _pseudo() -> frozenset[int]:
    """The devices of /proc, /sys and /dev: reading there may wait for ever, or never end."""
    found = set[int]()
    for place in ("/proc", "/sys", "/dev"):
        try:
            found.add(Path(place).stat().st_dev)
        except OSError:
            continue
    return frozenset(found - {Path("/").stat().st_dev})


_PSEUDO = _pseudo()


_Identity = tuple[int, int]  # device, number


def _top_identity(root: Path) -> _Identity:
    try:
        found = root.stat()
    except OSError as error:
        raise _unlisted(root, error) from error
    return found.st_dev, found.st_ino


def _unlisted(root: Path, error: OSError) -> DataError:
    return DataError(f"{root} cannot be listed: {reason(error)}; check its permissions")


def _items(root: Path, folder: Folder, tree: Tree) -> list[os.DirEntry[str]]:
    """What is in a folder, by name."""
    try:
        with os.scandir(root / folder.path) as items:
            return sorted(items, key=lambda item: item.name)
    except OSError as error:
        if folder is tree.top:
            raise _unlisted(root, error) from error
        tree.skipped.append((folder.path, reason(error)))
        return []


def _fill(
    folder: Folder, items: list[os.DirEntry[str]], tree: Tree, seen: dict[_Identity, str]
) -> None:
    """Put what is in a folder where it belongs."""
    for item in items:
        path = f"{folder.path}/{item.name}" if folder.path else item.name
        try:
            if item.is_dir():
                _add_folder(folder, item, path, tree, seen)
            elif is_image_name(item.name):
                regular(item.stat())
                folder.images.append(item.name)
            else:
                tree.left[suffix(item.name)] += 1
                folder.others += 1
        except (OSError, ValueError) as error:
            tree.skipped.append((path, reason(error)))


def _add_folder(
    folder: Folder, item: os.DirEntry[str], path: str, tree: Tree, seen: dict[_Identity, str]
) -> None:
    if item.name.startswith(".") or item.name in _NOT_DATA:
        tree.apart.append(path)
        return
    found = Path(item.path).stat()  # an entry's own has no number on Windows
    if found.st_dev in _PSEUDO:
        raise ValueError("a folder of the system")
    first = seen.setdefault((found.st_dev, found.st_ino), path)
    if first != path:
        raise ValueError(f"the same folder as {first}")
    folder.folders.append(Folder(path))


def _add_up(order: list[Folder]) -> None:
    """Add the counts of folders to those above them; `order` has each after the one that it is
    in."""
    for folder in reversed(order):
        folder.count = len(folder.images) + sum(one.count for one in folder.folders)
        folder.others += sum(one.others for one in folder.folders)


def reason(error: Exception) -> str:
    """Why a file cannot be used, in the system's words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
