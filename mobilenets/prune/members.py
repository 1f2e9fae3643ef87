"""An adaptation's family in its run folder: steps.jsonl, and a checkpoint for each step."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.archs import Budget, from_json
from mobilenets.choosing.latency_table import read_table, table_path
from mobilenets.devices.registry import find_device
from mobilenets.errors import ArchError, FileError
from mobilenets.files import broken, read_json, read_json_lines, write_text
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.nn import Checkpoint
from mobilenets.prune.prices import Price, arithmetic_price
from mobilenets.prune.settings import Settings
from mobilenets.prune.step import Step, StepRecord
from mobilenets.runs.layout import ADAPTATION, STEPS, step_file
from mobilenets.runtimes import DEFAULT, Engine

log = logging.getLogger(__name__)


def keep(step: Step, folder: Path) -> None:
    """Write the step: first its checkpoint, then its line, so that what has a line is whole."""
    step.checkpoint.save(step_file(folder, step.index))
    lines = [*_lines(folder)[: step.index], json.dumps(step.to_json())]
    write_text(folder / STEPS, "\n".join(lines) + "\n")


@dataclass(frozen=True)
class Asked:
    """What an adaptation was asked for, as its adapt.json tells: `latency` are the engine and the
    threads where that is the limit, on `device`, `files` the engine where the size is."""

    budget: Budget
    settings: Settings
    latency: tuple[str, int] | None = None
    files: str | None = None
    device: str = LOCAL.name

    def __post_init__(self) -> None:
        if len(self.budget.limits()) != 1:
            raise ValueError(f"its budget has {len(self.budget.limits())} limits, not one")

    @classmethod
    def read(cls, folder: Path) -> Asked:
        """From a run's folder; raises `FileError`."""
        return read_json(folder / ADAPTATION, cls)

    @property
    def limit(self) -> str:
        """What it was priced by."""
        return next(iter(self.budget.limits()))

    def priced_in(self, folder: Path) -> tuple[Engine, int]:
        """Where the limit is a latency: in which engine, on how many threads."""
        if self.latency is None:
            raise broken(folder / ADAPTATION, "it has a limit on the latency and no engine")
        return Engine.parse(self.latency[0]), self.latency[1]


def records(folder: Path) -> list[dict[str, Any]]:
    """What steps.jsonl says of each step (`Step.to_json`); none where there is no such file. Raises
    `FileError` for one that is broken."""
    path = folder / STEPS
    known = read_json_lines(path, StepRecord) if path.exists() else []
    for index, one in enumerate(known):
        if one["index"] != index:
            raise broken(path, f"its line {index + 1} is of step {one['index']}")
        try:
            from_json(one["arch"])
        except ArchError as error:
            raise broken(path, error) from error
    return known


def member(folder: Path, index: int) -> Step:
    """Step `index` with its weights; raises `FileError` where there is none."""
    known = records(folder)
    if not 0 <= index < len(known):
        raise FileError(
            f"{folder} has the members 0 to {len(known) - 1}, got {index}"
            if known
            else f"{folder} is no run of `mobilenets adapt`; give the folder of one"
        )
    return Step.from_json(known[index], Checkpoint.load(step_file(folder, index)))


def last_whole(folder: Path) -> Step | None:
    """The last step whose checkpoint can be read; None where there is none. Those after it are
    taken anew."""
    for index in reversed(range(len(records(folder)))):
        try:
            return member(folder, index)
        except FileError as error:
            log.warning(f"{error}; going on from the step before")
    return None


def run_price(folder: Path) -> Price | None:
    """The run's own price, as it was corrected last; None where it is a latency and there is no
    table of the run's device."""
    asked, last = Asked.read(folder), records(folder)[-1]
    if asked.limit != "latency_ms":
        return arithmetic_price(asked.limit, Engine.parse(asked.files or DEFAULT))
    engine, threads = asked.priced_in(folder)
    with measuring_on(find_device(asked.device)):
        table = read_table(table_path(engine, threads), engine, threads)
    if table is None:
        return None
    factor = last["price"] / table.predict_ms(from_json(last["arch"]))
    return lambda arch: factor * table.predict_ms(arch)


def _lines(folder: Path) -> list[str]:
    path = folder / STEPS
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
