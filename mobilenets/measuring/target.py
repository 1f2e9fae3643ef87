"""The latency of what a user names: networks, artifacts and checkpoints, in some runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mobilenets.archs import Arch, Resolution, get_arch
from mobilenets.errors import FileError
from mobilenets.files import scratch
from mobilenets.measuring.latency import Latency, measure
from mobilenets.runtimes import DEFAULT, Engine, check_runtime
from mobilenets.runtimes.artifact import RUNTIME_OF
from mobilenets.runtimes.isolated import Job, export_isolated

Export = Callable[[Sequence[Job], Engine], None]
"""Writes artifacts for this engine."""


def measure_targets(
    targets: Sequence[str],
    *,
    width: float | None = None,
    resolution: Resolution | None = None,
    engines: Sequence[Engine] = (DEFAULT,),
    threads: int = 1,
    seconds: float = 4.0,
) -> list[tuple[str, Latency]]:
    """Each target with its latency, all measured interleaved.

    A target is a network's name (random weights are timed), a checkpoint (.safetensors) or an
    artifact. Names and checkpoints are timed in each of `engines`, artifacts in their own.
    Raises `ArchError` for a name nobody knows, `FileError` for a file that is not there.
    """
    names: list[str] = []
    networks: list[tuple[Arch | Path, Engine]] = []
    for target in targets:
        network = _network(target, width, resolution)
        for engine in _engines_of(network) or engines:
            names.append(target)
            networks.append((network, engine))
    latencies = measure_networks(networks, threads=threads, seconds=seconds)
    return list(zip(names, latencies, strict=True))


def _network(target: str, width: float | None, resolution: Resolution | None) -> Arch | Path:
    path = Path(target)
    if path.is_dir():
        raise FileError(
            f"{path} is a folder; give the artifact in it, such as: "
            f"mobilenets latency {path / 'model.onnx'}"
        )
    if path.suffix not in RUNTIME_OF:
        return get_arch(target, width=width, resolution=resolution)
    if not path.is_file():
        raise FileError(f"there is no file {path}; list the networks with: mobilenets list")
    return path


def _engines_of(network: Arch | Path) -> list[Engine]:
    """An artifact's own; none for what can be converted to any."""
    if isinstance(network, Arch) or network.suffix == ".safetensors":
        return []
    return [Engine(RUNTIME_OF[network.suffix])]


def measure_networks(
    networks: Sequence[tuple[Arch | Path, Engine]], *, threads: int, seconds: float = 4.0
) -> list[Latency]:
    """The latency of each (network, engine) in one session.

    Archs (random weights) and checkpoints are converted to files that are then deleted; any other
    file is an artifact of its runtime. Raises ConversionError where a converter fails.
    """
    with exported(networks) as files:
        return measure_files(files, threads=threads, seconds=seconds)


@contextmanager
def exported(
    networks: Sequence[tuple[Arch | Path, Engine]], export: Export = export_isolated
) -> Iterator[list[tuple[Path, Engine]]]:
    """Each (network, engine) as (file, engine); what `export` wrote is deleted in the end. Raises
    ConversionError where a converter fails."""
    with scratch() as folder:
        files = []
        jobs: dict[Engine, list[Job]] = {}
        for index, (network, engine) in enumerate(networks):
            path = folder / f"{index}{check_runtime(engine).suffix}"
            if isinstance(network, Path) and network.suffix == path.suffix:
                path = network
            else:
                jobs.setdefault(engine, []).append(Job(network, path))
            files.append((path, engine))
        for engine, some in jobs.items():
            export(some, engine)
        yield files


def measure_files(
    files: Sequence[tuple[Path, Engine]], *, threads: int, seconds: float
) -> list[Latency]:
    """The latency of each (file, engine) in one session."""
    paths, engines = [path for path, _ in files], [engine for _, engine in files]
    return measure(paths, runtime=engines, threads=threads, seconds=seconds)
