"""The files that are handed over: written at once, with a description and a seal inside.

A format may need several files (OpenVINO's weights, ncnn's weights and description): those beside
the first share its stem. The description is the JSON text that every format keeps under
"mobilenets" in its own metadata. The seal in it is the SHA-256 of all the artefact's files, with
the seal's own digits read as zeros, so one rule holds for every format.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mobilenets.archs import from_json
from mobilenets.errors import ArchError, ConversionError, FileError
from mobilenets.runtimes import RUNTIMES, OnnxReader, get_runtime

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint

_UNSEALED = b"sha256:" + b"0" * 64
_SEAL = re.compile(rb"sha256:[0-9a-f]{64}")
# First file -> those beside it.
_COMPANIONS = {".xml": (".bin",), ".param": (".bin", ".json")}
# The runtime that a file is for; a checkpoint is PyTorch's.
RUNTIME_OF = {
    Path(f"model{known.suffix}").suffix: name
    for name, known in RUNTIMES.items()
    if name != "torch-compile"
}


def artefact_name(runtime: str) -> str:
    """The name of a finished run's artefact."""
    return f"model{RUNTIMES[runtime].suffix}"


def files_of(path: Path) -> list[Path]:
    """The artefact's files, those it is nothing without first and `path` itself last."""
    return [*(path.with_suffix(suffix) for suffix in _COMPANIONS.get(path.suffix, ())), path]


def size_of(path: Path) -> int:
    """Bytes of all the artefact's files."""
    return sum(file.stat().st_size for file in files_of(path))


def export(checkpoint: Checkpoint, runtime: str, path: Path) -> None:
    """Write the deployed network as an artefact of `runtime`: whole, or not at all."""
    engine = get_runtime(runtime)
    about = _description(checkpoint.about(), runtime)
    _write(lambda draft: engine.convert(checkpoint, about, draft), path)


def export_int8(model: Any, about: Mapping[str, Any], runtime: str, path: Path) -> None:
    """Write an ONNX model in 8-bit integers as an artefact of `runtime`; `about` is that of the
    checkpoint it is of (`Checkpoint.about`), and more. Raises ConversionError."""
    engine = cast(OnnxReader, get_runtime(runtime))
    text = _description(about, runtime, precision="int8")
    try:
        _write(lambda draft: engine.write(model, text, draft), path)
    except RuntimeError as error:
        raise ConversionError(f"{runtime} cannot read the int8 network: {error}") from error


def _write(convert: Callable[[Path], None], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        draft = Path(folder, path.name)
        convert(draft)
        _seal(draft)
        move(draft, path.parent)


def move(path: Path, folder: Path) -> None:
    """Put the artefact's files into `folder`, on the same disk; what was there is replaced."""
    for file in files_of(path):
        file.replace(folder / file.name)


def describe_file(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What an artefact says of itself (`Checkpoint.about` and more), its arch checked.

    Raises `FileError` for a file that `export` did not write.
    """
    try:
        about = json.loads(metadata["mobilenets"])
        from_json(about["arch"])
    except (KeyError, ValueError, ArchError) as error:
        raise FileError(
            f"{path} carries no description by mobilenets ({type(error).__name__}: {error}); "
            "give an artefact or checkpoint that mobilenets wrote"
        ) from error
    return about


def precision_of(metadata: Mapping[str, str]) -> str:
    """What the file says its numbers are; fp32 where it says nothing."""
    try:
        return json.loads(metadata["mobilenets"])["precision"]
    except (KeyError, ValueError, TypeError):
        return "fp32"


def is_intact(path: Path) -> bool:
    """Whether the artefact's files are, to the bit, those that were written."""
    if not all(file.is_file() for file in files_of(path)):
        return False
    content, seal = _content(path)
    return seal is not None and _seal_of(content) == seal


def _description(about: Mapping[str, Any], runtime: str, *, precision: str = "fp32") -> str:
    arch = from_json(about["arch"])
    description = {
        **about,
        "runtime": runtime,
        "runtime_version": RUNTIMES[runtime].version(),
        "precision": precision,
        "input": {
            "layout": "NHWC" if runtime == "litert" else "NCHW",
            "dtype": "float32",
            "colour": "RGB",
            "value_range": [0, 1],
            "normalisation": "inside the graph",
        },
        "outputs": {name: list(shape) for name, shape in arch.outputs.items()},
        "seal": _UNSEALED.decode(),
    }
    return json.dumps(description)


def _seal(path: Path) -> None:
    """Write the seal in place of the zeros: of the same length, so no format minds."""
    content, _ = _content(path)
    seal = _seal_of(content)
    for file in files_of(path):
        data = file.read_bytes()
        if _UNSEALED in data:
            file.write_bytes(data.replace(_UNSEALED, seal))


def _content(path: Path) -> tuple[bytes, bytes | None]:
    """All files' bytes with the seal as zeros, and the seal found in them."""
    data = b"".join(file.read_bytes() for file in files_of(path))
    found = _SEAL.search(data)
    return _SEAL.sub(_UNSEALED, data), found and found.group()


def _seal_of(content: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(content).hexdigest().encode()
