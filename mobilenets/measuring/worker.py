"""The measuring process: loads networks in one runtime and runs them when told (`child.serve`).

It pins itself to its cores before it imports the runtime, so that the runtime's threads inherit
them.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mobilenets.errors import MeasureError
from mobilenets.measuring.loop import LocalTarget
from mobilenets.measuring.machine import Machine, this_machine, waited_ns
from mobilenets.processes.child import Request, serve, usable_cores

_SEED = 0
_REST_S = 0.01  # the time of threads that run is told in ticks of up to 10 ms
_RESTING = 0.2
_LONGEST_REST_S = 2.0


class Worker:
    """Answers one request after the other: start, then load, warm_up and turn networks, or run
    images for their answers."""

    def __init__(self) -> None:
        self._runtime: Any = None
        self._threads = 0
        self._sessions: dict[str, Any] = {}
        self._targets: dict[str, LocalTarget] = {}

    def __call__(self, request: Request) -> Any:
        words = dict(request)
        return getattr(self, words.pop("do"))(**words)

    def machine(self) -> Machine:
        """What it runs on."""
        return this_machine()

    def start(self, runtime: str, threads: int) -> str:
        """Pin this process and import the runtime; its version."""
        cores = _cores(threads)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        from mobilenets.runtimes import RUNTIMES, get_runtime

        self._runtime, self._threads = get_runtime(runtime), threads
        gc.disable()
        return RUNTIMES[runtime].version()

    def load(self, path: str) -> str:
        """Load a network with an image to run it on; its precision."""
        from mobilenets.measuring.probe import probe_ns
        from mobilenets.runtimes.artifact import precision_of

        session = self._sessions[path] = self._runtime.load(Path(path), self._threads)
        run = partial(session.run, _image(session.input_shape, session.layout))
        self._targets[path] = LocalTarget(run, waited=waited_ns, probe=probe_ns)
        return precision_of(session.metadata)

    def answers(self, path: str, images: dict[str, Any]) -> Any:
        """The outputs of a loaded network for images (N, C, H, W) in [0, 1]; arrays as in
        `measuring.arrays`."""
        from mobilenets.measuring.arrays import packed, unpacked

        found = [self._sessions[path].run(image[None]) for image in unpacked(images)]
        return {name: packed([one[name][0] for one in found]) for name in found[0]}

    def warm_up(self, path: str, seconds: float) -> float:
        return self._targets[path].warm_up(seconds)

    def turn(self, path: str, settle: int, burst: int) -> Any:
        """A turn, after which the cores are free for another target's."""
        turn = self._targets[path].turn(settle, burst)
        if self._threads > 1 and settle:
            rest()
        return turn


def _cores(threads: int) -> list[int]:
    """The last cores: interrupts and other processes gather on the first."""
    usable = usable_cores()
    if not 1 <= threads <= len(usable):
        raise MeasureError(f"threads must be 1 to {len(usable)}, the usable cores, got {threads}")
    return usable[-threads:]


def rest(
    cpu_ns: Callable[[], int] = time.process_time_ns, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until this process's threads sleep: onnxruntime's spin for 40 ms after a run on a Xeon,
    and would take a core away from what runs next. Gives up after `_LONGEST_REST_S`."""
    for _ in range(round(_LONGEST_REST_S / _REST_S)):
        before = cpu_ns()
        sleep(_REST_S)
        if cpu_ns() - before < _RESTING * _REST_S * 1e9:
            return


def _image(shape: tuple[int, int, int, int], layout: str) -> Any:
    """One random image, in the order of memory that the runtime takes without a copy. Numbers as
    images have them: zeros are faster in some kernels."""
    import numpy as np

    _, channels, height, width = shape
    random = np.random.default_rng(_SEED)
    if layout == "NHWC":
        return random.random((1, height, width, channels), np.float32).transpose(0, 3, 1, 2)
    return random.random((1, channels, height, width), np.float32)


if __name__ == "__main__":
    serve(Worker())
