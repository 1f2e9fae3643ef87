"""Building this machine's latency table: every piece and the whole networks, measured.

A piece that ends in a feature map is measured with a global pool behind it: inside a network maps
stay in the runtime's own layout, and handing one out in the caller's can take longer than the piece
(0.22 of 0.28 ms in OpenVINO for 16 channels of 64 x 64).

A machine whose other guests come and go is some 10 % faster in one minute than in the next, which
no process waiting for its core can notice; and they slow it for hundredths of a second, by up to a
half, V3 with its many small layers more than V1. So three networks, `REFERENCES`, are timed again
and again beside the rest, and each time counts as a multiple of what they take together just then;
and all are timed in several short bursts, far apart, of which the least counts. A table's times are
those of a machine that nobody disturbs. Where a network lies in memory decides some per cent
more, anew whenever it is loaded: so whole networks, which calibrate and judge the table, and the
pieces that read the image, the dearest of small networks, are loaded and measured more than once.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TypeVar

from mobilenets.archs import Arch, at_resolution, get_arch, widen
from mobilenets.archs.pieces import pieces
from mobilenets.archs.rows import Pool
from mobilenets.errors import MeasureError
from mobilenets.measurement.candidates import candidates
from mobilenets.measurement.latency import NOISY_WAIT, Bench, BenchTarget, measure
from mobilenets.measurement.loop import Turn, fill
from mobilenets.measurement.table import (
    EMPTY,
    Table,
    Timing,
    calibration_networks,
    conditions_of,
    held_out_networks,
    line_of,
    read_table,
    table_path,
)
from mobilenets.runtimes import check_runtime
from mobilenets.runtimes.isolated import Job, export_isolated, try_exports

# About a millisecond each, with every kind of layer.
REFERENCES = tuple(
    at_resolution(widen(get_arch(name), 0.5), 128)
    for name in ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large")
)
_ROUNDS = 4  # bursts a piece, each with those of the rest of its chunk before and after it
_PACE_EVERY = 4  # pieces from one burst of a reference to the next
_PACE_OF = 5  # chunks, half a minute: a chunk's own pace is 5 % off
_SETTLE_MS, _BURST_MS, _BURST_RUNS = 1.0, 2.0, 3
_WARM_SECONDS = 0.01
_CHUNK = 64  # pieces converted, measured and written at a time
_GROUP = 12  # whole networks measured in turns
_IMAGE_TIMES, _NETWORK_TIMES = 3, 2
_NETWORK_SECONDS = 0.5
T = TypeVar("T")
log = logging.getLogger(__name__)


def build_table(
    runtime: str, *, threads: int = 1, image_size: int | None = None, folder: Path | None = None
) -> Table:
    """Measure what is not yet in the table of this machine, or was measured in noise; return it.

    The pieces are those of all candidates for images of `image_size` pixels (None: large ones).
    Interrupted, it goes on where it was. A piece that the runtime cannot convert or run is left
    out with a warning. Raises FileError for a file in its place that is no such table.
    """
    check_runtime(runtime)
    path = table_path(runtime, threads, folder)
    table = read_table(path, runtime, threads) or Table(conditions_of(runtime, threads))
    whole = dict.fromkeys([*calibration_networks(), *held_out_networks()])
    space = [one.arch for one in candidates(1000, image_size)]
    wanted = dict.fromkeys(piece for arch in [*whole, *space] for piece in pieces(arch))
    wanted[EMPTY] = None
    missing = [piece for piece in wanted for _ in range(_piece_times(piece) - table.quiet[piece])]
    # In random order: what the machine does meanwhile then falls on all kinds of pieces alike.
    random.Random(0).shuffle(missing)
    log.info(f"{len(wanted) - len(set(missing))} of {len(wanted)} pieces are known, {path}")
    with _Writer(path, table) as writer:
        for piece, timing in _measure_pieces(missing, runtime, threads):
            writer.add("piece", piece, timing)
        for arch, timing in _measure_networks(list(whole), table.quiet, runtime, threads):
            writer.add("network", arch, timing)
    built = read_table(path, runtime, threads) or table
    if built.noisy:
        log.warning(
            f"the machine was disturbed during {len(built.noisy)} of the measurements; the same "
            "command repeats them when it is quiet"
        )
    return built


def _piece_times(piece: Arch) -> int:
    return _IMAGE_TIMES if piece.in_channels == 3 else 1


class _Writer:
    """Adds lines to the file as they come."""

    def __init__(self, path: Path, table: Table):
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        self._file = path.open("a", encoding="utf-8")
        if not before:
            self._write(json.dumps(table.conditions))
        elif not before.endswith(b"\n"):
            self._file.write("\n")  # after a line cut short
        self._mark = time.perf_counter()

    def add(self, kind: str, arch: Arch, timing: Timing) -> None:
        now = time.perf_counter()
        self._write(line_of(kind, arch, timing, now - self._mark))
        self._mark = now

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()


def _measure_pieces(
    missing: Sequence[Arch], runtime: str, threads: int
) -> Iterator[tuple[Arch, Timing]]:
    """Each piece with its timing; converted chunk by chunk, and measured while nothing converts."""
    if not missing:
        return
    suffix = check_runtime(runtime).suffix
    done = 0
    last: deque[float] = deque(maxlen=_PACE_OF)
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as kept:
        folder, references = Path(name), _export_references(Path(kept), runtime)
        # A folder a chunk: of the next one some may be converted when this one is done with.
        jobs = [
            Job(_pooled(piece), folder / f"{at // _CHUNK}" / f"{at}{suffix}")
            for at, piece in enumerate(missing)
        ]
        failures = try_exports(jobs, runtime)
        for chunk in _chunks(list(zip(missing, jobs, strict=True)), _CHUNK):
            ready = []
            for piece, job in chunk:
                failure = next(failures)
                if failure:
                    log.warning(str(failure))
                else:
                    ready.append((piece, job.path))
            yield from _time_pieces(ready, references, runtime, threads, last)
            shutil.rmtree(chunk[0][1].path.parent, ignore_errors=True)
            done += len(chunk)
            log.info(f"{done} of {len(missing)} pieces")
        failures.close()


def _pooled(piece: Arch) -> Arch:
    """The piece as it is measured: a feature map at its end goes into a global pool."""
    ends_in_map = not any(isinstance(row, Pool) for row in piece.rows)
    return replace(piece, rows=(*piece.rows, Pool())) if ends_in_map else piece


def _time_pieces(
    files: Sequence[tuple[Arch, Path]],
    references: Sequence[Path],
    runtime: str,
    threads: int,
    last: deque[float],
) -> Iterator[tuple[Arch, Timing]]:
    """In one process, and in another without the piece at which that crashed. `last` keeps what
    the references took in the last chunks, of which the median is the pace."""
    left = list(files)
    while left:
        at = 0
        with Bench(runtime, threads) as bench:
            paces = [_Bursts(bench.load(path)) for path in references]
            bursts: list[_Bursts] = []
            next_pace = cycle(paces)
            try:
                for at in [*range(len(left))] * (1 + _ROUNDS):
                    if at == len(bursts):
                        bursts.append(_Bursts(bench.load(left[at][1])))
                    else:
                        bursts[at].take()
                    if at % _PACE_EVERY == 0:
                        next(next_pace).take()
            except MeasureError as error:
                log.warning(str(error))
                del left[at]
                continue
        last.append(sum(_p50_ms(pace.least()) for pace in paces))
        for (piece, _), burst in zip(left, bursts, strict=True):
            turn = burst.least()
            yield piece, Timing(_p50_ms(turn), median(last), _disturbed(turn))
        return


class _Bursts:
    """A loaded file, timed in bursts."""

    def __init__(self, target: BenchTarget):
        run_ms = target.warm_up(_WARM_SECONDS)
        self._target = target
        self._settle = fill(_SETTLE_MS, run_ms)
        self._runs = max(_BURST_RUNS, fill(_BURST_MS, run_ms))
        self._turns: list[Turn] = []

    def take(self) -> None:
        self._turns.append(self._target.turn(self._settle, self._runs))

    def least(self) -> Turn:
        """The burst with the least p50, of those that others did not disturb where there are."""
        return min(self._turns, key=lambda turn: (_disturbed(turn), _p50_ms(turn)))


def _p50_ms(turn: Turn) -> float:
    return median(turn.times_ns) / 1e6


def _disturbed(turn: Turn) -> bool:
    return turn.waited_ns > NOISY_WAIT * turn.wall_ns


def _measure_networks(
    whole: Sequence[Arch], quiet: Mapping[Arch, int], runtime: str, threads: int
) -> Iterator[tuple[Arch, Timing]]:
    """Whole networks, some in turns with the references, in another company each time."""
    wanted = {arch: _NETWORK_TIMES - quiet[arch] for arch in whole}
    wanted = {arch: times for arch, times in wanted.items() if times > 0}
    if not wanted:
        return
    suffix = check_runtime(runtime).suffix
    with tempfile.TemporaryDirectory() as folder:
        references = _export_references(Path(folder), runtime)
        paths = {arch: Path(folder, f"{at}{suffix}") for at, arch in enumerate(wanted)}
        export_isolated([Job(arch, path) for arch, path in paths.items()], runtime)
        for time_ in range(_NETWORK_TIMES):
            some = [arch for arch, times in wanted.items() if times > time_]
            random.Random(time_).shuffle(some)
            for group in _chunks(some, _GROUP):
                files = [*references, *(paths[arch] for arch in group)]
                found = measure(files, runtime=runtime, threads=threads, seconds=_NETWORK_SECONDS)
                times = [min(latency.turns_ms) for latency in found]
                pace_ms = sum(times[: len(references)])
                latencies = found[len(references) :]
                for arch, latency, ms in zip(
                    group, latencies, times[len(references) :], strict=True
                ):
                    yield arch, Timing(ms, pace_ms, latency.waited > NOISY_WAIT)
                log.info(f"{len(group)} of {len(some)} whole networks, time {time_ + 1}")


def _export_references(folder: Path, runtime: str) -> list[Path]:
    suffix = check_runtime(runtime).suffix
    paths = [folder / f"reference-{number}{suffix}" for number in range(len(REFERENCES))]
    export_isolated([Job(*one) for one in zip(REFERENCES, paths, strict=True)], runtime)
    return paths


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
