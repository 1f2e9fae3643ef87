"""The latency of what a user names: networks, artefacts and checkpoints, in some runtimes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mobilenets.archs import Arch, Resolution, get_arch
from mobilenets.errors import FileError
from mobilenets.measuring.latency import Latency, measure
from mobilenets.runtimes import check_runtime
from mobilenets.runtimes.artefact import RUNTIME_OF
from mobilenets.runtimes.isolated import Job, export_isolated

Export = Callable[[Sequence[Job], str], None]
"""Writes artefacts in the runtime of this name."""


def measure_targets(
    targets: Sequence[str],
    *,
    width: float | None = None,
    resolution: Resolution | None = None,
    runtimes: Sequence[str] = ("onnxruntime",),
    threads: int = 1,
    seconds: float = 4.0,
) -> list[tuple[str, Latency]]:
    """Each target with its latency, all measured in turns.

    A target is a network's name (random weights are timed), a checkpoint (.safetensors) or an
    artefact. Names and checkpoints are timed in each of `runtimes`, artefacts in their own.
    Raises `ArchError` for a name nobody knows, `FileError` for a file that is not there.
    """
    names: list[str] = []
    networks: list[tuple[Arch | Path, str]] = []
    for target in targets:
        network = _network(target, width, resolution)
        for runtime in _runtimes_of(network) or runtimes:
            names.append(target)
            networks.append((network, runtime))
    latencies = measure_networks(networks, threads=threads, seconds=seconds)
    return list(zip(names, latencies, strict=True))


def _network(target: str, width: float | None, resolution: Resolution | None) -> Arch | Path:
    path = Path(target)
    if path.suffix not in RUNTIME_OF:
        return get_arch(target, width=width, resolution=resolution)
    if not path.is_file():
        raise FileError(f"there is no file {path}")
    return path


def _runtimes_of(network: Arch | Path) -> list[str]:
    """An artefact's own; none for what can be converted to any."""
    if isinstance(network, Arch) or network.suffix == ".safetensors":
        return []
    return [RUNTIME_OF[network.suffix]]


def measure_networks(
    networks: Sequence[tuple[Arch | Path, str]], *, threads: int, seconds: float = 4.0
) -> list[Latency]:
    """The latency of each (network, runtime) in one session.

    Archs (random weights) and checkpoints are converted to files that are then deleted; any other
    file is an artefact of its runtime. Raises ConversionError where a converter fails.
    """
    with exported(networks) as files:
        return measure_files(files, threads=threads, seconds=seconds)


@contextmanager
def exported(
    networks: Sequence[tuple[Arch | Path, str]], export: Export = export_isolated
) -> Iterator[list[tuple[Path, str]]]:
    """Each (network, runtime) as (file, runtime); what `export` wrote is deleted in the end. Raises
    ConversionError where a converter fails."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        jobs: dict[str, list[Job]] = {}
        for index, (network, runtime) in enumerate(networks):
            path = Path(folder, f"{index}{check_runtime(runtime).suffix}")
            if isinstance(network, Path) and network.suffix == path.suffix:
                path = network
            else:
                jobs.setdefault(runtime, []).append(Job(network, path))
            files.append((path, runtime))
        for runtime, some in jobs.items():
            export(some, runtime)
        yield files


def measure_files(
    files: Sequence[tuple[Path, str]], *, threads: int, seconds: float
) -> list[Latency]:
    """The latency of each (file, runtime) in one session."""
    paths, runtimes = [path for path, _ in files], [runtime for _, runtime in files]
    return measure(paths, runtime=runtimes, threads=threads, seconds=seconds)
