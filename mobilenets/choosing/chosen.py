"""The network that a run trains, and what it was chosen from: arch.json and candidates.jsonl."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mobilenets.archs import Arch, from_json, to_json
from mobilenets.choosing.candidate import Candidate
from mobilenets.choosing.choice import Choice
from mobilenets.choosing.halving import Lap
from mobilenets.errors import ArchError, RuntimeMissing
from mobilenets.files import broken, read_json, write_json, write_text
from mobilenets.runs.layout import ARCH, CANDIDATES
from mobilenets.runs.stages import Stage
from mobilenets.runtimes import Engine
from mobilenets.shapes import Count, Number, shaped

log = logging.getLogger(__name__)


class ChosenRecord(TypedDict):
    """What is read of arch.json."""

    arch: dict[str, Any]
    runtime: str
    precision: NotRequired[str]
    binding_limit: str | None
    considered: Count
    about_ms: NotRequired[Number]
    race: NotRequired[list[dict[str, Any]]]


@dataclass(frozen=True)
class Chosen:
    """The network, what it is for, which limit binds, the laps of the race that it won, and its
    latency, as far as that was known (`Candidate.about_ms`)."""

    arch: Arch
    engine: Engine
    binding_limit: str | None
    laps: tuple[Lap, ...]
    about_ms: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> Chosen:
        """From a run's folder."""
        try:
            return cls.of(read_json(folder / ARCH, ChosenRecord))
        except (ArchError, RuntimeMissing, ValueError) as error:
            raise broken(folder / ARCH, error) from error

    @classmethod
    def of(cls, record: dict[str, Any]) -> Chosen:
        """What arch.json says; raises `ArchError`, `RuntimeMissing` and ValueError."""
        engine = Engine(record["runtime"], record.get("precision", "fp32"))
        laps = tuple(shaped(record.get("race", []), list[Lap]))
        about_ms = record.get("about_ms", 0.0)
        return cls(from_json(record["arch"]), engine, record["binding_limit"], laps, about_ms)


CHOSEN = Stage("chosen", (ARCH, CANDIDATES), Chosen.read)


def keep(
    folder: Path, choice: Choice, raced: Sequence[Candidate], winner: Arch, laps: Sequence[Lap],
    *, threads: int,
) -> None:  # fmt: skip
    """Write the files of `CHOSEN`: of those that `raced`, the best expected first, `winner` is
    taken."""
    chosen = next(one for one in raced if one.arch == winner)
    measured = {(one.arch, one.engine): one for one in raced}
    known = (measured.get((one.arch, one.engine), one) for one in choice.candidates)
    lines = [json.dumps(one.to_json()) for one in known]
    write_text(folder / CANDIDATES, "\n".join(lines) + "\n")
    record = {
        "arch": to_json(chosen.arch),
        "runtime": chosen.engine.runtime,
        "precision": chosen.engine.precision,
        "chosen": chosen.to_json(),
        "binding_limit": choice.binding_limit if winner == raced[0].arch else "training time",
        "considered": choice.considered,
        "threads": threads,
        "about_ms": chosen.about_ms,
        "race": [lap.to_json() for lap in laps],
    }
    write_json(folder / ARCH, record)
    log.info(f"chosen: {chosen.arch.full_name} in {chosen.engine}")
