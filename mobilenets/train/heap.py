"""Memory that stays with the process between training steps."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

# malloc.h, and the defaults that man mallopt(3) gives
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65_536}
_KEEP = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Within, glibc keeps what is freed for the next that asks.

    A training step frees and asks for the same gigabytes of activations again; by default they go
    back to the system and come back as zeroed pages, one fault for each 4 KiB. On the CPU that
    took 40 % of a step of V2 0.35 at 224 pixels (docs/log.md). Without glibc nothing happens.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, _KEEP)
    try:
        yield
    finally:
        _set(libc, _DEFAULTS)
        libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
