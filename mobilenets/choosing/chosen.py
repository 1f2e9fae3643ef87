"""The network that a run trains, and what it was chosen from: arch.json and candidates.jsonl."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, from_json, to_json
from mobilenets.choosing.candidate import Candidate
from mobilenets.choosing.choice import Choice
from mobilenets.choosing.halving import Lap
from mobilenets.files import read_json, write_json, write_text
from mobilenets.runs.layout import ARCH, CANDIDATES
from mobilenets.runs.stages import Stage
from mobilenets.runtimes import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """The network, what it is for, which limit binds, and the laps of the race that it won."""

    arch: Arch
    engine: Engine
    binding_limit: str
    laps: tuple[Lap, ...]

    @classmethod
    def read(cls, folder: Path) -> Chosen:
        """From a run's folder."""
        record = read_json(folder / ARCH)
        laps = tuple(Lap(**lap) for lap in record.get("race", []))
        return cls(from_json(record["arch"]), engine_of(record), record["binding_limit"], laps)


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
        "race": [lap.to_json() for lap in laps],
    }
    write_json(folder / ARCH, record)
    log.info(f"chosen: {chosen.arch.full_name} in {chosen.engine}")


def engine_of(record: dict[str, Any]) -> Engine:
    """What a network is for, as arch.json says it."""
    return Engine(record["runtime"], record.get("precision", "fp32"))
