"""What a kit is to measure, kit.json, and what comes back from another device, results.json.

Results tell the whole plan, so that they are read without the kit. Those of a browser, which may
leave it out, are of a plan that `keep_plan` has kept here.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from mobilenets.errors import FileError
from mobilenets.files import cache_folder, read_json, write_text
from mobilenets.measuring.latency import Latency
from mobilenets.measuring.machine import Machine
from mobilenets.runtimes import RUNTIMES
from mobilenets.shapes import Count, Range, shaped

PLAN, RESULTS, JOURNAL = "kit.json", "results.json", "results.jsonl"
# A tenth of a microsecond to a quarter of an hour: no network takes less or more.
Ms = Annotated[float, Range(1e-4, 1e6)]
_Seconds = Annotated[float, Range(0, 1e9)]
_Threads = Annotated[int, Range(1, 1024)]
_SHA256 = re.compile(r"[0-9a-f]{64}")
# They become parts of file names.
_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,59}")
_LONGEST = 200


class Item(TypedDict):
    """A block ("piece") or a whole network, to be timed so many times."""

    file: str
    kind: Literal["piece", "network"]
    arch: dict[str, Any]
    times: Annotated[int, Range(1, 100)]


class Artifact(TypedDict):
    """A finished artifact, to be timed until its latency decides on the limit."""

    file: str
    sha256: str
    latency_ms: Ms | None


class Plan(TypedDict):
    """kit.json; the files lie beside it."""

    mobilenets_kit: Literal[1]
    runtime: str
    threads: _Threads
    references: list[str]
    items: list[Item]
    artifacts: list[Artifact]


class Timed(TypedDict):
    """`measuring.bursts.Timing` of an item, by its place in the plan, and the seconds it took."""

    item: Count
    ms: Ms
    reference_ms: Ms
    noisy: bool
    seconds: _Seconds


class Measured(TypedDict):
    """A session of the file with this checksum."""

    sha256: str
    latency: Latency


class Results(TypedDict):
    """results.json; `kit` is the plan's `plan_id`."""

    mobilenets_results: Literal[1]
    kit: str
    kind: Literal["kit", "browser"]
    machine: Machine
    runtime: str
    runtime_version: str
    threads: _Threads
    timings: list[Timed]
    latencies: list[Measured]
    plan: NotRequired[Plan]


def plan_id(plan: Plan) -> str:
    """The SHA-256 of a plan."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def read_plan(path: Path) -> Plan:
    """The plan in the file; raises `FileError`."""
    plan: Plan = read_json(path, Plan)
    return plan


def keep_plan(plan: Plan) -> str:
    """The plan's id; results that leave it out can be read from now on."""
    write_text(_kept(plan_id(plan)), json.dumps(plan))
    return plan_id(plan)


def read_results(path: Path) -> Results:
    """What was measured on another device, with its plan.

    Raises `FileError` for a file that is damaged, half finished, another tool's, or tells what
    cannot be.
    """
    if path.suffix == ".jsonl":
        raise FileError(
            f"{path} is of a kit that is still to be run to its end; run sh run.sh there again, "
            f"and import {RESULTS}"
        )
    record = read_json(path)
    if not isinstance(record, dict) or "mobilenets_results" not in record:
        raise FileError(
            f"{path} holds no results of a kit; give the {RESULTS} that sh run.sh wrote on the "
            "device"
        )
    try:
        results: Results = shaped(record, Results)
        plan = results.get("plan") or _plan_of(results["kit"])
        _check(results, plan)
    except (ValueError, FileError) as error:
        raise FileError(
            f"{path} cannot be used ({_reason(error)}); copy it from the device again, or run "
            "sh run.sh there again"
        ) from error
    return results | {"plan": plan}


def _plan_of(kit: str) -> Plan:
    if not _SHA256.fullmatch(kit):
        raise ValueError(f"its kit is {kit[:20]!r}, which is no checksum")
    if not _kept(kit).exists():
        raise ValueError("it lacks the plan, and its kit was not written on this machine")
    return read_plan(_kept(kit))


def _kept(kit: str) -> Path:
    return cache_folder() / "kits" / f"{kit}.json"


def _check(results: Results, plan: Plan) -> None:
    """Raise ValueError for what the types do not tell."""
    if plan_id(plan) != results["kit"]:
        raise ValueError("it is not of the plan that it tells")
    if (results["runtime"], results["threads"]) != (plan["runtime"], plan["threads"]):
        raise ValueError(
            f"its kit is for {plan['runtime']} on {plan['threads']} threads, and it is of "
            f"{results['runtime']} on {results['threads']}"
        )
    if any(one["item"] >= len(plan["items"]) for one in results["timings"]):
        raise ValueError(f"it times more than the {len(plan['items'])} items of its plan")
    _check_names(results)
    for one in results["latencies"]:
        _check_latency(one["latency"], results)


def _check_names(results: Results) -> None:
    """What is printed, and what becomes a part of a file's name."""
    if results["runtime"] not in RUNTIMES:
        raise ValueError(f"its runtime is {results['runtime'][:40]!r}, which is not known")
    machine = results["machine"]
    for word in (results["runtime_version"], machine["fingerprint"]):
        if not _PLAIN.fullmatch(word):
            raise ValueError(f"{word[:40]!r} is no version, and no fingerprint")
    texts = [machine["cpu"], machine["machine"], machine["os"]]
    texts += [one["latency"].device for one in results["latencies"]]
    if not all(text.isprintable() and len(text) <= _LONGEST for text in texts):
        raise ValueError("its device has a name that cannot be printed")


def _check_latency(latency: Latency, results: Results) -> None:
    of = (latency.runtime, latency.runtime_version, latency.threads)
    if of != (results["runtime"], results["runtime_version"], results["threads"]):
        raise ValueError("a latency in it is of another runtime, version or number of threads")
    if not 1e-4 <= latency.min_ms <= max(latency.times_ms) <= 1e6:
        raise ValueError(f"a latency in it is {latency.p50_ms:.3g} ms")


def _reason(error: Exception) -> str:
    """What is wrong, without what to do with a file of our own."""
    text = str(error)
    start, end = text.find(" is broken ("), text.find("); put a good copy")
    return text[start + len(" is broken (") : end] if 0 <= start < end else text
