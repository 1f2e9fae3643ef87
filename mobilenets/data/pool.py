"""The same work for every image, in as many threads as help."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from statistics import median
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[int, int], None]  # (images done, images in all)

TRIAL = 32
SMALL_S = 0.5e-3
CHUNK = 64


def each(work: Callable[[int], T], count: int, *, progress: Progress | None = None) -> list[T]:
    """`[work(0), ..., work(count - 1)]`.

    The first few are timed. Where one takes under half a millisecond (thumbnails), threads wait
    for Python's lock and two are half as fast as one; otherwise there is one thread a core.
    """
    timed = [_timed(work, index) for index in range(min(TRIAL, count))]
    first = [result for result, _ in timed]
    chunks = [range(at, min(at + CHUNK, count)) for at in range(len(first), count, CHUNK)]
    if not chunks or median(seconds for _, seconds in timed) < SMALL_S:
        return _collect(chain([first], map(_chunk(work), chunks)), count, progress)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return _collect(chain([first], pool.map(_chunk(work), chunks)), count, progress)


def _timed(work: Callable[[int], T], index: int) -> tuple[T, float]:
    start = perf_counter()
    return work(index), perf_counter() - start


def _chunk(work: Callable[[int], T]) -> Callable[[range], list[T]]:
    return lambda indices: [work(index) for index in indices]


def _collect(parts: Iterable[list[T]], count: int, progress: Progress | None) -> list[T]:
    results: list[T] = []
    for part in parts:
        results += part
        if progress is not None:
            progress(len(results), count)
    return results
