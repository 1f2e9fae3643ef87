"""A latency table for this machine: what every piece of the candidates takes, and how wrong their
sums are.

One file for each device, runtime, its version and number of threads: JSON lines, the conditions
first, then a line for each piece and each whole network that was measured. Lines are only ever
added, so what was measured before an interruption stays; a last line cut short is left out.

A piece that ends in a feature map is measured with a global pool behind it: inside a network maps
stay in the runtime's own layout, and handing one out in the caller's can take longer than the piece
(0.22 of 0.28 ms in OpenVINO for 16 channels of 64 x 64).

A prediction is a line in three sums over a network's pieces, fitted to whole networks: what each
takes beyond a call of the runtime that does nothing; less what taking in and pooling the maps
between them costs; and more for the weights, which stay in the caches where one piece runs again
and again. Its error is stated on other whole networks, which neither built nor calibrated it.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.stats import kendalltau

from mobilenets.archs import Arch, cost, from_json, to_json
from mobilenets.archs.ops import ops
from mobilenets.archs.pieces import pieces
from mobilenets.archs.rows import Pool
from mobilenets.errors import ArchError, FileError, MeasureError
from mobilenets.files import cache_folder
from mobilenets.measurement.candidates import candidates
from mobilenets.measurement.device import device
from mobilenets.measurement.latency import NOISY_WAIT, Bench, Latency
from mobilenets.measurement.loop import Turn, fill
from mobilenets.measurement.regress import Prices, fit, fit_prices
from mobilenets.measurement.space import random_networks
from mobilenets.measurement.target import measure_networks
from mobilenets.runtimes import check_runtime
from mobilenets.runtimes.isolated import Job, try_exports

CALIBRATION_NETWORKS = 32
HELD_OUT_NETWORKS = 40
_CALIBRATION_SEED, _HELD_OUT_SEED = 1, 2
# A call of the runtime that does next to nothing.
EMPTY = Arch("piece", 1, (Pool(),), resolution=1, classes=1, in_channels=8, dropout=0.0)
_BURST_MS = 10.0
_WARM_SECONDS = 0.02
_TRIES = 3
_CHUNK = 64  # pieces converted, measured and written at a time
_GROUP = 14  # whole networks measured in turns
T = TypeVar("T")
log = logging.getLogger(__name__)


class Calibration(NamedTuple):
    """The price of each of `Table.terms`."""

    offset_ms: float
    slope: float
    carrying_ms: float  # for ten million values, out of one piece and into the next
    fetching_ms: float  # for ten million weights


class HeldOut(NamedTuple):
    """The table's error on whole networks that neither built nor calibrated it."""

    networks: int
    median_error_pct: float
    worst_error_pct: float
    kendall_tau: float


@dataclass
class Table:
    """Latencies in ms of pieces and of whole networks under one set of conditions; `noisy` are
    those that were measured while the machine was disturbed."""

    conditions: dict[str, Any]
    pieces: dict[Arch, float] = field(default_factory=dict)
    networks: dict[Arch, float] = field(default_factory=dict)
    noisy: set[Arch] = field(default_factory=set)
    build_s: float = 0.0

    def add_(self, kind: str, arch: Arch, ms: float, noisy: bool) -> None:
        """Take in one measurement; the later of two counts."""
        entries = self.pieces if kind == "piece" else self.networks
        entries[arch] = ms
        (self.noisy.add if noisy else self.noisy.discard)(arch)

    def lacks(self, arch: Arch) -> bool:
        """Whether a piece or network was not measured, or only in noise."""
        return arch in self.noisy or not (arch in self.pieces or arch in self.networks)

    def predict_ms(self, arch: Arch) -> float:
        """The latency of a whole network; raises MeasureError before the table is calibrated."""
        return float(np.array(self.terms(arch)) @ np.array(self.calibration))

    @cached_property
    def calibration(self) -> Calibration:
        """Fitted to whole networks for the least relative error, none negative."""
        known = self._measured(random_networks(CALIBRATION_NETWORKS, _CALIBRATION_SEED))
        if len(known) < CALIBRATION_NETWORKS:
            raise MeasureError(
                f"the latency table of {self.conditions['runtime']} is unfinished; finish it with: "
                f"mobilenets table --runtime {self.conditions['runtime']} "
                f"--threads {self.conditions['threads']}"
            )
        terms = np.array([self.terms(arch) for arch, _ in known])
        return Calibration(*map(float, fit(terms, np.array([ms for _, ms in known]))))

    def held_out(self) -> HeldOut:
        """The error on networks kept out of building and calibrating."""
        known = self._measured(random_networks(HELD_OUT_NETWORKS, _HELD_OUT_SEED))
        predicted = [self.predict_ms(arch) for arch, _ in known]
        measured = [ms for _, ms in known]
        errors = [100 * abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)]
        return HeldOut(
            networks=len(known),
            median_error_pct=median(errors),
            worst_error_pct=max(errors),
            kendall_tau=float(kendalltau(predicted, measured).statistic),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON of `mobilenets table`."""
        here = self.conditions
        return {
            "entries": len(self.pieces),
            "noisy": len(self.noisy),
            "build_s": round(self.build_s, 1),
            "device": here["device"],
            "runtime": here["runtime"],
            "runtime_version": here["runtime_version"],
            "threads": here["threads"],
            "calibration": self.calibration._asdict(),
            "held_out": self.held_out()._asdict(),
        }

    def terms(self, arch: Arch) -> tuple[float, ...]:
        """One, the pieces' ms beyond an empty call, less the values between them, the weights."""
        parts = pieces(arch)
        call = self.pieces.get(EMPTY, 0.0)
        alone = sum(max(self._piece_ms(piece) - call, 0.0) for piece in parts)
        inner = (ops(piece)[0] for piece in parts[1:])
        carried = sum(op.out_channels * op.out_size**2 for op in inner)
        return 1.0, alone, -carried / 1e7, cost(arch).params / 1e7

    def _measured(self, archs: Iterable[Arch]) -> list[tuple[Arch, float]]:
        return [(arch, self.networks[arch]) for arch in archs if arch in self.networks]

    def _piece_ms(self, piece: Arch) -> float:
        known = self.pieces.get(piece)
        return self._arithmetic.price(piece) if known is None else known

    @cached_property
    def _arithmetic(self) -> Prices:
        return fit_prices(self.pieces)


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
    table = read_table(path, runtime, threads) or Table(_conditions(runtime, threads))
    whole = [
        *random_networks(CALIBRATION_NETWORKS, _CALIBRATION_SEED),
        *random_networks(HELD_OUT_NETWORKS, _HELD_OUT_SEED),
    ]
    space = [one.arch for one in candidates(1000, image_size)]
    wanted = dict.fromkeys(piece for arch in [*whole, *space] for piece in pieces(arch))
    wanted[EMPTY] = None
    missing = [piece for piece in wanted if table.lacks(piece)]
    # In random order: what the machine does meanwhile then falls on all kinds of pieces alike.
    random.Random(0).shuffle(missing)
    log.info(f"{len(wanted) - len(missing)} of {len(wanted)} pieces are known, {path}")
    with _Writer(path, table) as writer:
        for piece, ms, noisy in _measure_pieces(missing, runtime, threads):
            writer.add("piece", piece, ms, noisy=noisy)
        for group in _chunks([arch for arch in dict.fromkeys(whole) if table.lacks(arch)], _GROUP):
            for arch, latency in _measure_group(group, runtime, threads):
                writer.add("network", arch, latency.p50_ms, noisy=latency.noisy)
            log.info(f"{len(table.networks)} of {len(whole)} whole networks")
    if table.noisy:
        log.warning(
            f"the machine was disturbed during {len(table.noisy)} of the measurements; the same "
            "command repeats them when it is quiet"
        )
    return read_table(path, runtime, threads) or table


def load_tables(runtimes: Iterable[str], threads: int) -> dict[str, Table]:
    """The finished tables of this machine; one that cannot be used is named in a warning."""
    found = {}
    for runtime in runtimes:
        try:
            table = read_table(table_path(runtime, threads), runtime, threads)
            if table is not None and table.calibration:
                found[runtime] = table
        except (FileError, MeasureError) as error:
            log.warning(f"{error}; choosing without it")
    return found


def table_path(runtime: str, threads: int, folder: Path | None = None) -> Path:
    """Where the table of these conditions is kept."""
    known = check_runtime(runtime)
    name = f"{runtime}-{known.version()}-{threads}t-{device()['fingerprint']}.jsonl"
    return (folder or cache_folder() / "tables") / name


def read_table(path: Path, runtime: str, threads: int) -> Table | None:
    """The table in `path`, None where there is no file.

    Raises FileError for a file that is no table, or one of another device, runtime or threads. A
    line that cannot be read is left out with a warning.
    """
    if not path.exists():
        return None
    first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    here = _conditions(runtime, threads)
    there = _parse_conditions(path, first)
    for key in ("fingerprint", "runtime", "runtime_version", "threads"):
        if there[key] != here[key]:
            raise FileError(
                f"{path} is the latency table of {key} {there[key]}, and this is {here[key]}; "
                "build one here with: mobilenets table"
            )
    table = Table(there)
    broken = sum(not _read_line(table, line) for line in lines)
    if broken:
        log.warning(f"{path}: {broken} of {len(lines)} lines cannot be read and are left out")
    return table


def _conditions(runtime: str, threads: int) -> dict[str, Any]:
    here = device()
    return {
        "table": 2,  # of the format and the way of measuring
        "device": f"{here['cpu']}, {here['cores']} cores, {here['machine']}",
        "fingerprint": here["fingerprint"],
        "runtime": runtime,
        "runtime_version": check_runtime(runtime).version(),
        "threads": threads,
    }


def _parse_conditions(path: Path, line: str) -> dict[str, Any]:
    try:
        conditions = json.loads(line)
        if conditions["table"] == 2 and conditions["fingerprint"]:
            return conditions
    except (ValueError, KeyError, TypeError):
        pass
    raise FileError(f"{path} is not a latency table, or its first line is broken; move it away")


def _read_line(table: Table, line: str) -> bool:
    """Put one line into the table; whether it could be read."""
    try:
        record = json.loads(line)
        if "seconds" in record:
            table.build_s += record["seconds"]
            return True
        kind = "piece" if "piece" in record else "network"
        table.add_(kind, from_json(record[kind]), float(record["ms"]), bool(record.get("noisy")))
    except (ValueError, KeyError, TypeError, ArchError):
        return False
    return True


class _Writer:
    """Adds lines to the file as they come, and at the end the seconds that it took."""

    def __init__(self, path: Path, table: Table):
        self._table = table
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        self._file = path.open("a", encoding="utf-8")
        if not before:
            self._write(table.conditions)
        elif not before.endswith(b"\n"):
            self._file.write("\n")  # after a line cut short
        self._mark = time.perf_counter()

    def add(self, kind: str, arch: Arch, ms: float, *, noisy: bool) -> None:
        self._table.add_(kind, arch, ms, noisy)
        self._write({kind: to_json(arch), "ms": ms, "noisy": noisy})
        now = time.perf_counter()
        self._write({"seconds": round(now - self._mark, 4)})
        self._mark = now

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def _measure_pieces(
    missing: Sequence[Arch], runtime: str, threads: int
) -> Iterator[tuple[Arch, float, bool]]:
    """Each piece with its p50 and whether that is noisy; converted chunk by chunk, and measured
    while nothing converts."""
    suffix = check_runtime(runtime).suffix
    done = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = [Job(_pooled(piece), folder / f"{at}{suffix}") for at, piece in enumerate(missing)]
        failures = try_exports(jobs, runtime)
        for chunk in _chunks(list(zip(missing, jobs, strict=True)), _CHUNK):
            ready = []
            for piece, job in chunk:
                failure = next(failures)
                if failure:
                    log.warning(str(failure))
                else:
                    ready.append((piece, job.path))
            yield from _time_pieces(ready, runtime, threads)
            _empty(folder)
            done += len(chunk)
            log.info(f"{done} of {len(missing)} pieces")
        failures.close()


def _pooled(piece: Arch) -> Arch:
    """The piece as it is measured: a feature map at its end goes into a global pool."""
    ends_in_map = not any(isinstance(row, Pool) for row in piece.rows)
    return replace(piece, rows=(*piece.rows, Pool())) if ends_in_map else piece


def _time_pieces(
    files: Sequence[tuple[Arch, Path]], runtime: str, threads: int
) -> Iterator[tuple[Arch, float, bool]]:
    """In one process, and in another after a piece at which that crashed."""
    left = list(files)
    while left:
        with Bench(runtime, threads) as bench:
            while left:
                piece, path = left.pop(0)
                try:
                    yield piece, *_time_piece(bench, path)
                except MeasureError as error:
                    log.warning(str(error))
                    break


def _time_piece(bench: Bench, path: Path) -> tuple[float, bool]:
    """The p50 of a burst, and whether others had the cores meanwhile: then it is the least
    disturbed of three."""
    target = bench.load(path)
    burst = max(5, fill(_BURST_MS, target.warm_up(_WARM_SECONDS)))
    best = target.turn(0, burst)
    for _ in range(_TRIES - 1):
        if not _disturbed(best):
            break
        best = min(best, target.turn(0, burst), key=lambda turn: turn.waited_ns / turn.wall_ns)
    target.unload()
    return median(best.times_ns) / 1e6, _disturbed(best)


def _disturbed(turn: Turn) -> bool:
    return turn.waited_ns > NOISY_WAIT * turn.wall_ns


def _measure_group(
    archs: Sequence[Arch], runtime: str, threads: int
) -> Iterator[tuple[Arch, Latency]]:
    networks = [(arch, runtime) for arch in archs]
    latencies = measure_networks(networks, threads=threads, seconds=1.0)
    return zip(archs, latencies, strict=True)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
