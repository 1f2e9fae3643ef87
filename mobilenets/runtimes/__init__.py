"""Running networks outside torch: one file per runtime, one small protocol.

A runtime is chosen by name, `get_runtime("onnxruntime")`; its package is imported only then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mobilenets.errors import RuntimeMissing

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint

Floats = NDArray[np.float32]


class Session(Protocol):
    """A network loaded from a file, ready to run."""

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W); N is 1 where the file leaves the batch open."""

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself."""

    def run(self, images: Floats) -> Floats:
        """Logits (N, classes) of images (N, 3, H, W) in [0, 1]."""


class Runtime(Protocol):
    """A program that runs networks from files of one format."""

    @property
    def name(self) -> str:
        """As given to `get_runtime`."""

    @property
    def suffix(self) -> str:
        """Of its files, with the dot."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those it can be asked for, the plainest first."""

    def version(self) -> str: ...

    def convert(self, checkpoint: Checkpoint, path: Path) -> None:
        """Write the deployed network to `path`: images in [0, 1] in, logits out."""

    def load(self, path: Path, threads: int) -> Session:
        """The network in `path`, to run on `threads` threads; raises FileError."""


class _Known(NamedTuple):
    package: str
    make: Callable[[], Runtime]


def get_runtime(name: str) -> Runtime:
    """The runtime called `name`; raises RuntimeMissing where it is not known or not installed."""
    if name not in _RUNTIMES:
        raise RuntimeMissing(f"unknown runtime {name!r}; known are {', '.join(RUNTIMES)}")
    package, make = _RUNTIMES[name]
    try:
        return make()
    except ImportError as error:
        raise RuntimeMissing(
            f"runtime {name} cannot be imported ({error}); run: pip install {package}"
        ) from error


def _onnxruntime() -> Runtime:
    from mobilenets.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime()


_RUNTIMES = {"onnxruntime": _Known("onnxruntime", _onnxruntime)}
RUNTIMES = tuple(_RUNTIMES)
