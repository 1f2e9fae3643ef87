"""Runs on the other device: measures what a kit's kit.json tells, and writes results.json.

`python3 worker.pyz KIT`; the standard library, numpy and the runtime do.
What was measured is kept in results.jsonl, a line each: killed, the same command goes on.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from mobilenets.archs.budget import Budget
from mobilenets.errors import FileError, MobileNetsError
from mobilenets.files import open_lines, parse, read_bytes, sha256_of, write_text
from mobilenets.measuring.bursts import File, in_chunks, time_files
from mobilenets.measuring.device import LocalProcess, measuring_on
from mobilenets.measuring.latency import Latency
from mobilenets.measuring.machine import Machine, is_emulated, this_machine
from mobilenets.measuring.results import (
    JOURNAL,
    PLAN,
    RESULTS,
    Artifact,
    Plan,
    Timed,
    plan_id,
    read_plan,
)
from mobilenets.measuring.sessions import time_artifact, too_noisy
from mobilenets.runtimes import RUNTIMES, Engine
from mobilenets.text import counted

_CHUNK = 64  # loaded at a time: a phone has little memory
_DRIFT = 15.0  # percent
log = logging.getLogger("mobilenets")


class _Here:
    """The device that the kit is run on: its runtime need not be able to write files."""

    name = "local"

    def machine(self) -> Machine:
        return this_machine()

    def version(self, engine: Engine) -> str:
        return RUNTIMES[engine.runtime].version()

    def start(self, engine: Engine, environment: Mapping[str, str]) -> LocalProcess:
        return LocalProcess(environment)


def run_kit(folder: Path) -> Path:
    """The path of results.json, written.

    Raises `FileError` for a kit that is damaged, or whose results.jsonl is another device's.
    """
    plan = read_plan(folder / PLAN)
    with measuring_on(_Here()), _Journal(folder, plan) as journal:
        _time_items(folder, plan, journal)
        for artifact in plan["artifacts"]:
            _time_artifact(folder, plan, artifact, journal)
        missing = journal.missing()
        if missing:
            log.warning(f"not measured: {', '.join(missing)}")
        if disturbed := journal.disturbed():
            log.warning(
                f"{disturbed:,} of {len(plan['items']):,} were measured only while other work "
                "disturbed the device; the same command repeats them when it is quiet"
            )
        if not (journal.timings or journal.latencies):
            raise FileError(f"nothing of the kit in {folder} could be measured; write it again")
        write_text(folder / RESULTS, json.dumps(journal.results()) + "\n")
    return folder / RESULTS


class _Head(TypedDict):
    """The first line of results.jsonl."""

    kit: str
    machine: Machine
    runtime_version: str


class _Sessions(TypedDict):
    """A line for an artifact; any other is `Timed`."""

    sha256: str
    sessions: list[Latency]


class _Journal:
    """What was measured so far, in memory and in results.jsonl; a context manager."""

    def __init__(self, folder: Path, plan: Plan):
        self.timings: list[Timed] = []
        self.latencies: dict[str, list[Latency]] = {}
        self._plan = plan
        self._head: _Head = {
            "kit": plan_id(plan),
            "machine": this_machine(),
            "runtime_version": RUNTIMES[plan["runtime"]].version(),
        }
        path = folder / JOURNAL
        self._read(path)
        self._file = open_lines(path, self._head)

    def quiet(self) -> Counter[int]:
        """The undisturbed timings of each item."""
        return Counter(one["item"] for one in self.timings if not one["noisy"])

    def disturbed(self) -> int:
        """How many items have disturbed timings only."""
        return len({one["item"] for one in self.timings} - set(self.quiet()))

    def add(self, timed: Timed) -> None:
        self.timings.append(timed)
        self._write(timed)

    def add_sessions(self, sha256: str, sessions: list[Latency]) -> None:
        self.latencies[sha256] = sessions
        records = [one.to_json(raw=True) for one in sessions]
        self._write({"sha256": sha256, "sessions": records})

    def missing(self) -> list[str]:
        """The files that could not be measured."""
        timed = {one["item"] for one in self.timings}
        items = [one["file"] for at, one in enumerate(self._plan["items"]) if at not in timed]
        artifacts = self._plan["artifacts"]
        return items + [one["file"] for one in artifacts if one["sha256"] not in self.latencies]

    def results(self) -> Any:
        """The JSON of results.json (`Results`)."""
        return {
            "mobilenets_results": 1,
            **self._head,
            "kind": "kit",
            "runtime": self._plan["runtime"],
            "threads": self._plan["threads"],
            "timings": self.timings,
            "latencies": [
                {"sha256": sha256, "latency": one.to_json(raw=True)}
                for sha256, sessions in self.latencies.items()
                for one in sessions
            ],
            "plan": self._plan,
        }

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self, path: Path) -> None:
        first, *lines = (read_bytes(path).splitlines() if path.exists() else []) or [b""]
        if first and not self._is_ours(first):
            raise FileError(
                f"{path} was begun on another device, with another version of the runtime, or for "
                "another kit; move it away and run the same command again"
            )
        for line in lines:
            self._take(line)

    def _is_ours(self, line: bytes) -> bool:
        try:
            head = parse(line, _Head)
        except ValueError:
            return False
        machines = head["machine"]["fingerprint"], self._head["machine"]["fingerprint"]
        mine = self._head["kit"], self._head["runtime_version"]
        return (head["kit"], head["runtime_version"]) == mine and machines[0] == machines[1]

    def _take(self, line: bytes) -> None:
        """A line cut short is measured again."""
        try:
            record = parse(line, Timed | _Sessions)
        except ValueError:
            return
        if "item" in record:
            self.timings.append(record)
        else:
            self.latencies[record["sha256"]] = record["sessions"]

    def _write(self, record: Any) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _time_items(folder: Path, plan: Plan, journal: _Journal) -> None:
    """As `choosing.table_build` measures blocks and networks here."""
    items, quiet = plan["items"], journal.quiet()
    missing = [at for at, one in enumerate(items) for _ in range(one["times"] - quiet[at])]
    random.Random(0).shuffle(missing)
    if not missing:
        return
    engine, references = Engine.parse(plan["runtime"]), [folder / one for one in plan["references"]]
    log.info(f"{counted(len(missing), 'timing')} to take, {len(journal.timings):,} are known")
    start, done = time.monotonic(), 0
    for chunk in in_chunks(missing, _CHUNK):
        files = [File(at, items[at]["kind"], folder / items[at]["file"]) for at in chunk]
        begun = time.monotonic()
        timings = list(time_files(files, references, engine, plan["threads"]))
        seconds = (time.monotonic() - begun) / max(len(timings), 1)
        for at, timing in timings:
            journal.add({"item": at, **timing._asdict(), "seconds": seconds})  # type: ignore[typeddict-item]
        done += len(chunk)
        left = (time.monotonic() - start) * (len(missing) / done - 1)
        log.info(f"{done:,} of {len(missing):,} timings, about {_minutes(left)} left")
    _tell_drift([one["reference_ms"] for one in journal.timings])


def _tell_drift(paces: Sequence[float]) -> None:
    """A device that got warm, or went to sleep, is told: times count as multiples of the
    references', so the table holds, but the device was not always as fast."""
    slower = 100 * (max(paces, default=1) / min(paces, default=1) - 1)
    if slower > _DRIFT:
        log.warning(
            f"the references took up to {slower:.0f} % longer than at best: the device got warm, "
            "saved power, or had other work"
        )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _time_artifact(folder: Path, plan: Plan, artifact: Artifact, journal: _Journal) -> None:
    """By the rule that verification here follows; again where the device was too noisy."""
    path, sha256 = folder / artifact["file"], artifact["sha256"]
    limit = artifact["latency_ms"]
    known = journal.latencies.get(sha256, [])
    if known and not too_noisy(known, math.inf if limit is None else limit):
        return
    try:
        if sha256_of(path) != sha256:
            raise FileError(f"{path} is not as it was written; copy the kit again")
        log.info(f"measuring {artifact['file']}")
        found = time_artifact(
            path, Budget(latency_ms=limit), runtime=plan["runtime"], threads=plan["threads"]
        )
        journal.add_sessions(sha256, list(found))
    except MobileNetsError as error:
        log.warning(str(error))


def main() -> None:
    """The command, with its exit status."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    if is_emulated():
        log.warning("this device is emulated: its times mean nothing, and only tell that all runs")
    try:
        print(run_kit(Path(sys.argv[1])))
    except MobileNetsError as error:
        sys.exit(f"kit: {error}")
    except KeyboardInterrupt:
        sys.exit("kit: stopped; the same command goes on where it was")
