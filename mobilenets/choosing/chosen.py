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
from mobilenets.choosing.halving import Trial
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
    trials: NotRequired[list[dict[str, Any]]]


@dataclass(frozen=True)
class Chosen:
    """The network, what it is for, which limit binds, the trials that it was the best of, and its
    latency, as far as that was known (`Candidate.about_ms`)."""

    arch: Arch
    engine: Engine
    binding_limit: str | None
    trials: tuple[Trial, ...]
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
        trials = tuple(shaped(record.get("trials", []), list[Trial]))
        about_ms = record.get("about_ms", 0.0)
        return cls(from_json(record["arch"]), engine, record["binding_limit"], trials, about_ms)


CHOSEN = Stage("chosen", (ARCH, CANDIDATES), Chosen.read)


def keep(
    folder: Path, choice: Choice, tried: Sequence[Candidate], winner: Arch, trials: Sequence[Trial],
    *, threads: int,
) -> None:  # fmt: skip
    """Write the files of `CHOSEN`: of those that `tried`, the best expected first, `winner` is
    taken."""
    chosen = next(one for one in tried if one.arch == winner)
    measured = {(one.arch, one.engine): one for one in tried}
    known = (measured.get((one.arch, one.engine), one) for one in choice.candidates)
    lines = [json.dumps(one.to_json()) for one in known]
    write_text(folder / CANDIDATES, "\n".join(lines) + "\n")
    record = {
        "arch": to_json(chosen.arch),
        "runtime": chosen.engine.runtime,
        "precision": chosen.engine.precision,
        "chosen": chosen.to_json(),
        "binding_limit": choice.binding_limit if winner == tried[0].arch else "training time",
        "considered": choice.considered,
        "threads": threads,
        "about_ms": chosen.about_ms,
        "trials": [trial.to_json() for trial in trials],
    }
    write_json(folder / ARCH, record)
    log.info(f"chosen: {chosen.arch.full_name} in {chosen.engine}")
