"""A latency table for a device: what every block of the candidates takes, and how wrong their
sums are.

One file for each device, runtime, its version and number of threads: JSON lines, the conditions
first, then a line for each block and each whole network that was measured. Lines are only ever
added, so what was measured before an interruption stays; a last line cut short is left out.

A prediction is linear in sums over a network's blocks, fitted to whole networks:

- what each block takes beyond a call of the runtime that does nothing;
- less the cost of a call, and of reading and pooling the maps between blocks (more for large ones),
  which a block alone pays and a network does not;
- plus weights that the caches lose between two runs of a network, and keep where one block runs
  again and again: none while all weights fit, all where there are twice as many;
- plus something for each squeeze-and-excite, whose small layers wait for one another.

Networks of about the same latency count most in the fit: a small one waits where a large one
computes. The error is stated on other whole networks, which neither built nor calibrated the table.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import numpy as np
from scipy.stats import kendalltau

from mobilenets.archs import Arch, Size, cost, from_json, ops, to_json
from mobilenets.archs.heads import Pooled
from mobilenets.archs.parts import pieces
from mobilenets.choosing.regress import Floats, Prices, fit, fit_prices
from mobilenets.choosing.space import random_networks
from mobilenets.errors import ArchError, FileError, MeasureError
from mobilenets.files import cache_folder, parse, read_bytes
from mobilenets.measuring.bursts import Timing
from mobilenets.measuring.device import LOCAL, current, option
from mobilenets.runtimes import Engine
from mobilenets.shapes import AboveZero, Positive, Range

CALIBRATION_NETWORKS = 48
HELD_OUT_NETWORKS = 40
_CALIBRATION_SEED, _HELD_OUT_SEED = 1, 6
# Values in a map (0.6 MB) beyond which it and its copy in another layout leave a core's own cache.
_SPILL = 150_000
# Runtimes keep maps in blocks of so many channels, the last one filled up.
_BLOCK = 16
# How many weights the caches keep is the machine's, and its other guests': the best fit says.
_KEPT_WEIGHTS = (1e5, 2e5, 3e5, 4e5, 5e5, 7e5, 1e6, 2e6, 3e6, 4e6, 6e6, 8e6)
# A network whose blocks take e^_NEAR = 2.2 times as long counts 0.6 as much, one of 5 times 0.14.
_NEAR = 0.8
_LEAST_MS = 1e-3
_FORMAT = 6  # of the file and the way of measuring; older files are left where they are
# A call of the runtime that does next to nothing.
EMPTY = Arch("piece", 1, (), Pooled(), Size(1, 1), in_channels=8)
log = logging.getLogger(__name__)


class _Conditions(TypedDict):
    """The first line of the file; `calibration` says how many networks calibrate an imported table,
    where that is another number than here."""

    table: Literal[_FORMAT]  # type: ignore[valid-type]
    device: str
    fingerprint: Annotated[str, Range(1)]
    runtime: str
    runtime_version: str
    threads: int
    calibration: NotRequired[Positive]


_Ms = AboveZero


class _Line(TypedDict):
    """Any other."""

    piece: NotRequired[dict[str, Any]]
    network: NotRequired[dict[str, Any]]
    ms: _Ms
    reference_ms: _Ms
    noisy: bool
    seconds: Annotated[float, Range(0, 1e12)]


class _Entry(NamedTuple):
    """A line of the file: a "piece" or a "network", its timing, the seconds that it took."""

    kind: str
    arch: Arch
    timing: Timing
    seconds: float


class _Sums(NamedTuple):
    """Over a network's blocks: their ms beyond an empty call, the values between them and those of
    them beyond `_SPILL` in one map, squeeze-and-excites; and each block's weights."""

    alone_ms: float
    carried: int
    spilt: int
    squeezes: int
    weights: tuple[int, ...]

    def terms(self, kept_weights: float) -> tuple[float, ...]:
        """What is priced: one, the blocks' ms, less their number (hundreds) and the values (ten
        millions); the weights (ten millions) that the caches keep for a block alone, but not, or
        not all, for so many of them; squeeze-and-excites (hundreds)."""
        lost = min(max(sum(self.weights) / kept_weights - 1, 0), 1)
        fetched = lost * sum(min(some, kept_weights) for some in self.weights)
        moved = -self.carried / 1e7, -self.spilt / 1e7, fetched / 1e7
        return 1.0, self.alone_ms, -len(self.weights) / 100, *moved, self.squeezes / 100


class Calibration(NamedTuple):
    """The whole networks that a table is calibrated on: a row of `_Sums.terms` and a time for each,
    and how many weights the caches keep from one run to the next."""

    terms: Floats
    times_ms: Floats
    kept_weights: float

    def prices(self, terms: Floats) -> Floats:
        """Fitted for the least relative error, none negative; networks like that of `terms` count
        most."""
        alone = np.maximum(np.append(self.terms[:, 1], terms[1]), _LEAST_MS)
        distances = np.log(alone[:-1] / alone[-1]) / _NEAR
        return fit(self.terms, self.times_ms, weights=np.exp(-0.5 * distances**2))


class HeldOut(NamedTuple):
    """The table's error on whole networks that neither built nor calibrated it."""

    networks: int
    median_error_pct: float
    worst_error_pct: float
    kendall_tau: float


@dataclass
class Table:
    """Latencies in ms of blocks and of whole networks under one set of conditions. `quiet` counts
    the undisturbed timings of each; where there are some, they alone count. `slowed` is the part
    by which the device became slower while it was built: 0.18 is 18 %."""

    conditions: dict[str, Any]
    pieces: dict[Arch, float] = field(default_factory=dict)
    networks: dict[Arch, float] = field(default_factory=dict)
    quiet: Counter[Arch] = field(default_factory=Counter)
    build_s: float = 0.0
    slowed: float = 0.0

    @property
    def noisy(self) -> list[Arch]:
        """What was measured only while others disturbed the machine."""
        return [arch for arch in (*self.pieces, *self.networks) if not self.quiet[arch]]

    def predict_ms(self, arch: Arch) -> float:
        """The latency of a whole network; raises MeasureError before the table is calibrated."""
        terms = np.array(self._sums(arch).terms(self.calibration.kept_weights))
        return float(terms @ self.calibration.prices(terms))

    @cached_property
    def calibration(self) -> Calibration:
        """With the number of kept weights that fits best."""
        known = self._measured(self._calibrating())
        if len(known) < self.conditions.get("calibration", CALIBRATION_NETWORKS):
            raise MeasureError(
                f"the latency table of {self.conditions['runtime']} is unfinished; finish it with: "
                f"mobilenets table --runtime {self.conditions['runtime']} "
                f"--threads {self.conditions['threads']}{option(current().name)}"
            )
        sums = [self._sums(arch) for arch, _ in known]
        times = np.array([ms for _, ms in known])
        fits = []
        for kept in _KEPT_WEIGHTS:
            terms = np.array([one.terms(kept) for one in sums])
            error = float(np.abs(terms @ fit(terms, times) / times - 1).mean())
            fits.append((error, Calibration(terms, times, kept)))
        return min(fits, key=lambda one: one[0])[1]

    def _calibrating(self) -> list[Arch]:
        """All whole networks that do not judge it: those of `calibration_networks`, and candidates
        in a kit."""
        judging = set(held_out_networks())
        archs = dict.fromkeys([*calibration_networks(), *self.networks])
        return [arch for arch in archs if arch not in judging]

    def held_out(self) -> HeldOut:
        """The error on networks kept out of building and calibrating."""
        known = self._measured(held_out_networks())
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
            "held_out": self.held_out()._asdict(),
        }

    def _sums(self, arch: Arch) -> _Sums:
        parts = pieces(arch)
        call = self.pieces.get(EMPTY, 0.0)
        inner = [ops(piece)[0] for piece in parts[1:]]
        maps = [-(-op.out_channels // _BLOCK) * _BLOCK * op.out_size.area for op in inner]
        return _Sums(
            alone_ms=sum(max(self._piece_ms(piece) - call, 0.0) for piece in parts),
            carried=sum(maps),
            spilt=sum(max(values - _SPILL, 0) for values in maps),
            squeezes=sum(op.role == "gate" for op in ops(arch)),
            weights=tuple(cost(piece).params for piece in parts),
        )

    def _measured(self, archs: Iterable[Arch]) -> list[tuple[Arch, float]]:
        return [(arch, self.networks[arch]) for arch in archs if arch in self.networks]

    def _piece_ms(self, piece: Arch) -> float:
        if piece in self.pieces:
            return self.pieces[piece]
        if piece not in self._guessed:
            self._guessed[piece] = self._arithmetic.price(piece)
        return self._guessed[piece]

    @cached_property
    def _guessed(self) -> dict[Arch, float]:
        """What `_arithmetic` said so far."""
        return {}

    @cached_property
    def _arithmetic(self) -> Prices:
        return fit_prices(self.pieces)


def calibration_networks() -> list[Arch]:
    """What a table is calibrated on."""
    return random_networks(CALIBRATION_NETWORKS, _CALIBRATION_SEED)


def held_out_networks() -> list[Arch]:
    """What its error is stated on."""
    return random_networks(HELD_OUT_NETWORKS, _HELD_OUT_SEED)


def load_tables(engines: Iterable[Engine], threads: int) -> dict[Engine, Table]:
    """The finished tables of the current device; one that cannot be used is named in a warning."""
    found = {}
    for engine in engines:
        try:
            table = read_table(table_path(engine, threads), engine, threads)
            if table is not None and table.calibration:
                found[engine] = table
        except (FileError, MeasureError) as error:
            log.warning(f"{error}; choosing without it")
    return found


def table_path(engine: Engine, threads: int, folder: Path | None = None) -> Path:
    """Where the table of these conditions is kept."""
    there = current()
    fingerprint = there.machine()["fingerprint"]
    device = "" if there.name == LOCAL.name else f"{there.name}-"
    name = f"{engine}-{there.version(engine)}-{threads}t-{device}{fingerprint}-v{_FORMAT}.jsonl"
    return (folder or cache_folder() / "tables") / name


def read_table(path: Path, engine: Engine, threads: int) -> Table | None:
    """The table in `path`, None where there is no file.

    Raises FileError for a file that is no table, or one of another device, runtime or threads. A
    line that cannot be read is left out with a warning.
    """
    if not path.exists():
        return None
    first, *lines = read_bytes(path).splitlines() or [b""]
    here = conditions_of(engine, threads)
    there = _parse_conditions(path, first)
    for key in ("fingerprint", "runtime", "runtime_version", "threads"):
        if there[key] != here[key]:
            raise FileError(
                f"{path} is the latency table of {key} {there[key]}, and this is {here[key]}; "
                f"build one with: mobilenets table{option(current().name)}"
            )
    table = Table(there)
    entries = [entry for line in lines if (entry := _parse(line)) is not None]
    if len(entries) < len(lines):
        broken = len(lines) - len(entries)
        log.warning(f"{path}: {broken} of {len(lines)} lines cannot be read and are left out")
    table.build_s = sum(entry.seconds for entry in entries)
    table.slowed = slowed([entry.timing.reference_ms for entry in entries])
    pace = median([entry.timing.reference_ms for entry in entries] or [1.0])
    timings: dict[tuple[str, Arch], list[Timing]] = {}
    for kind, arch, timing, _ in entries:
        timings.setdefault((kind, arch), []).append(timing)
    for (kind, arch), some in timings.items():
        quiet = [one for one in some if not one.noisy]
        multiples = [one.ms / one.reference_ms for one in quiet or some]
        (table.pieces if kind == "piece" else table.networks)[arch] = pace * median(multiples)
        table.quiet[arch] = len(quiet)
    return table


def slowed(paces_ms: Sequence[float]) -> float:
    """By which part the references take longer at the end of a table than at its beginning: the
    medians of the last and the first quarter of its sessions, each of which has its own pace. Heat
    slows a small device for good; a co-tenant comes and goes."""
    sessions = [pace for pace, _ in groupby(paces_ms)]
    quarter = len(sessions) // 4
    if not quarter:
        return 0.0
    return max(median(sessions[-quarter:]) / median(sessions[:quarter]) - 1, 0.0)


def conditions_of(engine: Engine, threads: int) -> dict[str, Any]:
    """What the times of a table hold for."""
    here = current().machine()
    name = "" if current().name == LOCAL.name else f"{current().name}: "
    return {
        "table": _FORMAT,
        "device": f"{name}{here['cpu']}, {here['cores']} cores, {here['machine']}",
        "fingerprint": here["fingerprint"],
        "runtime": str(engine),
        "runtime_version": current().version(engine),
        "threads": threads,
    }


def _parse_conditions(path: Path, line: bytes) -> dict[str, Any]:
    try:
        return parse(line, _Conditions)
    except ValueError as error:
        raise FileError(
            f"{path} is not a latency table, or its first line is broken ({error}); move it "
            "away, and build one with: mobilenets table"
        ) from error


def line_of(kind: str, arch: Arch, timing: Timing, seconds: float) -> str:
    """The line of a "piece" or a "network" that took `seconds` to measure."""
    return json.dumps({kind: to_json(arch), **timing._asdict(), "seconds": round(seconds, 4)})


def _parse(line: bytes) -> _Entry | None:
    """None for a line that cannot be read."""
    try:
        record = parse(line, _Line)
        kind = "piece" if "piece" in record else "network"
        arch = from_json(record.get(kind))
    except (ValueError, ArchError):
        return None
    timing = Timing(record["ms"], record["reference_ms"], record["noisy"])
    return _Entry(kind, arch, timing, record["seconds"])
