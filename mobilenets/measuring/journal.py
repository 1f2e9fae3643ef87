"""Measured latencies kept in a file, so that a killed choice does not measure them again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from mobilenets.archs import Arch, digest
from mobilenets.files import parse, read_bytes, write_text
from mobilenets.measuring.latency import Latency
from mobilenets.runtimes import Engine

Measure = Callable[[Sequence[Arch], Engine], list[Latency]]
"""The latency of each arch in this engine."""


def journalled(path: Path, conditions: Callable[[Engine], str], measure: Measure) -> Measure:
    """`measure`, with its results in `path` (JSON lines); those found there are not measured.

    `conditions` names what a latency in an engine depends on beside the arch: device, version,
    threads. A line that cannot be read is left out; one that holds under other conditions stays
    there and is not used.
    """

    def measure_new(archs: Sequence[Arch], engine: Engine) -> list[Latency]:
        known = _read(path)
        keys = [(conditions(engine), digest(arch)) for arch in archs]
        new = [arch for key, arch in zip(keys, archs, strict=True) if key not in known]
        found = measure(new, engine) if new else []
        known |= {
            (conditions(engine), digest(arch)): latency
            for arch, latency in zip(new, found, strict=True)
        }
        _write(path, known)
        return [known[key] for key in keys]

    return measure_new


_Known = dict[tuple[str, str], Latency]


class _Line(TypedDict):
    conditions: str
    arch: str
    latency: Latency


def _read(path: Path) -> _Known:
    known: _Known = {}
    for line in read_bytes(path).splitlines() if path.exists() else []:
        try:
            record = parse(line, _Line)
        except ValueError:
            continue  # measured again
        known[record["conditions"], record["arch"]] = record["latency"]
    return known


def _write(path: Path, known: _Known) -> None:
    records = [
        {"arch": arch, "conditions": conditions, "latency": latency.to_json(raw=True)}
        for (conditions, arch), latency in known.items()
    ]
    write_text(path, "".join(f"{json.dumps(record)}\n" for record in records))
