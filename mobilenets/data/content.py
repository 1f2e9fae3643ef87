"""What the files of images hold: a digest of each, and whether it can be read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobilenets.data import remembered
from mobilenets.data.pool import Progress, each
from mobilenets.data.read import file_bytes, probe
from mobilenets.data.source import Arrays, Source
from mobilenets.errors import DataError
from mobilenets.progress import report

Digests = NDArray[np.uint64]

# Above this many files only headers are decoded: decoding ImageNet once would take an hour.
CHECKED_WHOLE = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """Of N images: `digests` (N,) of the bytes of their files, 0 where a file cannot be opened;
    `sides` (N,), short sides in pixels, 0 where an image cannot be read; and of those `reasons`, by
    their numbers."""

    digests: Digests
    sides: NDArray[np.int32]
    reasons: dict[int, str]


def digest_of(content: bytes) -> int:
    """The first 8 bytes of its SHA-256, as a number."""
    return int.from_bytes(sha256(content).digest()[:8], "little")


def contents_of(source: Source, progress: Progress | None = None) -> Contents:
    """Every file is read once, for its digest and to see whether it can be decoded. What was read
    before, and has the size, times and inode that it had then, is remembered."""
    if isinstance(source, Arrays):
        digests = [digest_of(row.tobytes()) for row in source.array]
        side = min(source.array.shape[1:3])
        return Contents(np.array(digests, np.uint64), np.full(len(digests), side, np.int32), {})
    header_only = len(source) > CHECKED_WHOLE
    stamps, records = remembered.stamped(source), remembered.load(source)
    found = remembered.matching(records, stamps, whole=not header_only)
    missing = np.flatnonzero(found["side"] == 0)
    read = each(lambda at: _read(source, int(missing[at]), header_only), len(missing),
                progress=progress or partial(report, "reading images"))  # fmt: skip
    for at, (digest, side, _) in zip(missing, read, strict=True):
        found[at] = (stamps[at], digest, side, not header_only)
    if any(side for _, side, _ in read):
        remembered.save(source, found, records)
    reasons = {int(at): reason for at, (*_, reason) in zip(missing, read, strict=True) if reason}
    return Contents(found["digest"].copy(), found["side"].copy(), reasons)


def _read(source: Source, index: int, header_only: bool) -> tuple[int, int, str]:
    """The digest, the short side, and why it cannot be read; 0 for what there is not."""
    try:
        content = _bytes(source.stored(index))
    except (OSError, ValueError, DataError) as error:
        return 0, 0, getattr(error, "strerror", None) or str(error)
    side = probe(content, header_only=header_only)
    return digest_of(content), *((0, side) if isinstance(side, str) else (side, ""))


def _bytes(stored: Path | bytes) -> bytes:
    if isinstance(stored, bytes):
        return stored
    return file_bytes(stored)
