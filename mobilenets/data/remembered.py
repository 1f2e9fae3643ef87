"""What was read from image files, in the user's cache: a short cut, which may be lost at any time.

One file for each folder of images, a record for each image. A record holds as long as the file has
the size, times and inode that it had; the digest in it is what tells images apart.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenets.data.source import Source
from mobilenets.errors import FileError
from mobilenets.files import cache_folder, write_bytes

# Raised where readers would take other files for readable, or a record has other fields.
_FORMAT = 1
# A file that has just been written may be written again without its times telling.
SETTLED_NS = 2 * 10**9
# Images that are not in a listing (another table beside it, removed) are kept up to so many.
_MOST_RECORDS = 1_000_000
_MOST_BYTES = 500 * 10**6
_CHECKSUM_BYTES = 8

Records = NDArray[Any]
STAMP = np.dtype(
    [("file", "<u8"), ("size", "<i8"), ("mtime", "<i8"), ("ctime", "<i8"), ("inode", "<u8")]
)
# `whole` says that the pixels were decoded, not the header only; a `side` of 0: cannot be read.
RECORD = np.dtype([("stamp", STAMP), ("digest", "<u8"), ("side", "<i4"), ("whole", "?")])
log = logging.getLogger(__name__)


def stamped(source: Source) -> Records:
    """Of each image which file it is, and how that is now; all 0 where it is not there."""
    stat_once = cache(_stat)
    stamps = np.zeros(len(source), STAMP)
    for index in range(len(source)):
        path, offset = source.place(index)
        key = blake2b(os.fsencode(f"{path}\0{offset}"), digest_size=8).digest()
        found = stat_once(path) if offset else _stat(path)  # many images lie in one tar
        if found is not None:
            stamps[index] = (int.from_bytes(key, "little"), *found)
    return stamps


def _stat(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def matching(records: Records, stamps: Records, *, whole: bool) -> Records:
    """A record for each stamp: the one there is, or one of zeros; with `whole`, only of images
    whose pixels were decoded."""
    found = np.zeros(len(stamps), RECORD)
    if len(records):
        at = np.searchsorted(records["stamp"]["file"], stamps["file"])
        near = records[np.minimum(at, len(records) - 1)]
        same = (near["stamp"] == stamps) & (near["whole"] | (not whole))
        found[same] = near[same]
    return found


def load(source: Source) -> Records:
    """The records of the folder that `source` lies in, in the order of their files; none where they
    are not whole."""
    with suppress(OSError, RuntimeError, ValueError):
        content = _file(source).read_bytes()
        checksum, payload = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
        if sha256(payload).digest()[:_CHECKSUM_BYTES] == checksum:
            return np.frombuffer(payload, RECORD)
    return np.zeros(0, RECORD)


def save(source: Source, found: Records, before: Records) -> None:
    """Keep what was found, beside what is known of other images of the folder. That it cannot be
    kept is no harm."""
    newest = np.maximum(found["stamp"]["mtime"], found["stamp"]["ctime"])
    settled = newest + SETTLED_NS <= time.time_ns()
    kept = found[settled & (found["side"] > 0) & (found["stamp"]["file"] > 0)]
    others = before[~np.isin(before["stamp"]["file"], found["stamp"]["file"])]
    records = np.concatenate([kept, others[: max(0, _MOST_RECORDS - len(kept))]])
    payload = records[np.argsort(records["stamp"]["file"], kind="stable")].tobytes()
    try:
        write_bytes(_file(source), sha256(payload).digest()[:_CHECKSUM_BYTES] + payload)
        _forget(_file(source).parent)
    except (FileError, OSError, RuntimeError) as error:
        log.debug(f"what was read of the images is not remembered: {error}")


def _file(source: Source) -> Path:
    """Where the records are kept; raises RuntimeError where there is no home."""
    root = os.fsencode(Path(source.root).resolve())
    return cache_folder() / "images" / f"{sha256(root).hexdigest()[:16]}.{_FORMAT}"


def _forget(folder: Path) -> None:
    """Of all folders of images those that were listed last stay."""
    files = [(path, path.stat()) for path in folder.iterdir() if path.suffix[1:].isdecimal()]
    files.sort(key=lambda one: one[1].st_mtime_ns, reverse=True)
    total = np.cumsum([found.st_size for _, found in files])
    for path, _ in (one for one, size in zip(files, total, strict=True) if size > _MOST_BYTES):
        path.unlink(missing_ok=True)
