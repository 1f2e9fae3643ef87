"""Which images a network has learned from or was chosen by: their digests, in its run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.data.content import Digests
from mobilenets.data.images import Images
from mobilenets.errors import DataError
from mobilenets.files import write_bytes
from mobilenets.runs.layout import TRAINED_ON
from mobilenets.text import counted

# What a checkpoint's `training` says of its file: a hash of what is in it.
KEY = "trained_on"
_FROM = ("start", "before")  # where that says what came before


def learned_from(images: Images, before: Digests | None = None) -> Digests:
    """Of the images that train and those held out to choose, and of those `before`."""
    indices = np.concatenate([images.train, images.holdout])
    parts = [images.digests[indices], *([] if before is None else [before])]
    return np.unique(np.concatenate(parts)).astype("<u8")


def keep(digests: Digests, folder: Path) -> str:
    """Write them into a run's folder; the hash by which they are found again."""
    file = BytesIO()
    np.save(file, digests, allow_pickle=False)
    write_bytes(folder / TRAINED_ON, file.getvalue())
    return _hash(digests)


def find(network: Path, training: Mapping[str, Any], *, whole: bool = True) -> Digests | None:
    """The digests that are kept beside the file of a network, or in the folder above, of which its
    `training` tells; None where they are not there. With `whole` False those of a network that it
    was trained from will do."""
    known = set(_hashes(training))
    known &= {training.get(KEY)} if whole else known
    for folder in network.resolve().parents[:2]:
        digests = _read(folder / TRAINED_ON)
        if digests is not None and _hash(digests) in known:
            return digests
    return None


def carry(network: Path, training: Mapping[str, Any], folder: Path) -> None:
    """Put what is known of a network beside what comes of it, unless that has learned more."""
    digests = find(network, training)
    if digests is not None and not (folder / TRAINED_ON).exists():
        keep(digests, folder)


def unseen(images: Images, network: Path, training: Mapping[str, Any]) -> Images:
    """The images without those in `val` that a network has learned from, where that is known: they
    would validate nothing. Raises `DataError` where none is left."""
    digests = find(network, training)
    if digests is None:
        return images
    seen = np.isin(images.digests[images.val], digests)
    if not seen.any():
        return images
    count = counted(int(seen.sum()), "validation image")
    if seen.all():
        raise DataError(
            f"of {images.name} {count} would be scored, all of which {network.name} has learned "
            "from; give the images that it was trained on as they were then, or others"
        )
    note = f"{count} left out, which {network.name} has learned from"
    return replace(images, val=images.val[~seen], notes=(*images.notes, note))


def _hashes(training: Mapping[str, Any]) -> Iterator[Any]:
    while isinstance(training, Mapping):
        if isinstance(training.get(KEY), str):
            yield training[KEY]
        training = next((training[one] for one in _FROM if training.get(one)), {})
        if not training:
            return


def _read(path: Path) -> Digests | None:
    try:
        found = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.uint64 and found.ndim == 1 else None


def _hash(digests: Digests) -> str:
    return sha256(digests.astype("<u8").tobytes()).hexdigest()[:16]
