"""Measured latencies kept in a file, so that a killed choice does not measure them again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from mobilenets.archs import Arch, digest
from mobilenets.files import write_text
from mobilenets.measurement.latency import Latency

Measure = Callable[[Sequence[Arch]], list[Latency]]


def journalled(path: Path, conditions: str, measure: Measure) -> Measure:
    """`measure`, with its results in `path` (JSON lines); those found there are not measured.

    `conditions` names what a latency depends on beside the arch: device, runtime, version,
    threads. A line that cannot be read, or holds under other conditions, is left out.
    """

    def measure_new(archs: Sequence[Arch]) -> list[Latency]:
        known = _read(path, conditions)
        new = [arch for arch in archs if digest(arch) not in known]
        found = measure(new) if new else []
        known |= {digest(arch): latency for arch, latency in zip(new, found, strict=True)}
        _write(path, conditions, known)
        return [known[digest(arch)] for arch in archs]

    return measure_new


def _read(path: Path, conditions: str) -> dict[str, Latency]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    known = {}
    for line in lines:
        try:
            record = json.loads(line)
            if record["conditions"] == conditions:
                known[record["arch"]] = Latency.from_json(record["latency"])
        except (ValueError, KeyError, TypeError):
            continue  # measured again
    return known


def _write(path: Path, conditions: str, known: dict[str, Latency]) -> None:
    records = [
        {"arch": arch, "conditions": conditions, "latency": latency.to_json(raw=True)}
        for arch, latency in known.items()
    ]
    write_text(path, "".join(f"{json.dumps(record)}\n" for record in records))
