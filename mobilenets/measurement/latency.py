"""How long networks take, measured from their files in a process of its own.

One child process measures all files of a call in turns (`measurement.loop` says why), pinned to as
many cores as threads, so that neither this process's threads nor what it has loaded matter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from mobilenets.errors import DataError, FileError, MeasureError, MobileNetsError, RuntimeMissing
from mobilenets.measurement.device import device_name, usable_cores
from mobilenets.measurement.loop import KNOWN, half_width

NOISY_SPREAD = 0.2

_WORKER = (sys.executable, "-P", "-m", "mobilenets.measurement.worker")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Raised in the child, raised again here.
_CHILD_ERRORS: dict[str, type[MobileNetsError]] = {
    kind.__name__: kind for kind in (DataError, FileError, MeasureError, RuntimeMissing)
}


@dataclass(frozen=True)
class Latency:
    """The times of one network for one batch, and the conditions they hold under.

    `times_ms` are in the order they were taken, `burst` of them back to back in each turn.
    """

    times_ms: tuple[float, ...]
    burst: int
    runtime: str
    runtime_version: str
    threads: int
    precision: str
    batch: int
    device: str

    @property
    def runs(self) -> int:
        return len(self.times_ms)

    @property
    def min_ms(self) -> float:
        return min(self.times_ms)

    @property
    def p50_ms(self) -> float:
        return median(self.times_ms)

    @property
    def p90_ms(self) -> float:
        return _quantile(self.times_ms, 0.9)

    @property
    def spread(self) -> float:
        """Interquartile range over median."""
        return (_quantile(self.times_ms, 0.75) - _quantile(self.times_ms, 0.25)) / self.p50_ms

    @property
    def turns_ms(self) -> tuple[float, ...]:
        """The median of each turn."""
        starts = range(0, self.runs, self.burst)
        return tuple(median(self.times_ms[start : start + self.burst]) for start in starts)

    @property
    def noisy(self) -> bool:
        """The machine was too noisy to decide by: runs differ by a fifth, or p50 by over 2 %."""
        return self.spread > NOISY_SPREAD or half_width(self.turns_ms) > KNOWN

    def to_json(self, *, raw: bool = False) -> dict[str, Any]:
        """Summary and conditions; with `raw` also the times, which `from_json` needs."""
        summary = ("p50_ms", "p90_ms", "min_ms", "runs", "spread", "noisy")
        record = {name: getattr(self, name) for name in summary} | asdict(self)
        if not raw:
            del record["times_ms"], record["burst"]
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Latency:
        """The inverse of `to_json(raw=True)`."""
        values = {one.name: record[one.name] for one in fields(cls) if one.name in record}
        missing = [one.name for one in fields(cls) if one.name not in values]
        if missing:
            raise FileError(
                f"the latency record lacks {', '.join(missing)}; write it with to_json(raw=True)"
            )
        return cls(**values | {"times_ms": tuple(values["times_ms"])})


def measure(
    paths: Sequence[str | Path],
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    seconds: float = 2.0,
    min_runs: int = 50,
) -> list[Latency]:
    """The latency of each file, batch 1, all in one fresh process and in turns.

    Each file is run `min_runs` times and until its median is known to 2 %, but no longer than
    `seconds` a file. Raises FileError, RuntimeMissing and MeasureError.
    """
    cores = _cores(threads)
    if not paths:
        return []
    request = {
        "paths": [str(path) for path in paths],
        "runtime": runtime,
        "threads": threads,
        "cores": cores,
        "seconds": seconds,
        "min_runs": min_runs,
    }
    reply = _ask(request, timeout=_timeout(len(paths), seconds))
    here = device_name()
    return [
        Latency(
            times_ms=tuple(target["times_ms"]),
            burst=target["burst"],
            runtime=runtime,
            runtime_version=reply["version"],
            threads=threads,
            precision=target["precision"],
            batch=1,
            device=here,
        )
        for target in reply["targets"]
    ]


def compare(latencies: Sequence[Latency]) -> list[float]:
    """How many times as long as the first each takes: the median of its ratios turn by turn.

    What slows the machine for a while slows neighbours in a turn alike, so this is steadier than
    the ratio of medians. For latencies of one `measure`.
    """
    turns = [latency.turns_ms for latency in latencies]
    if len({len(one) for one in turns}) > 1:
        raise MeasureError(
            f"latencies of {', '.join(str(len(one)) for one in turns)} turns cannot be compared; "
            "measure them in one call"
        )
    return [median(a / b for a, b in zip(one, turns[0], strict=True)) for one in turns]


def _quantile(times: Sequence[float], fraction: float) -> float:
    """By linear interpolation. Not numpy's: the child must pin itself before numpy is imported."""
    ordered = sorted(times)
    below, rest = divmod(fraction * (len(ordered) - 1), 1)
    pair = ordered[int(below) : int(below) + 2]
    return pair[0] + rest * (pair[-1] - pair[0])


def _cores(threads: int) -> list[int]:
    """The last cores: interrupts and other processes gather on the first."""
    usable = usable_cores()
    if not 1 <= threads <= len(usable):
        raise MeasureError(f"threads must be 1 to {len(usable)}, the usable cores, got {threads}")
    return usable[-threads:]


def _timeout(count: int, seconds: float) -> float:
    """Seconds to wait for the child: its start, then loading, warm-up and turns of each file."""
    return 60 + count * (30 + 3 * seconds)


def _ask(request: dict[str, Any], *, timeout: float) -> dict[str, Any]:
    """The child's reply; its errors are raised here."""
    try:
        child = subprocess.run(
            _WORKER,
            input=json.dumps(request),
            env=_environment(request["threads"]),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasureError(
            f"the measuring process took over {timeout:.0f} s: {_last_line(error.stderr)}"
        ) from error
    if child.returncode != 0:
        raise MeasureError(
            f"the measuring process failed with {child.returncode}: {_last_line(child.stderr)}"
        )
    reply = json.loads(_last_line(child.stdout))
    if "error" in reply:
        raise _CHILD_ERRORS[reply["error"]](reply["message"])
    return reply


def _environment(threads: int) -> dict[str, str]:
    """Ours, with our import path and the number of threads for libraries that read it there."""
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return os.environ | {name: str(threads) for name in _THREAD_VARIABLES} | {"PYTHONPATH": path}


def _last_line(text: str | bytes | None) -> str:
    """Of what a process wrote; on a timeout `subprocess` gives bytes, or None for nothing."""
    words = text.decode(errors="replace") if isinstance(text, bytes) else text or ""
    lines = words.strip().splitlines()
    return lines[-1] if lines else "it wrote no message"
