"""How long OpenMP's threads spin at a barrier before they sleep.

libgomp's spin 300,000 turns. Where another process has one of the cores, that is a whole time slice
at each barrier, thousands of times in a training step: 60 times as long on two cores (docs/log.md).
10,000 are enough for threads that arrive nearly at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_SPINS = "GOMP_SPINCOUNT"
_FEW = "10000"


def spin_briefly() -> None:
    """In this process: to be called before torch is loaded. What the user asked for stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(_SPINS, _FEW)


def as_found(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what `spin_briefly` did to it, for a process that is measured: that
    of a user's program has libgomp's own."""
    return {name: value for name, value in environment.items() if (name, value) != (_SPINS, _FEW)}
