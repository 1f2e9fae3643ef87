"""Artifacts: files written whole or not at all, with metadata and a checksum inside.

A format may need several files (OpenVINO's weights, ncnn's weights and description): those beside
the first share its stem. The description is the JSON text that every format keeps under
"mobilenets" in its own metadata. Its checksum is the SHA-256 of all the artifact's files, with the
checksum's own digits read as zeros, so one rule holds for every format.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mobilenets.archs import Arch, from_json
from mobilenets.description import precision_in, read_description
from mobilenets.errors import ConversionError, FileError
from mobilenets.files import cannot, scratch
from mobilenets.runtimes import RUNTIMES, Engine, OnnxReader, check_runtime, get_runtime

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint

_ZEROS = b"sha256:" + b"0" * 64
_CHECKSUM = re.compile(rb"sha256:[0-9a-f]{64}")
# First file -> those beside it.
_COMPANIONS = {".xml": (".bin",), ".param": (".bin", ".json")}
# The runtime that a file is for; a checkpoint is PyTorch's.
RUNTIME_OF = {
    Path(f"model{known.suffix}").suffix: name
    for name, known in RUNTIMES.items()
    if name != "torch-compile"
}


def artifact_name(runtime: str) -> str:
    """The name of a finished run's artifact."""
    return f"model{RUNTIMES[runtime].suffix}"


def files_of(path: Path) -> list[Path]:
    """The artifact's files, those it is nothing without first and `path` itself last."""
    return [*(path.with_suffix(suffix) for suffix in _COMPANIONS.get(path.suffix, ())), path]


def size_of(path: Path) -> int:
    """Bytes of all the artifact's files."""
    return sum(file.stat().st_size for file in files_of(path))


def export(checkpoint: Checkpoint, runtime: str, path: Path) -> None:
    """Write the deployed network as an artifact of `runtime`: whole, or not at all."""
    check_runtime(Engine(runtime))
    engine = get_runtime(runtime)
    about = _description(checkpoint.about(), runtime)
    _write(lambda draft: engine.convert(checkpoint, about, draft), path)


def export_int8(model: Any, about: Mapping[str, Any], runtime: str, path: Path) -> None:
    """Write an ONNX model in 8-bit integers as an artifact of `runtime`; `about` is that of the
    checkpoint it is of (`Checkpoint.about`), and more. Raises ConversionError."""
    engine = cast(OnnxReader, get_runtime(runtime))
    text = _description(about, runtime, precision="int8")
    try:
        _write(lambda draft: engine.write(model, text, draft), path)
    except RuntimeError as error:
        raise ConversionError(f"{runtime} cannot read the int8 network: {error}") from error


def _write(convert: Callable[[Path], None], path: Path) -> None:
    with scratch(path.parent, prefix=".export-") as folder:
        draft = folder / path.name
        convert(draft)
        _sign(draft)
        move(draft, path.parent)


def move(path: Path, folder: Path) -> None:
    """Put the artifact's files into `folder`, on the same disk; what was there is replaced."""
    for file in files_of(path):
        try:
            file.replace(folder / file.name)
        except OSError as error:
            raise cannot("write", folder / file.name, error) from error


def describe_file(path: Path, metadata: Mapping[str, str]) -> tuple[Arch, dict[str, Any]]:
    """An artifact's network, and what it says of itself (`Checkpoint.about` and more).

    Raises `FileError` for a file that `export` did not write.
    """
    try:
        return read_description(metadata.get("mobilenets", ""))
    except ValueError as error:
        raise FileError(
            f"{path} carries no description by mobilenets ({error}); "
            "give an artifact or checkpoint that mobilenets wrote"
        ) from error


def precision_of(metadata: Mapping[str, str]) -> str:
    """What the file says its numbers are; fp32 where it says nothing."""
    return precision_in(metadata.get("mobilenets", ""))


def is_intact(path: Path) -> bool:
    """Whether the artifact's files are, to the bit, those that were written."""
    if not all(file.is_file() for file in files_of(path)):
        return False
    content, checksum = _content(path)
    return checksum is not None and _checksum_of(content) == checksum


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
            "normalization": "inside the graph",
        },
        "outputs": {name: list(shape) for name, shape in arch.outputs.items()},
        "checksum": _ZEROS.decode(),
    }
    return json.dumps(description)


def _sign(path: Path) -> None:
    """Write the checksum in place of the zeros: of the same length, so no format minds."""
    content, _ = _content(path)
    checksum = _checksum_of(content)
    for file in files_of(path):
        data = file.read_bytes()
        if _ZEROS in data:
            file.write_bytes(data.replace(_ZEROS, checksum))


def _content(path: Path) -> tuple[bytes, bytes | None]:
    """All files' bytes with the checksum as zeros, and the checksum found in them."""
    data = b"".join(file.read_bytes() for file in files_of(path))
    found = _CHECKSUM.search(data)
    return _CHECKSUM.sub(_ZEROS, data), found and found.group()


def _checksum_of(content: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(content).hexdigest().encode()
