"""`serve`: a page that times networks in the browser of a phone, and tries a run's classifier."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files as packaged
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.archs import Arch, get_arch, to_json
from mobilenets.choosing.table_build import REFERENCES
from mobilenets.commands.kit import Kitting, kit
from mobilenets.commands.origin import network_in, trained_in
from mobilenets.deliver.tried import can_try, to_try
from mobilenets.devices.browser_results import Inbox, Served, told
from mobilenets.devices.serving import Content, PageServer, lan_address
from mobilenets.errors import FileError, MeasureError, RuntimeMissing
from mobilenets.files import sha256_of
from mobilenets.measuring.results import PLAN, Plan, plan_id, read_plan
from mobilenets.measuring.target import exported
from mobilenets.runtimes import DEFAULT, get_runtime
from mobilenets.runtimes.artifact import precision_of

PORT = 8700
SECONDS = 5.0  # of timed runs of each network, at least
_PACKAGE = "mobilenets_onnxruntime_web"
_KINDS = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json", ".wasm": "application/wasm",
}  # fmt: skip
_ANY = "application/octet-stream"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """Which networks: run folders, artifacts, checkpoints, names; or one folder of `kit`. With
    `table` the kit is written first, in `out`, where results go, too. With `lan` the page is served
    on this machine's address there, else to this machine alone. Each network is timed for `seconds`
    at least."""

    networks: tuple[str, ...] = ()
    table: bool = False
    port: int = PORT
    lan: bool = False
    out: Path = Path("results")
    seconds: float = SECONDS


class Page(NamedTuple):
    """A page that is being served."""

    server: PageServer
    names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What `serve --json` prints at the start."""
        return {"url": self.server.url, "networks": list(self.names)}

    def wait(self) -> None:
        """Serve until Ctrl-C."""
        try:
            self.server.serve_forever()
        except KeyboardInterrupt:
            log.info("the page is no longer served")


@contextmanager
def serve(job: Serving, received: Callable[[str], object] = log.info) -> Iterator[Page]:
    """The page, ready to be served; `received` is told in words of the results that come.

    Raises `RuntimeMissing` without the runtime's files for browsers, `FileError` for a network that
    cannot be read, `MeasureError` where the port or the address cannot be had.
    """
    runtime = _runtime_files()
    host = lan_address() if job.lan else "127.0.0.1"
    with _measured(job) as measured:
        content = runtime | _page_files() | measured.content
        plan = {
            "table": [one | {"item": at} for at, one in enumerate(measured.table)],
            "kit": plan_id(measured.plan),
            "networks": measured.networks,
            "references": measured.references,
            "seconds": job.seconds,
            "runtime_version": _version(),
            "webgpu": "ort/ort.webgpu.min.mjs" in content,
        }
        content["kit.json"] = Content(_KINDS[".json"], json.dumps(plan).encode())
        inbox = Inbox(job.out, _version(), measured.plan, measured.served)
        with PageServer(host, job.port, content, _take(inbox, received)) as server:
            yield Page(server, measured.names)


def _take(inbox: Inbox, received: Callable[[str], object]) -> Callable[[bytes], str]:
    """What becomes of results."""

    def take(body: bytes) -> str:
        path, record = inbox.take(body)
        lines = [f"{path}  {record['machine']['cpu']}", *told(record, inbox.networks)]
        received("\n".join([*lines, f"next      mobilenets device import {path} --as NAME"]))
        return f"Sent: the computer keeps the results in {path.name}."

    return take


class _Measured(NamedTuple):
    """What the page measures: the `plan` that its results are of, files by address, and as the page
    reads them the items of a latency `table`, `networks`, and references."""

    plan: Plan
    content: dict[str, Content]
    table: list[dict[str, Any]]
    networks: list[dict[str, Any]]
    references: list[str]
    served: tuple[Served, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of what is measured."""
        table = [f"a latency table of {len(self.table)} blocks and networks"] if self.table else []
        return (*table, *(one.name for one in self.served))


@contextmanager
def _measured(job: Serving) -> Iterator[_Measured]:
    folder = _kit_folder(job)
    if folder is not None:
        yield _of_kit(folder)
        return
    if not job.networks:
        raise MeasureError("nothing is to be served; give a run folder, a network, or --table")
    networks = [_network(name) for name in job.networks]
    with exported([(one, DEFAULT) for one in (*REFERENCES, *networks)]) as made:
        paths = [path for path, _ in made]
        yield _of_networks(job.networks, networks, paths)


def _kit_folder(job: Serving) -> Path | None:
    """The kit that is served; None where networks are."""
    kits = [Path(name) for name in job.networks if (Path(name) / PLAN).is_file()]
    if job.table:
        kits.append(job.out / "kit")
    if len(kits) > 1 or (kits and len(job.networks) > 1 - job.table):
        raise MeasureError(
            "a page measures one latency table, or networks: give --table, a kit's folder, or "
            "networks"
        )
    if not kits:
        return None
    if not (kits[0] / PLAN).is_file():
        kit(Kitting(kits[0]))
    return kits[0]


def _of_kit(folder: Path) -> _Measured:
    """Its blocks and networks are a table, its artifacts are networks."""
    plan = read_plan(folder / PLAN)
    if plan["runtime"] != DEFAULT.runtime:
        raise MeasureError(
            f"{folder} is a kit for {plan['runtime']}, and browsers run {DEFAULT.runtime}; write "
            "one with: mobilenets kit --out KIT"
        )
    files = [*plan["references"], *(one["file"] for one in (*plan["items"], *plan["artifacts"]))]
    served = tuple(
        _served(folder / one["file"], Path(one["file"]).name) for one in plan["artifacts"]
    )
    return _Measured(
        plan=plan,
        content={f"kit/{file}": Content(_ANY, folder / file) for file in files},
        table=[
            {"file": f"kit/{one['file']}", "kind": one["kind"], "times": one["times"]}
            for one in plan["items"]
        ],
        networks=[
            _line(at, f"kit/{one['file']}", served[at]) for at, one in enumerate(plan["artifacts"])
        ],
        references=[f"kit/{file}" for file in plan["references"]],
        served=served,
    )


def _of_networks(
    names: Sequence[str], networks: Sequence[Arch | Path], paths: Sequence[Path]
) -> _Measured:
    """In `paths` are the references, then the networks."""
    references, own = paths[: len(REFERENCES)], paths[len(REFERENCES) :]
    addresses = [f"network{at}.onnx" for at in range(len(own))]
    served = tuple(map(_served, own, (Path(name).name for name in names)))
    lines = [_line(at, *one) for at, one in enumerate(zip(addresses, served, strict=True))]
    content = dict(zip(addresses, (Content(_ANY, path) for path in own), strict=True))
    content |= {f"reference{at}.onnx": Content(_ANY, path) for at, path in enumerate(references)}
    for line, name, path in zip(lines, names, own, strict=True):
        if Path(name).is_dir() and can_try(path):
            line["classifier"], pixels = to_try(Path(name), path)
            line["pixels"] = f"{line['file']}.pixels"
            content[line["pixels"]] = Content(_ANY, pixels)
    plan: Plan = {
        "mobilenets_kit": 1,
        "runtime": DEFAULT.runtime,
        "threads": 1,
        "references": [f"reference{at}.onnx" for at in range(len(references))],
        "items": [
            {"file": address, "kind": "network", "arch": to_json(one), "times": 1}
            for address, one in zip(addresses, networks, strict=True)
            if isinstance(one, Arch)
        ],
        "artifacts": [
            {"file": address, "sha256": one.sha256, "latency_ms": None}
            for address, one in zip(addresses, served, strict=True)
        ],
    }
    return _Measured(plan, content, [], lines, plan["references"], served)


def _line(at: int, file: str, served: Served) -> dict[str, Any]:
    """A network as the page reads it."""
    return {"item": at, "name": served.name, "file": file, "sha256": served.sha256}


def _served(path: Path, name: str) -> Served:
    session = get_runtime(DEFAULT.runtime).load(path, 1)
    return Served(name, sha256_of(path), precision_of(session.metadata))


def _network(name: str) -> Arch | Path:
    """What is served for it: an ONNX file, or what is converted to one."""
    path = Path(name)
    if path.is_dir():
        found = network_in(path)
        return found if found.suffix == ".onnx" else trained_in(path)
    if path.suffix in (".onnx", ".safetensors"):
        if not path.is_file():
            raise FileError(f"there is no file {path}; list the networks with: mobilenets list")
        return path
    if path.is_file():
        raise FileError(
            f"{path} is no ONNX file, which is what runs in a browser; give the run's folder or "
            "checkpoint"
        )
    return get_arch(name)


def _page_files() -> dict[str, Content]:
    """The page itself; at the empty name, too."""
    found = _in_package("mobilenets.devices", "page", "")
    return found | {"": found["index.html"]}


def _runtime_files() -> dict[str, Content]:
    if find_spec(_PACKAGE) is None:
        raise RuntimeMissing(
            "the page needs onnxruntime-web, which is not installed; run, in a checkout of "
            "mobilenets: make browser"
        )
    return _in_package(_PACKAGE, "data", "ort/")


def _in_package(package: str, folder: str, under: str) -> dict[str, Content]:
    """The files of a folder in a package, by their address."""
    entries = sorted(packaged(package).joinpath(folder).iterdir(), key=lambda one: one.name)
    return {
        f"{under}{one.name}": Content(_KINDS[Path(one.name).suffix], one.read_bytes())
        for one in entries
        if Path(one.name).suffix in _KINDS
    }


def _version() -> str:
    """That of onnxruntime-web."""
    return (packaged(_PACKAGE) / "data" / "VERSION").read_text(encoding="utf-8").strip()
