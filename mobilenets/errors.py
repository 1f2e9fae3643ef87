"""The errors a user can meet, as a tree.

MobileNetsError
├── ArchError         an architecture, name, width or resolution that cannot be
├── BudgetError       a limit that cannot be read
│   └── NoFitError    no network fits the budget; names the binding limit and the nearest network
├── DataError         images, labels or folders
├── FileError         a checkpoint or artifact that cannot be read
├── FolderTaken       a run's folder that holds what another run came to
├── RuntimeMissing    a runtime that is not installed or not known
├── ConversionError   a runtime's converter that failed or crashed
├── MeasureError      a measurement that failed
│   └── ConnectionLost  to another device, while it measured
├── TrainingStopped   training was asked to stop (Ctrl-C, SIGTERM) and can go on later
└── TrainingDiverged  a loss that is not a number any more

Every message is one sentence: what, what we got, what to do.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any


class MobileNetsError(Exception):
    """A user's mistake or a broken input; the message is meant to be read."""


class ArchError(MobileNetsError):
    """An architecture that cannot be built."""


class BudgetError(MobileNetsError):
    """A limit that cannot be read."""


class NoFitError(BudgetError):
    """No network fits the budget.

    `binding_limit` is the name of the limit that binds (as in `Budget`), `nearest` describes the
    network that misses it by least.
    """

    def __init__(self, message: str, *, binding_limit: str, nearest: dict[str, Any]):
        super().__init__(message)
        self.binding_limit = binding_limit
        self.nearest = nearest

    def __reduce__(self) -> Any:
        """For the other processes of a run."""
        made = partial(NoFitError, binding_limit=self.binding_limit, nearest=self.nearest)
        return made, self.args


class DataError(MobileNetsError):
    """Images, labels or folders that cannot be used."""


class FileError(MobileNetsError):
    """A checkpoint or artifact that cannot be read."""


class FolderTaken(MobileNetsError):
    """The folder holds what another run came to, which is not written over."""


class RuntimeMissing(MobileNetsError):
    """A runtime that is not known or not installed."""


class ConversionError(MobileNetsError):
    """A runtime's converter failed or crashed."""


class MeasureError(MobileNetsError):
    """A measurement that failed."""


class ConnectionLost(MeasureError):
    """The connection to another device ended while it measured."""


class TrainingStopped(MobileNetsError):
    """Training was asked to stop; its folder holds what is needed to go on."""


class TrainingDiverged(MobileNetsError):
    """The loss is not a number any more; says where, and what to try."""


# What says so: Python, torch on the CPU and on a GPU, the C++ of the runtimes, the system.
_MEMORY = re.compile(
    r"MemoryError|bad_alloc|(not enough|out of|allocate|lacks) memory", re.IGNORECASE
)


def lacks_memory(error: BaseException | str) -> bool:
    """Whether an error, or what a process said last, is for want of memory."""
    return isinstance(error, MemoryError) or bool(_MEMORY.search(str(error)))
