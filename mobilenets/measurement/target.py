"""The latency of what a user names: a network, an artefact or a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobilenets.archs import get_arch
from mobilenets.errors import FileError
from mobilenets.measurement.latency import Latency, measure
from mobilenets.runtimes import get_runtime

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint


def measure_target(
    target: str,
    *,
    width: float | None = None,
    resolution: int | None = None,
    runtime: str = "onnxruntime",
    threads: int = 1,
) -> Latency:
    """The latency of a network by name (random weights), or of a file (.onnx, .safetensors).

    Raises `ArchError` for a name nobody knows, `FileError` for a file that is not there.
    """
    engine = get_runtime(runtime)
    path = Path(target)
    if path.suffix == engine.suffix:
        return measure([path], runtime=runtime, threads=threads)[0]
    if path.suffix == ".safetensors" and not path.is_file():
        raise FileError(f"there is no file {path}")
    from mobilenets.nn import Checkpoint  # torch takes seconds to import, and a file needs none

    if path.is_file():
        checkpoint = Checkpoint.load(path)
    else:
        checkpoint = Checkpoint.fresh(get_arch(target, width=width, resolution=resolution))
    return measure_checkpoints([checkpoint], runtime=runtime, threads=threads)[0]


def measure_checkpoints(
    checkpoints: Sequence[Checkpoint], *, runtime: str, threads: int, seconds: float = 2.0
) -> list[Latency]:
    """The latency of each network in one session, from files that are then deleted."""
    engine = get_runtime(runtime)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{index}{engine.suffix}") for index in range(len(checkpoints))]
        for checkpoint, path in zip(checkpoints, paths, strict=True):
            engine.convert(checkpoint, path)
        return measure(paths, runtime=runtime, threads=threads, seconds=seconds)
