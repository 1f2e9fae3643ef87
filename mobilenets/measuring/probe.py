"""Is the core ours alone just now? What a little arithmetic of fixed size takes tells."""

from __future__ import annotations

import time

import numpy as np

# 20 products take 20 us on a server's core and some hundred on a small device's: little beside a
# burst, in the first cache whatever the networks do, and so small that no BLAS divides it.
_SIDE = 32
_PRODUCTS = 20
_TIMES = 5

_matrix = np.full((_SIDE, _SIDE), 1 / _SIDE, np.float32)
_product = np.empty_like(_matrix)


def probe_ns() -> int:
    """The median of five times of 20 products of 32 x 32 matrices."""
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter_ns()
        for _ in range(_PRODUCTS):
            np.dot(_matrix, _matrix, out=_product)
        times.append(time.perf_counter_ns() - start)
    return sorted(times)[_TIMES // 2]
