"""`serve`: a page that times networks in the browser of a phone, and tries a run's classifier."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files as packaged
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mobilenets.archs import Arch, get_arch
from mobilenets.choosing.table_build import REFERENCES
from mobilenets.commands.origin import network_in, trained_in
from mobilenets.data import Preprocess, decode
from mobilenets.deliver.predictor import Predictor, load
from mobilenets.deliver.selection import select
from mobilenets.deliver.usage import resizing
from mobilenets.devices.browser_results import Inbox, Served, told
from mobilenets.devices.serving import Content, PageServer, lan_address
from mobilenets.errors import FileError, MobileNetsError, RuntimeMissing
from mobilenets.files import read_json, sha256_of
from mobilenets.measuring.target import exported
from mobilenets.runs.layout import IMAGES
from mobilenets.runtimes import DEFAULT, get_runtime
from mobilenets.runtimes.artifact import precision_of
from mobilenets.text import counted

PORT = 8700
SECONDS = 5.0  # of timed runs of each network, at least
_COMPARED = 10  # images
_PACKAGE = "mobilenets_onnxruntime_web"
_KINDS = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json", ".wasm": "application/wasm",
}  # fmt: skip
_ANY = "application/octet-stream"
_WEBGPU = "ort.webgpu.min.mjs"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serving:
    """Which networks: run folders, artifacts, checkpoints, names. With `lan` the page is served on
    this machine's address there, else to this machine alone. Results go to the folder `out`; each
    network is timed for `seconds` at least."""

    networks: tuple[str, ...]
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
    networks = [_network(name) for name in job.networks]
    jobs = [(network, DEFAULT) for network in (*REFERENCES, *networks)]
    with exported(jobs) as made:
        paths = [path for path, _ in made]
        references, own = paths[: len(REFERENCES)], paths[len(REFERENCES) :]
        items = [
            _item(name, f"network{number}", path)
            for number, (name, path) in enumerate(zip(job.networks, own, strict=True))
        ]
        content = runtime | _page_files()
        content |= {f"reference{at}.onnx": Content(_ANY, one) for at, one in enumerate(references)}
        for item in items:
            content |= item.content
        inbox = Inbox(job.out, _version(), {item.plan["item"]: item.served for item in items})
        plan = {
            "kit": None,
            "seconds": job.seconds,
            "runtime_version": _version(),
            "webgpu": f"ort/{_WEBGPU}" in content,
            "references": [name for name in content if name.startswith("reference")],
            "items": [item.plan for item in items],
        }
        content["plan.json"] = Content(_KINDS[".json"], json.dumps(plan).encode())
        with PageServer(host, job.port, content, _take(inbox, received)) as server:
            yield Page(server, job.networks)


def _take(inbox: Inbox, received: Callable[[str], object]) -> Callable[[bytes], str]:
    """What becomes of results."""

    def take(body: bytes) -> str:
        path, record = inbox.take(body)
        lines = [f"{path}  {record['machine']['cpu']}", *told(record)]
        received("\n".join([*lines, f"next      mobilenets device import {path} --as NAME"]))
        return f"Sent: the computer keeps them in {path.name}."

    return take


class _Item(NamedTuple):
    """A network on the page: its line in the plan, what is served for it, what is known of it."""

    plan: dict[str, Any]
    content: dict[str, Content]
    served: Served


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


def _item(name: str, item: str, path: Path) -> _Item:
    """Its file's size and description are read, and of a run's classifier what it takes to try."""
    session = get_runtime(DEFAULT.runtime).load(path, 1)
    precision = precision_of(session.metadata)
    served = Served(sha256_of(path), precision)
    file = f"{item}.onnx"
    plan: dict[str, Any] = {
        "item": item,
        "kind": "network",
        "name": name,
        "file": file,
        "sha256": served.sha256,
        "bytes": path.stat().st_size,
    }
    content = {file: Content(_ANY, path)}
    if Path(name).is_dir():
        found, pixels = _classifier(Path(name), path, f"{item}.images")
        plan["classifier"] = found
        content[f"{item}.images"] = Content(_ANY, pixels)
    return _Item(plan, content, served)


def _classifier(run: Path, path: Path, file: str) -> tuple[dict[str, Any], bytes]:
    """What the page needs to try the run's network, and the pixels of the images that it is
    compared on: (N, 3, R, C), a byte each."""
    network = load(path, threads=1)
    pixels, said = _images(run, network)
    outputs = network.outputs(pixels)
    logits = outputs["logits"]
    first = network.task.decode({name: one[0] for name, one in outputs.items()})
    found = {
        "labels": list(network.labels),
        "rule": _rule(network.preprocess),
        "said": resizing(network.preprocess),
        "apart": len(first) == len(network.labels),  # each label has a probability by itself
        "images": {"file": file, "said": said},
        "answers": logits.tolist(),
    }
    return found, pixels.numpy().tobytes()


def _images(run: Path, network: Predictor) -> tuple[torch.Tensor, str]:
    """Some validation images of the run; where they cannot be read, random ones: the runtime's
    answers can be compared on any."""
    try:
        data = read_json(run / IMAGES, dict[str, Any]).get("data", "")
        selection = select(network, data)
        step = max(1, len(selection.indices) // _COMPARED)
        some = selection.indices[::step][:_COMPARED]
        pixels = decode(selection.images, some, network.preprocess).contiguous()
        return pixels, f"{counted(len(some), 'validation image')} of {selection.images.name}"
    except MobileNetsError as error:
        log.warning(f"{error}; the page compares answers on random images")
        rows, columns = network.preprocess.size
        shape = (_COMPARED, 3, rows, columns)
        random = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        return torch.from_numpy(random), f"{_COMPARED} random images (the run's are not here)"


def _rule(preprocess: Preprocess) -> dict[str, Any]:
    rows, columns = preprocess.size
    return {
        "rows": rows,
        "columns": columns,
        "short_side": preprocess.short_side,
        "covered": list(preprocess.covered),
        "interpolation": preprocess.interpolation,
        "resize": preprocess.resize,
    }


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
