"""What a browser measured: what the page sends, checked, as results that `device import` reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NotRequired, TypedDict

from mobilenets.errors import MeasureError
from mobilenets.files import parse, write_json
from mobilenets.measuring.latency import Latency
from mobilenets.measuring.machine import Machine, described
from mobilenets.shapes import AboveZero, Count, Number, Positive, Range

_MAX_FILES = 16
_MAX_NAME = 120
_Cores = Annotated[int, Range(1, 1024)]
_Times = Annotated[list[AboveZero], Range(1)]
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

    item: str
    times_ms: _Times
    burst: Positive
    group: Positive
    first_ms: AboveZero
    reference_ms: AboveZero
    drift: AboveZero


class _Timing(TypedDict):
    """What `choosing.latency_table.Timing` holds, of an item of a kit."""

    item: str
    ms: AboveZero
    reference_ms: AboveZero
    noisy: bool
    seconds: Annotated[float, Range(0, 1e6)]


class _Agreement(TypedDict):
    item: str
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
    timings: list[_Timing]
    agreement: NotRequired[list[_Agreement]]


@dataclass(frozen=True)
class Served:
    """What is known here of a network on the page."""

    sha256: str
    precision: str


@dataclass
class Inbox:
    """Takes results for `networks`, by item, and for the items of a `kit`, and keeps them in
    `folder`: a file for each browser."""

    folder: Path
    runtime_version: str
    networks: Mapping[str, Served]
    kit: str | None = None
    kit_items: frozenset[str] = frozenset()
    files: list[Path] = field(default_factory=list)

    def take(self, body: bytes) -> tuple[Path, dict[str, Any]]:
        """The file that they are in now, and what it holds; raises `MeasureError` for what the page
        does not send."""
        try:
            posted: Posted = parse(body, Posted)
        except ValueError as error:
            raise MeasureError(f"these are no results of the page: {error}") from error
        self._check(posted)
        record = self._record(posted)
        path = self.folder / f"browser-{record['machine']['fingerprint']}.json"
        if path not in self.files and len(self.files) >= _MAX_FILES:
            raise MeasureError(f"there are results of {_MAX_FILES} browsers; start serve again")
        write_json(path, record)
        self.files = list(dict.fromkeys([*self.files, path]))
        return path, record

    def _check(self, posted: Posted) -> None:
        """Each item must be one of the page's, once."""
        for key, known in (("networks", self.networks), ("timings", self.kit_items),
                           ("agreement", self.networks)):  # fmt: skip
            items = [one["item"] for one in posted.get(key, ())]  # type: ignore[attr-defined]
            if len(set(items)) < len(items) or not all(item in known for item in items):
                raise MeasureError(f"these are no results of the page: other {key} than it has")
        if not posted["networks"] and not posted["timings"]:
            raise MeasureError("these are no results of the page: nothing was measured")
        if any(len(one["times_ms"]) % one["burst"] for one in posted["networks"]):
            raise MeasureError("these are no results of the page: a turn is cut short")

    def _record(self, posted: Posted) -> dict[str, Any]:
        machine = machine_of(posted)
        return {
            "mobilenets_results": 1,
            "kit": self.kit,
            "kind": "browser",
            "machine": machine,
            "runtime": "onnxruntime",
            "runtime_version": f"web-{self.runtime_version}",
            "threads": posted["threads"],
            "timings": posted["timings"],
            "latencies": [self._latency(one, posted, machine) for one in posted["networks"]],
            "browser": {
                "agent": posted["agent"][:500],
                "provider": posted["provider"][:20],
                "isolated": posted["isolated"],
                "tick_ms": posted["tick_ms"],
            },
            "agreement": posted.get("agreement", []),
        }

    def _latency(self, one: _Network, posted: Posted, machine: Machine) -> dict[str, Any]:
        served = self.networks[one["item"]]
        latency = Latency(
            times_ms=tuple(one["times_ms"]),
            burst=one["burst"],
            runtime="onnxruntime",
            runtime_version=f"web-{self.runtime_version}",
            threads=posted["threads"],
            precision=served.precision,
            batch=1,
            device=described(machine),
        )
        more = {key: one[key] for key in ("group", "first_ms", "reference_ms", "drift")}
        return {
            "item": one["item"], "sha256": served.sha256, "latency": latency.to_json(raw=True),
        } | more  # fmt: skip


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


def told(record: dict[str, Any]) -> list[str]:
    """What was received, a line for each network."""
    lines = [
        f"{one['item']}  p50 {one['latency']['p50_ms']:.3g} ms, p90 "
        f"{one['latency']['p90_ms']:.3g} ms, {one['latency']['runs'] * one['group']:,} runs"
        + (f"; the browser became {one['drift']:.2f} times as slow" if one["drift"] > 1.1 else "")
        for one in record["latencies"]
    ]
    lines += [
        f"{one['item']}  {one['same']} of {one['images']} images: the same answer as here"
        for one in record["agreement"]
    ]
    timings = record["timings"]
    if timings:
        pace = median(one["reference_ms"] for one in timings)
        lines.append(f"{len(timings):,} items of the table, reference {pace:.3g} ms")
    return lines
