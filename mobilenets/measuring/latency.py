"""How long networks take, measured from their files in processes of their own.

A process for each runtime, on this machine or the `current` device, pinned to as many cores as
threads: neither this process's threads nor what it or another runtime has loaded matter. All files
of a call are measured interleaved, whatever their runtimes (`measuring.loop` says why).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain, compress
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from mobilenets.errors import FileError, MeasureError
from mobilenets.measuring.device import current, device_words, on_another
from mobilenets.measuring.loop import KNOWN, Timed, Turn, half_width, interleave, undisturbed
from mobilenets.processes.child import ChildDied
from mobilenets.runtimes import Engine
from mobilenets.runtimes.artifact import RUNTIME_OF
from mobilenets.shapes import AboveZero, Count, Number, Positive, Range, shaped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOISY_SPREAD = 0.2
NOISY_WAIT = 0.05

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LOAD_SECONDS = 300.0  # torch.compile takes most of a minute for one network


_Ms = AboveZero


class LatencyRecord(TypedDict):
    """What the pages read of `Latency.to_json`."""

    p50_ms: _Ms
    p90_ms: _Ms
    runs: Count
    spread: Number
    slowed: NotRequired[Number]
    noisy: bool
    runtime: str
    runtime_version: str
    threads: Count
    precision: str
    batch: Count
    device: str
    predicted: NotRequired[str]


@dataclass(frozen=True)
class Latency:
    """The times of one network for one batch, and the conditions they hold under.

    `times_ms` are in the order they were taken, `burst` of them back to back in each turn;
    `waited` is the part of its turns in which others had its cores, 0 to 1. `probes_ns` has one for
    each turn (`measuring.loop` says of what): turns beside a slow one do not count in the
    statistics. None were taken where it is empty, and all turns count.
    """

    times_ms: Annotated[tuple[_Ms, ...], Range(1)]
    burst: Positive
    runtime: str
    runtime_version: str
    threads: int
    precision: str
    batch: int
    device: str
    waited: float = 0.0
    probes_ns: tuple[int, ...] = ()

    @property
    def runs(self) -> int:
        return len(self._counted_ms)

    @property
    def min_ms(self) -> float:
        return min(self._counted_ms)

    @property
    def p50_ms(self) -> float:
        return median(self._counted_ms)

    @property
    def p90_ms(self) -> float:
        return _quantile(self._counted_ms, 0.9)

    @property
    def spread(self) -> float:
        """Interquartile range over median."""
        counted = self._counted_ms
        return (_quantile(counted, 0.75) - _quantile(counted, 0.25)) / median(counted)

    @property
    def slowed(self) -> float:
        """The part of its turns in which the core was slower than at its best, 0 to 1: they do not
        count."""
        return 1 - sum(self.counts) / len(self.counts)

    @property
    def counts(self) -> list[bool]:
        """Of each turn, whether it counts."""
        return undisturbed(self.probes_ns) or [True] * len(self._bursts_ms)

    @property
    def probe_ns(self) -> int:
        """What its probe took at best; 0 where none were taken."""
        return min(self.probes_ns, default=0)

    @property
    def turns_ms(self) -> tuple[float, ...]:
        """The median of each turn, of all of them."""
        return tuple(map(median, self._bursts_ms))

    @property
    def noisy(self) -> bool:
        """The machine was too noisy to decide by: runs differ by a fifth, p50 is not known to 2 %,
        or others had our cores for a twentieth of the time."""
        return (
            self.spread > NOISY_SPREAD
            or self.waited > NOISY_WAIT
            or half_width(list(compress(self.turns_ms, self.counts))) > KNOWN
        )

    @property
    def _bursts_ms(self) -> list[tuple[float, ...]]:
        starts = range(0, len(self.times_ms), self.burst)
        return [self.times_ms[start : start + self.burst] for start in starts]

    @property
    def _counted_ms(self) -> list[float]:
        return list(chain.from_iterable(compress(self._bursts_ms, self.counts)))

    def to_json(self, *, raw: bool = False) -> dict[str, Any]:
        """Summary and conditions; with `raw` also the times, which `from_json` needs."""
        summary = ("p50_ms", "p90_ms", "min_ms", "runs", "spread", "slowed", "noisy")
        record = {name: getattr(self, name) for name in summary} | asdict(self)
        if not raw:
            del record["times_ms"], record["burst"], record["probes_ns"]
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Latency:
        """The inverse of `to_json(raw=True)`."""
        try:
            return shaped(record, cls)
        except ValueError as error:
            raise FileError(
                f"the latency record is broken ({error}); write it with to_json(raw=True)"
            ) from error


@dataclass(frozen=True)
class Predicted:
    """What stands for a `Latency` on a device that cannot be reached, until it is measured there;
    `name` is the device's."""

    p50_ms: float
    name: str
    runtime: str
    runtime_version: str
    threads: int
    precision: str
    device: str

    def to_json(self) -> dict[str, Any]:
        """The keys of `LatencyRecord`; `predicted` is the name of the device."""
        record = asdict(self)
        name = record.pop("name")
        return record | {
            "p90_ms": self.p50_ms, "min_ms": self.p50_ms, "runs": 0, "spread": 0.0, "slowed": 0.0,
            "waited": 0.0, "noisy": False, "batch": 1, "predicted": name,
        }  # fmt: skip


def measure(
    paths: Sequence[str | Path],
    *,
    runtime: str | Engine | Sequence[str | Engine] | None = None,
    threads: int = 1,
    seconds: float = 4.0,
    min_runs: int = 50,
) -> list[Latency]:
    """The latency of each file, batch 1, all measured interleaved.

    `runtime` is one for all or one for each; None goes by the files' suffixes. Each file is run
    `min_runs` times, for two seconds and until its median is known to 2 %, but no longer than
    `seconds` a file.
    Raises FileError, RuntimeMissing and MeasureError.
    """
    files = [Path(path) for path in paths]
    engines = engines_of(files, runtime)
    with ExitStack() as stack:
        bench = {one: stack.enter_context(Bench(one, threads)) for one in dict.fromkeys(engines)}
        targets = [bench[one].load(path) for one, path in zip(engines, files, strict=True)]
        timed = interleave(targets, seconds=seconds, min_runs=min_runs)
        return [target.latency(one) for target, one in zip(targets, timed, strict=True)]


class Bench:
    """A measuring process of one engine on the `current` device, in which files are loaded and
    timed; a context manager.

    Raises MeasureError for more threads than cores, or when the process crashes.
    """

    def __init__(self, engine: Engine, threads: int):
        self.engine = engine
        self.threads = threads
        self.device = device_words(current())
        self._sent: dict[str, Path] = {}  # by where it lies there
        environment = {name: str(threads) for name in _THREAD_VARIABLES}
        self._process = current().start(engine, environment)
        try:
            self.version = self.ask("start", runtime=engine.runtime, threads=threads)
        except BaseException:
            self._process.close()
            raise

    def load(self, path: Path) -> BenchTarget:
        """A file made ready to run; raises FileError."""
        there = self._process.send(path)
        self._sent[there] = path
        return BenchTarget(self, there, self.ask("load", path=there))

    def ask(self, do: str, **words: Any) -> Any:
        """An answer of the process (see `worker`)."""
        timeout = _LOAD_SECONDS + 10 * float(words.get("seconds", 0))
        try:
            return self._process.ask({"do": do, **words}, timeout=timeout)
        except ChildDied as error:
            path = self._sent.get(words.get("path", ""), words.get("path", ""))
            what = f"measuring {path}".strip()
            raise MeasureError(
                f"{what} in {self.engine} failed{on_another()}: its process {error}"
            ) from error

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.close()


@dataclass(frozen=True)
class BenchTarget:
    """One file loaded in a `Bench`: a target of the measuring loop."""

    bench: Bench
    path: str
    precision: str

    def warm_up(self, seconds: float) -> float:
        return self.bench.ask("warm_up", path=self.path, seconds=seconds)

    def turn(self, settle: int, burst: int) -> Turn:
        return Turn(*self.bench.ask("turn", path=self.path, settle=settle, burst=burst))

    def answers(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The outputs by name, (N, ...) each, for images (N, C, H, W) in [0, 1]."""
        from mobilenets.measuring.arrays import packed, unpacked

        found = self.bench.ask("answers", path=self.path, images=packed(images))
        return {name: unpacked(one) for name, one in found.items()}

    def latency(self, timed: Timed) -> Latency:
        """These times with the conditions they were taken under."""
        return Latency(
            times_ms=timed.times_ms,
            burst=timed.burst,
            runtime=self.bench.engine.runtime,
            runtime_version=self.bench.version,
            threads=self.bench.threads,
            precision=self.precision,
            batch=1,
            device=self.bench.device,
            waited=timed.waited,
            probes_ns=timed.probes_ns,
        )


def compare(latencies: Sequence[Latency]) -> list[float]:
    """How many times as long as the first each takes: the median of its ratios turn by turn.

    What slows the machine for a while slows neighbours in a turn alike, so this is steadier than
    the ratio of medians. Turns count in which the core was at its best for all, where there are
    some. For latencies of one `measure`.
    """
    turns = [latency.turns_ms for latency in latencies]
    if len({len(one) for one in turns}) > 1:
        raise MeasureError(
            f"latencies of {', '.join(str(len(one)) for one in turns)} turns cannot be compared; "
            "measure them in one call"
        )
    best = [all(counts) for counts in zip(*(latency.counts for latency in latencies), strict=True)]
    counted = [list(compress(one, best)) if any(best) else one for one in turns]
    return [median(a / b for a, b in zip(one, counted[0], strict=True)) for one in counted]


def _quantile(times: Sequence[float], fraction: float) -> float:
    """By linear interpolation."""
    ordered = sorted(times)
    below, rest = divmod(fraction * (len(ordered) - 1), 1)
    pair = ordered[int(below) : int(below) + 2]
    return pair[0] + rest * (pair[-1] - pair[0])


def engines_of(
    paths: Sequence[Path], runtime: str | Engine | Sequence[str | Engine] | None = None
) -> list[Engine]:
    """`runtime` for each file; None goes by the files' suffixes. Raises FileError."""
    if isinstance(runtime, str | Engine):
        return [Engine.parse(runtime)] * len(paths)
    if runtime is not None:
        return [Engine.parse(one) for one in runtime]
    unknown = [path for path in paths if path.suffix not in RUNTIME_OF]
    if unknown:
        raise FileError(
            f"{unknown[0]} is of no known runtime; give a file that ends in {', '.join(RUNTIME_OF)}"
        )
    return [Engine(RUNTIME_OF[path.suffix]) for path in paths]
