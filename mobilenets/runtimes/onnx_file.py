"""Checkpoint -> ONNX file that carries itself: labels, preprocessing, arch and hash as metadata."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch

from mobilenets.archs import from_json
from mobilenets.errors import ArchError, FileError
from mobilenets.files import write_bytes
from mobilenets.nn import Checkpoint, Deployed

OPSET = 18


def write_onnx(checkpoint: Checkpoint, path: Path) -> None:
    """Write the deployed network: "image" (1, 3, H, W) float32 RGB in [0, 1] -> "logits"."""
    arch = checkpoint.arch
    image = torch.zeros(1, arch.in_channels, arch.resolution, arch.resolution)
    with _quiet():
        program = torch.onnx.export(
            Deployed(checkpoint), (image,), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["image"], output_names=["logits"],
        )  # fmt: skip
    model = program.model_proto  # type: ignore[union-attr]
    _strip(model)
    about = {**checkpoint.about(), "input": _INPUT, "output": "logits", "torch": torch.__version__}
    facts = {"mobilenets": json.dumps(about), "sha256": graph_hash(model)}
    onnx.helper.set_model_props(model, facts)
    write_bytes(path, model.SerializeToString(deterministic=True))


_INPUT = {
    "layout": "NCHW",
    "dtype": "float32",
    "colour": "RGB",
    "value_range": [0, 1],
    "normalisation": "inside the graph",
}


def about_onnx(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What an artefact says of itself (`Checkpoint.about` and more), its arch checked.

    Raises `FileError` for a file that `write_onnx` did not write.
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


def is_intact(path: Path) -> bool:
    """Whether the graph and weights in `path` are those that were written."""
    model = onnx.load(path)
    stored = {entry.key: entry.value for entry in model.metadata_props}.get("sha256")
    return stored == graph_hash(model)


def graph_hash(model: Any) -> str:
    """SHA-256 of the graph with its weights."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def _strip(model: Any) -> None:
    """Drop what the exporter notes on every node: stack traces, with paths of this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints, logs and warns about its own future; none of it is for our users."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
