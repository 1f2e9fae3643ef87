"""Building a device's latency table: every block and the whole networks, measured.

A block that ends in a feature map is measured with a global pool behind it. Inside a network maps
stay in the runtime's own layout. Returning one in the caller's can take longer than the block (0.22
of 0.28 ms in OpenVINO for 16 channels of 64 x 64).

What disturbs the times, and what is done about it:

- Drift: everything is measured in random order, so that it hits all alike.
- Co-tenants slow the machine by up to 1.7 times, for hundredths of a second to some seconds. No
  process waits for its core then, but a probe notices (`measuring.loop`). So all are timed in
  several bursts, far apart. The least undisturbed burst counts; where all were disturbed there are
  more.
- The machine's own speed changes in minutes. So `REFERENCES` are timed again and again beside the
  rest, and a time counts as a multiple of theirs at that moment. They have few weights: networks
  with many slow down (by 65 % within a minute) when others fill the shared caches, and most blocks
  do not.
- Placement in memory and the caches' contents decide some per cent more. So whole networks, which
  calibrate and judge the table, are loaded and measured more than once, minutes apart. So are the
  blocks that read the image, the dearest of small networks.
"""

from __future__ import annotations

import logging
import random
import shutil
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from mobilenets.archs import Arch, at_resolution, get_arch, widen
from mobilenets.archs.heads import Pooled
from mobilenets.archs.parts import pieces
from mobilenets.choosing.candidate import candidates
from mobilenets.choosing.latency_table import (
    EMPTY,
    Table,
    calibration_networks,
    conditions_of,
    held_out_networks,
    line_of,
    read_table,
    table_path,
)
from mobilenets.errors import ConversionError, MeasureError
from mobilenets.files import open_lines, scratch
from mobilenets.measuring.bursts import File, Timing, in_chunks, time_files
from mobilenets.measuring.device import current, option, subject
from mobilenets.processes.child import usable_cores
from mobilenets.progress import staged
from mobilenets.runtimes import Engine, check_runtime
from mobilenets.runtimes.isolated import Job, export_isolated, try_exports

_REFERENCE_ROWS = 7
_HEAT = 0.1  # slower by this part from the first to the last quarter: worth a warning
_CHUNK = 128  # converted, measured and written at a time
_IMAGE_TIMES, _NETWORK_TIMES = 3, 4
T = TypeVar("T")
log = logging.getLogger(__name__)


def _pooled(arch: Arch) -> Arch:
    """A feature map at the end goes into a global pool."""
    return replace(arch, head=Pooled()) if arch.head is None else arch


def _reference(name: str) -> Arch:
    arch = at_resolution(widen(get_arch(name), 0.5), 128)
    return replace(arch, rows=arch.rows[:_REFERENCE_ROWS], head=Pooled())


# The first rows of networks: every kind of layer, and few weights.
REFERENCES = tuple(map(_reference, ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large")))


class Item(NamedTuple):
    """Something to measure: a "piece" or a whole "network"."""

    kind: str
    arch: Arch

    @property
    def times(self) -> int:
        """How often."""
        if self.kind == "network":
            return _NETWORK_TIMES
        return _IMAGE_TIMES if self.arch.in_channels == 3 else 1

    @property
    def as_measured(self) -> Arch:
        """What is converted for it."""
        return _pooled(self.arch)


def build_table(
    runtime: str | Engine,
    *,
    threads: int = 1,
    image_size: int | None = None,
    folder: Path | None = None,
) -> Table:
    """Measure what is not yet in the device's table, or was measured in noise; return the table.

    The blocks are those of all candidates for images of `image_size` pixels (None: large ones).
    Interrupted, it goes on where it was. A block that the runtime cannot convert or run is left
    out with a warning. Raises FileError for a file in its place that is no such table, and
    ConversionError for a whole network that the runtime cannot convert.
    """
    engine = Engine.parse(runtime)
    check_runtime(engine)
    if engine.is_int8:
        raise MeasureError(
            f"latency tables are of fp32 networks, got {engine}; without a table, choose measures "
            f"more networks: mobilenets choose --runtime {engine} --latency 5ms"
            f"{option(current().name)}"
        )
    path = table_path(engine, threads, folder)
    table = read_table(path, engine, threads) or Table(conditions_of(engine, threads))
    wanted = wanted_items(image_size)
    missing = [item for item in wanted for _ in range(item.times - table.quiet[item.arch])]
    random.Random(0).shuffle(missing)
    log.info(f"{len(wanted) - len(set(missing))} of {len(wanted)} timings are known, {path}")
    with _Writer(path, table) as writer, staged("latency table", len(missing)) as told:
        for done, (item, timing) in enumerate(_measure(missing, engine, threads), start=1):
            writer.add(item, timing)
            told(done)
    built = read_table(path, engine, threads) or table
    if built.noisy:
        log.warning(
            f"{subject(current().name)} was disturbed during {len(built.noisy)} of the "
            "measurements; the same command repeats them when it is quiet"
        )
    if missing and built.slowed >= _HEAT:
        log.warning(
            f"{subject(current().name)} slowed by {100 * built.slowed:.0f} % during the table "
            f"(heat?), which is of both states; to measure it anew, cooler, move {path} away"
        )
    return built


def wanted_items(image_size: int | None) -> list[Item]:
    """What a table is of: the blocks of all candidates and of whole networks, and those."""
    whole = dict.fromkeys([*calibration_networks(), *held_out_networks()])
    space = [one.arch for one in candidates(1000, image_size)]
    parts = dict.fromkeys(piece for arch in [*whole, *space] for piece in pieces(arch))
    parts[EMPTY] = None
    return [*(Item("piece", arch) for arch in parts), *(Item("network", arch) for arch in whole)]


class _Writer:
    """Adds lines to the file as they come."""

    def __init__(self, path: Path, table: Table):
        self._file = open_lines(path, table.conditions)
        self._mark = time.perf_counter()

    def add(self, item: Item, timing: Timing) -> None:
        now = time.perf_counter()
        self._file.write(line_of(item.kind, item.arch, timing, now - self._mark) + "\n")
        self._file.flush()
        self._mark = now

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _measure(
    missing: Sequence[Item], engine: Engine, threads: int
) -> Iterator[tuple[Item, Timing]]:
    """Each with its timing, chunk by chunk."""
    if not missing:
        return
    suffix = check_runtime(engine).suffix
    done = 0
    with scratch() as folder:
        references = export_references(folder / "references", engine)
        # A folder a chunk: of the next one some may be converted when this one is done with.
        jobs = [
            Job(item.as_measured, folder / f"{at // _CHUNK}" / f"{at}{suffix}")
            for at, item in enumerate(missing)
        ]
        with closing(_convert(jobs, engine, threads)) as failures:
            for chunk in in_chunks(list(zip(missing, jobs, strict=True)), _CHUNK):
                ready = [
                    File(item, item.kind, job.path)
                    for item, job in chunk
                    if _converted(item, next(failures))
                ]
                yield from time_files(ready, references, engine, threads)
                shutil.rmtree(chunk[0][1].path.parent, ignore_errors=True)
                done += len(chunk)
                log.info(f"{done} of {len(missing)} timings")


def _convert(
    jobs: Sequence[Job], engine: Engine, threads: int
) -> Generator[ConversionError | None, None, None]:
    """Convert: up to a chunk ahead on the cores that do not measure, or between the chunks where
    all do."""
    free = usable_cores()[:-threads]
    if not free:
        return try_exports(jobs, engine)
    return _ahead(try_exports(jobs, engine, cores=free), _CHUNK)


def _ahead(items: Generator[T, None, None], count: int) -> Generator[T, None, None]:
    """The same items, up to `count` of them taken in a thread before they are asked for."""
    end = object()
    with closing(items):
        pool = ThreadPoolExecutor(1)
        try:
            coming = deque(pool.submit(next, items, end) for _ in range(count))
            while (item := coming.popleft().result()) is not end:
                coming.append(pool.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            pool.shutdown(cancel_futures=True)


def _converted(item: Item, failure: ConversionError | None) -> bool:
    """Without its whole networks there is no table; a block can be done without."""
    if failure and item.kind == "network":
        raise failure
    if failure:
        log.warning(str(failure))
    return failure is None


def export_references(folder: Path, engine: Engine) -> list[Path]:
    """The files of `REFERENCES`, written to `folder`."""
    suffix = check_runtime(engine).suffix
    paths = [folder / f"{number}{suffix}" for number in range(len(REFERENCES))]
    export_isolated([Job(*one) for one in zip(REFERENCES, paths, strict=True)], engine)
    return paths
