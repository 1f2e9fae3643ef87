"""`verify`: the final verdict on a run, by the latencies that its device measured."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobilenets.archs.budget import LIMIT_NAMES, Use
from mobilenets.commands.fit import FROM_VERDICT
from mobilenets.deliver.finished import Run
from mobilenets.deliver.judged import Judged
from mobilenets.deliver.record import read_verdict
from mobilenets.deliver.run_report import report
from mobilenets.deliver.verdict import OF_ANSWERS
from mobilenets.devices.imported import Imported
from mobilenets.devices.registry import find_device
from mobilenets.errors import FileError
from mobilenets.files import read_json, sha256_of, write_json
from mobilenets.measuring.device import LOCAL, device_in
from mobilenets.measuring.latency import Latency
from mobilenets.measuring.machine import described
from mobilenets.measuring.results import read_results
from mobilenets.measuring.sessions import deciding
from mobilenets.runs.layout import SUMMARY, VERDICT
from mobilenets.runtimes.artifact import is_intact


def verify_run(folder: Path, path: Path) -> Run:
    """The run with its verdict, summary and report written again.

    Raises `FileError` for results of another device or artifact, or that cannot be used, and for a
    run that waits for none.
    """
    summary = read_json(folder / SUMMARY, dict[str, Any])
    verdict, device = read_verdict(folder), _device(folder, summary)
    sessions = _sessions(path, device, Path(summary["artifact"]))
    uses = _uses(verdict, sessions[-1])
    judged = Judged(sessions, uses, device=device.name, host_ms=verdict.get("host_ms", 0.0))
    told = [one for one in verdict["complaints"] if one.startswith(OF_ANSWERS)]
    verdict |= judged.to_json() | {"complaints": [*judged.complaints(), *told]}
    write_json(folder / VERDICT, verdict)
    summary |= {key: verdict[key] for key in FROM_VERDICT if key in verdict}
    write_json(folder / SUMMARY, summary)
    report(folder)
    return Run(folder, summary)


def _device(folder: Path, summary: dict[str, Any]) -> Imported:
    device = find_device(device_in(summary))
    if not isinstance(device, Imported):
        where = "this machine" if device is LOCAL else f"{device.name}, which ssh reaches"
        raise FileError(f"{folder} was measured on {where}: it waits for no results")
    return device


def _sessions(path: Path, device: Imported, artifact: Path) -> tuple[Latency, ...]:
    """The artifact's that decide on its limit, the slowest last."""
    results = read_results(path)
    if results["machine"]["fingerprint"] != device.machine()["fingerprint"]:
        raise FileError(
            f"{path} is of another device than {device.name}: {described(results['machine'])} "
            f"against {described(device.machine())}"
        )
    if not is_intact(artifact):
        raise FileError(f"{artifact} was changed after its export; run mobilenets fit again")
    sha256 = sha256_of(artifact)
    found = [one["latency"] for one in results["latencies"] if one["sha256"] == sha256]
    if not found:
        raise FileError(
            f"{path} holds no latency of {artifact}; run the kit that lies beside it on "
            f"{device.name}"
        )
    limits = [one["latency_ms"] for one in results["plan"]["artifacts"] if one["sha256"] == sha256]
    limit = next((one for one in limits if one is not None), math.inf)
    named = [replace(one, device=f"{device.name}: {one.device}") for one in found]
    return tuple(sorted(deciding(named, limit), key=lambda one: one.p50_ms))


def _uses(verdict: dict[str, Any], latency: Latency) -> tuple[Use, ...]:
    """The verdict's, with this latency."""
    fields = {option: field for field, option in LIMIT_NAMES.items()}
    uses = [Use(fields[one["limit"]], one["spent"], one["allowed"]) for one in verdict["limits"]]
    spent = latency.p50_ms + verdict.get("host_ms", 0.0)
    return tuple(one._replace(spent=spent) if one.limit == "latency_ms" else one for one in uses)
