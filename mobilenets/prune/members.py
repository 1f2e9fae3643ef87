"""An adaptation's family in its run folder: steps.jsonl, and a checkpoint for each step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mobilenets.archs import Budget, from_json
from mobilenets.choosing.latency_table import read_table, table_path
from mobilenets.errors import FileError
from mobilenets.files import read_json, write_text
from mobilenets.nn import Checkpoint
from mobilenets.prune.prices import Price, arithmetic_price
from mobilenets.prune.step import Step
from mobilenets.runs.layout import ADAPTATION, STEPS, step_file
from mobilenets.runtimes import DEFAULT, Engine


def keep(step: Step, folder: Path) -> None:
    """Write the step: first its checkpoint, then its line, so that what has a line is whole."""
    step.checkpoint.save(step_file(folder, step.index))
    lines = [*_lines(folder)[: step.index], json.dumps(step.to_json())]
    write_text(folder / STEPS, "\n".join(lines) + "\n")


def records(folder: Path) -> list[dict[str, Any]]:
    """What steps.jsonl says of each step (`Step.to_json`); none where there is no such file."""
    try:
        return [json.loads(line) for line in _lines(folder)]
    except ValueError as error:
        raise FileError(f"{folder / STEPS} cannot be read: {error}; remove {folder}") from error


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


def run_price(folder: Path) -> Price | None:
    """The run's own price, as it was corrected last; None where it is a latency and this machine
    has no table."""
    asked, last = read_json(folder / ADAPTATION), records(folder)[-1]
    if asked["latency"] is None:
        limit = next(iter(Budget(**asked["budget"]).limits()))
        return arithmetic_price(limit, Engine.parse(asked.get("files") or DEFAULT))
    engine, threads = Engine.parse(asked["latency"][0]), asked["latency"][1]
    table = read_table(table_path(engine, threads), engine, threads)
    if table is None:
        return None
    factor = last["price"] / table.predict_ms(from_json(last["arch"]))
    return lambda arch: factor * table.predict_ms(arch)


def _lines(folder: Path) -> list[str]:
    path = folder / STEPS
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
