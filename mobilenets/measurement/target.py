"""The latency of what a user names: a network, an artefact or a checkpoint."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mobilenets.archs import get_arch
from mobilenets.errors import FileError
from mobilenets.measurement.latency import Latency, measure
from mobilenets.runtimes import get_runtime


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
    from mobilenets.nn import Checkpoint

    if path.is_file():
        checkpoint = Checkpoint.load(path)
    else:
        checkpoint = Checkpoint.fresh(get_arch(target, width=width, resolution=resolution))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"network{engine.suffix}")
        engine.convert(checkpoint, file)
        return measure([file], runtime=runtime, threads=threads)[0]
