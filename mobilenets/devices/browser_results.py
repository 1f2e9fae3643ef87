"""What a browser measured: what the page sends, checked, as results that `device import` reads."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from mobilenets.errors import MeasureError
from mobilenets.files import parse, write_json
from mobilenets.measuring.latency import Latency
from mobilenets.measuring.machine import Machine, described
from mobilenets.measuring.results import Ms, Plan, Timed, plan_id
from mobilenets.shapes import AboveZero, Count, Number, Positive, Range

_MAX_FILES = 16
_MAX_NAME = 120
_Cores = Annotated[int, Range(1, 1024)]
_Times = Annotated[list[Ms], Range(1)]
# The browser, by what only its user agent says; all say Safari, and most say Chrome.
_BROWSERS = (("Edge", "Edg(?:A|iOS)?"), ("Opera", "OPR"), ("Samsung Internet", "SamsungBrowser"),
             ("Firefox", "(?:Firefox|FxiOS)"), ("Chrome", "(?:Headless)?(?:Chrome|CriOS)"),
             ("Safari", "Version"))  # fmt: skip
_SYSTEMS = (("Android", r"Android ([\d.]+)"), ("iOS", r"OS ([\d_]+) like Mac"),
            ("macOS", r"Mac OS X ([\d_.]+)"), ("Windows", r"Windows NT ([\d.]+)"),
            ("ChromeOS", "CrOS"), ("Linux", "Linux"))  # fmt: skip


class _Network(TypedDict):
    """A network's times in turns of `burst`, each the mean of `group` runs; `reference_ms` is what
    the reference networks took in all, beside it, and `drift` their last times over the first."""

    item: Count
    times_ms: _Times
    burst: Positive
    group: Positive
    first_ms: Ms
    reference_ms: Ms
    drift: AboveZero


class _Agreement(TypedDict):
    """Of how many images a network's answers there are those here."""

    item: Count
    images: Positive
    same: Count
    max_relative_error: Number


class Posted(TypedDict):
    """What the page sends."""

    agent: str
    model: NotRequired[str]
    cores: _Cores
    threads: _Cores
    provider: str
    isolated: bool
    tick_ms: AboveZero
    networks: list[_Network]
    timings: list[Timed]
    agreement: NotRequired[list[_Agreement]]


@dataclass(frozen=True)
class Served:
    """What is known here of a network on the page."""

    name: str
    sha256: str
    precision: str


@dataclass
class Inbox:
    """Takes results of `networks` and of the items of `plan`, and keeps them in `folder`: a file
    for each browser."""

    folder: Path
    runtime_version: str
    plan: Plan
    networks: Sequence[Served]
    files: list[Path] = field(default_factory=list)

    def take(self, body: bytes) -> tuple[Path, dict[str, Any]]:
        """The file that they are in now, and what it holds; raises `MeasureError` for what the page
        does not send."""
        try:
            posted: Posted = parse(body, Posted)
            self._check(posted)
        except ValueError as error:
            raise MeasureError(f"these are no results of the page: {error}") from error
        record = self._record(posted)
        path = self.folder / f"browser-{record['machine']['fingerprint']}.json"
        if path not in self.files and len(self.files) >= _MAX_FILES:
            raise MeasureError(f"there are results of {_MAX_FILES} browsers; start serve again")
        write_json(path, record)
        self.files = list(dict.fromkeys([*self.files, path]))
        return path, record

    def _check(self, posted: Posted) -> None:
        """Raise ValueError for what the types do not tell: what is timed must be on the page, no
        more often than asked."""
        once = {at: 1 for at in range(len(self.networks))}
        table = {at: one["times"] for at, one in enumerate(self.plan["items"])}
        for key, allowed in (("networks", once), ("timings", table), ("agreement", once)):
            counts = Counter(one["item"] for one in posted.get(key, ()))  # type: ignore[attr-defined]
            if any(count > allowed.get(item, 0) for item, count in counts.items()):
                raise ValueError(f"it has other {key} than the page")
        if not posted["networks"] and not posted["timings"]:
            raise ValueError("nothing was measured")
        if any(len(one["times_ms"]) % one["burst"] for one in posted["networks"]):
            raise ValueError("a turn is cut short")

    def _record(self, posted: Posted) -> dict[str, Any]:
        machine = machine_of(posted)
        plan: Plan = {**self.plan, "threads": posted["threads"]}
        latencies = [self._latency(one, posted, machine) for one in posted["networks"]]
        return {
            "mobilenets_results": 1,
            "kit": plan_id(plan),
            "kind": "browser",
            "machine": machine,
            "runtime": plan["runtime"],
            "runtime_version": f"web-{self.runtime_version}",
            "threads": posted["threads"],
            "timings": posted["timings"] or self._timings(latencies),
            "latencies": latencies,
            "agreement": posted.get("agreement", []),
            "browser": {
                "agent": posted["agent"][:500],
                "provider": posted["provider"][:20],
                "isolated": posted["isolated"],
                "tick_ms": posted["tick_ms"],
            },
            "plan": plan,
        }

    def _timings(self, latencies: Sequence[dict[str, Any]]) -> list[Timed]:
        """Those of the networks that are items of the plan, too."""
        items = {one["file"]: at for at, one in enumerate(self.plan["items"])}
        found: list[Timed] = []
        for one in latencies:
            file, latency = self.plan["artifacts"][one["item"]]["file"], one["latency"]
            if file in items:
                found.append({
                    "item": items[file], "ms": latency["p50_ms"], "noisy": latency["noisy"],
                    "reference_ms": one["reference_ms"],
                    "seconds": sum(latency["times_ms"]) * one["group"] / 1000,
                })  # fmt: skip
        return found

    def _latency(self, one: _Network, posted: Posted, machine: Machine) -> dict[str, Any]:
        served = self.networks[one["item"]]
        latency = Latency(
            times_ms=tuple(one["times_ms"]),
            burst=one["burst"],
            runtime=self.plan["runtime"],
            runtime_version=f"web-{self.runtime_version}",
            threads=posted["threads"],
            precision=served.precision,
            batch=1,
            device=described(machine),
        )
        return {
            "item": one["item"],
            "sha256": served.sha256,
            "latency": latency.to_json(raw=True),
            "group": one["group"],
            "first_ms": one["first_ms"],
            "reference_ms": one["reference_ms"],
            "drift": one["drift"],
        }


def machine_of(posted: Posted) -> Machine:
    """The browser as a machine: it tells its own name and the system's, and no CPU."""
    agent = posted["agent"]
    system = _first(_SYSTEMS, agent) or "an unknown system"
    browser = _first([(name, rf"{word}/(\d+)") for name, word in _BROWSERS], agent)
    model = posted.get("model", "")
    cpu = f"{browser or 'browser'} on {model or system}"[:_MAX_NAME]
    if posted["provider"] != "wasm":
        cpu += f", {posted['provider'][:20]}"
    identity = (cpu, posted["cores"], "wasm", system)
    return {
        "cpu": cpu,
        "cores": posted["cores"],
        "machine": "wasm",
        "os": system,
        "fingerprint": hashlib.sha256(repr(identity).encode()).hexdigest()[:8],
    }


def _first(known: Any, agent: str) -> str:
    """The first of (name, pattern) that the agent names, with its version where it tells one."""
    for name, pattern in known:
        if found := re.search(pattern, agent):
            version = found.group(1) if found.re.groups else ""
            return f"{name} {version.replace('_', '.')}".strip()
    return ""


def told(record: dict[str, Any], networks: Sequence[Served]) -> list[str]:
    """What was received, a line for each network."""
    lines = [
        f"{networks[one['item']].name}  p50 {one['latency']['p50_ms']:.3g} ms, p90 "
        f"{one['latency']['p90_ms']:.3g} ms, {one['latency']['runs'] * one['group']:,} runs"
        + (f"; the browser became {one['drift']:.2f} times as slow" if one["drift"] > 1.1 else "")
        for one in record["latencies"]
    ]
    lines += [
        f"{networks[one['item']].name}  the same answer as here for {one['same']} of "
        f"{one['images']} images"
        for one in record["agreement"]
    ]
    wanted = sum(one["times"] for one in record["plan"]["items"])
    if wanted:
        lines.append(f"{len(record['timings']):,} of {wanted:,} timings for a latency table")
    return lines
