"""`load_images`: from a folder, a CSV file or a built-in name to `Images`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.data.builtin import BUILT_IN
from mobilenets.data.folders import list_folder
from mobilenets.data.idx import holds_idx, list_idx
from mobilenets.data.images import Images
from mobilenets.data.listing import Listing
from mobilenets.data.pool import Progress, each
from mobilenets.data.read import probe
from mobilenets.data.shards import holds_shards, list_shards
from mobilenets.data.source import Arrays
from mobilenets.data.split import Indices, SplitRule, divide
from mobilenets.data.table import list_csv
from mobilenets.errors import DataError

# Above this many files only headers are read: decoding ImageNet once would take an hour.
CHECKED_WHOLE = 200_000

_KINDS = (
    "a folder per class, a folder with train/ and val/, a folder of .tar shards, a .csv file of "
    f"path,label, or one of {', '.join(BUILT_IN)}"
)


def load_images(
    data: str | Path,
    *,
    seed: int = 0,
    val_fraction: float = 0.2,
    holdout_fraction: float = 0.1,
    known: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Images:
    """Labelled images with their split; every file is opened once to see whether it can be read.

    `data` is a built-in name (digits, fashion-mnist) or a path: a folder per class, the same under
    train/, val/ and test/, a folder with MNIST's four idx files, WebDataset shards (a folder of
    them or "folder/{000..011}.tar"), or a CSV file of path,label and perhaps split. The string
    "digits" is always the built-in; a folder of that name is "./digits" or a `Path`. `known` is an
    earlier record (`Images.to_json`): if nothing has changed since, its skipped list stands and no
    file is opened. Raises `DataError`.
    """
    rule = SplitRule(seed, val_fraction, holdout_fraction)
    listing = _list(data)
    _check_listing(listing, data)
    size, skipped = _known_check(listing, known) or _check(listing, progress)
    usable = _usable(listing, skipped)
    split = divide(listing.labels, listing.given, usable, rule, listing.classes)
    return Images(
        name=listing.name,
        classes=listing.classes,
        source=listing.source,
        labels=listing.labels,
        train=split.train,
        holdout=split.holdout,
        val=split.val,
        test=split.test,
        skipped=skipped,
        ignored=listing.ignored,
        native_size=size,
        fingerprint=listing.fingerprint,
        flip=listing.flip,
        rule=rule,
        origin=split.origin,
    )


def _list(data: str | Path) -> Listing:
    if isinstance(data, str) and data in BUILT_IN:
        return BUILT_IN[data]()
    path = Path(data).expanduser()
    if path.is_dir():
        if holds_idx(path):
            return list_idx(path, name=path.resolve().name)
        return list_shards(path) if holds_shards(path) else list_folder(path)
    if path.suffix.lower() == ".tar":
        return list_shards(path)
    if not path.exists():
        raise DataError(f"there is nothing at {path}; give {_KINDS}")
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path} is neither a folder nor a .csv file; give {_KINDS}")
    return list_csv(path)


def _check_listing(listing: Listing, data: str | Path) -> None:
    if not len(listing.source):
        raise DataError(f"{data} holds no images in class folders; give {_KINDS}")
    if len(listing.classes) < 2:
        raise DataError(
            f"{data} holds one class only, {listing.classes[0]!r}; give the folder whose "
            "sub-folders are the classes, two at least"
        )


Checked = tuple[int, tuple[tuple[str, str], ...]]  # native size, skipped


def _known_check(listing: Listing, known: dict[str, Any] | None) -> Checked | None:
    if known is None or known.get("fingerprint") != listing.fingerprint:
        return None
    return known["native_size"], tuple((item["name"], item["reason"]) for item in known["skipped"])


def _check(listing: Listing, progress: Progress | None) -> Checked:
    """The median short side, and which files cannot be read."""
    source = listing.source
    if isinstance(source, Arrays):
        return min(source.array.shape[1:3]), ()
    header_only = len(source) > CHECKED_WHOLE
    found = each(
        lambda index: probe(source.stored(index), header_only=header_only),
        len(source),
        progress=progress,
    )
    sizes = [side for side in found if isinstance(side, int)]
    skipped = [(source.name(i), why) for i, why in enumerate(found) if isinstance(why, str)]
    if not sizes:
        name, why = skipped[0]
        raise DataError(
            f"none of the {len(found)} images can be read (the first, {name}: {why}); replace them"
        )
    return int(np.median(sizes)), tuple(skipped)


def _usable(listing: Listing, skipped: tuple[tuple[str, str], ...]) -> Indices:
    """Indices of the images that were not skipped."""
    names = {name for name, _ in skipped}
    source = listing.source
    return np.array([i for i in range(len(source)) if source.name(i) not in names], dtype=np.int64)
