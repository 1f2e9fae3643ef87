"""A trained network as two artifacts: in float, and in 8-bit integers by the best of several sets
of numbers."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import onnx
import torch
from torch import Tensor

from mobilenets.archs import Arch
from mobilenets.data import Images, Preprocess, decode
from mobilenets.deliver.predictor import load
from mobilenets.errors import ArchError
from mobilenets.files import (
    broken,
    make_folder,
    read_bytes,
    read_json,
    scratch,
    write_bytes,
    write_json,
)
from mobilenets.nn import Checkpoint
from mobilenets.progress import staged
from mobilenets.quantize.schemes import SCHEMES as EVERY_SCHEME
from mobilenets.quantize.schemes import quantized
from mobilenets.runs.layout import SCHEMES
from mobilenets.runs.stages import Stage
from mobilenets.runtimes.artifact import artifact_name, export_int8, files_of, move
from mobilenets.runtimes.graphs.integers import HSWISH_APART
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.tasks import get_task
from mobilenets.tasks.confidence import Lost
from mobilenets.text import counted

# What int8 may lose of the task's metric, percent.
MAX_DROP = 1.0
# Training images that the numbers are taken from.
CALIBRATION = 256
log = logging.getLogger(__name__)


def check_int8(arch: Arch) -> None:
    """Raise `ArchError` for a network that cannot be written in int8."""
    if not arch.classifies:
        raise ArchError(
            f"{arch.full_name} gives {' and '.join(arch.outputs)}, and int8 is written for "
            "networks that classify; leave int8 out"
        )


def both(runtime: str) -> Stage[dict[str, Any]]:
    """The stage of `write_both`; its value is what schemes.json tells."""
    paths = (Path(part, artifact_name(runtime)) for part in ("int8", "fp32"))
    files = [str(file) for path in paths for file in files_of(path)]
    return Stage("quantized", (SCHEMES, *files), read_schemes)


class _Schemes(TypedDict):
    metric: str
    float: dict[str, Any]
    int8: dict[str, Any]
    schemes: list[Any]
    lost: Lost


def read_schemes(folder: Path) -> dict[str, Any]:
    """What schemes.json tells; raises `FileError`."""
    path = folder / SCHEMES
    record: dict[str, Any] = read_json(path, _Schemes)
    for part in ("float", "int8"):
        for key in ("loss", record["metric"]):
            value = record[part].get(key, "")
            if not (value is None or isinstance(value, float | int)):
                raise broken(path, f"its {part} has no {key}")
    return record


def write_both(folder: Path, trained: Path, images: Images, runtime: str) -> None:
    """Both artifacts of a checkpoint, float and int8, in `folder`/fp32 and /int8: of the schemes
    the one of the least loss on the holdout. schemes.json tells of all schemes, and what the best
    one loses against float on the holdout and the validation images together (`Lost`): either
    alone is often too few to tell a point."""
    checkpoint = Checkpoint.load(trained)
    check_int8(checkpoint.arch)
    float_file = folder / "fp32" / artifact_name(runtime)
    export_isolated([Job(trained, float_file)], runtime)
    held_out = _HeldOut(checkpoint, images)
    float_score = held_out.score(float_file)
    log.info(f"float: holdout loss {float_score['loss']:.4f}")
    model, pixels = _onnx_model(float_file, trained), _training_pixels(checkpoint, images)
    schemes = quantized(model, pixels, hswish=runtime in HSWISH_APART)
    found = []
    stage = staged("quantizing", len(EVERY_SCHEME))
    with scratch(folder, prefix=".schemes-") as drafts, stage as told:
        for at, (scheme, integers) in enumerate(schemes):
            draft = drafts / str(at) / float_file.name
            export_int8(integers, checkpoint.about() | {"scheme": asdict(scheme)}, runtime, draft)
            found.append(asdict(scheme) | held_out.score(draft))
            log.info(f"{scheme.words()}: holdout loss {found[-1]['loss']:.4f}")
            told(len(found))
        best = min(range(len(found)), key=lambda at: found[at]["loss"])
        move(drafts / str(best) / float_file.name, make_folder(folder / "int8"))
    lost = lost_between(folder / "int8" / float_file.name, float_file, images)
    record = {"metric": held_out.task.metric, "float": float_score, "schemes": found}
    write_json(folder / SCHEMES, record | {"int8": found[best], "lost": asdict(lost)})


def lost_between(int8: Path, float_file: Path, images: Images) -> Lost:
    """What one artifact loses against another on the holdout and the validation images together."""
    networks = [load(one) for one in (int8, float_file)]
    held_out = np.concatenate([images.holdout, images.val])
    ours, theirs = (network.score(images, held_out) for network in networks)
    return networks[0].task.lost(ours, theirs, images.targets.take(held_out))


def hand_over(folder: Path, part: str, runtime: str) -> None:
    """Put the artifact in `folder`/`part` ("fp32" or "int8") into `folder` too."""
    for file in files_of(folder / part / artifact_name(runtime)):
        write_bytes(folder / file.name, read_bytes(file))


def _onnx_model(float_file: Path, trained: Path) -> Any:
    """The checkpoint as an ONNX model; the float file is one, or it is converted to one."""
    with scratch() as folder:
        path = float_file
        if path.suffix != ".onnx":
            path = folder / artifact_name("onnxruntime")
            export_isolated([Job(trained, path)], "onnxruntime")
        model = onnx.load(path)
    del model.metadata_props[:]  # the float file's description and checksum
    return model


def _training_pixels(checkpoint: Checkpoint, images: Images) -> Tensor:
    """The images that the numbers are taken from, in [0, 1] (N, 3, H, W)."""
    count = min(CALIBRATION, len(images.train))
    log.info(f"quantizing, from {counted(count, 'training image')}")
    chosen = np.random.default_rng(images.seed).choice(images.train, count, replace=False)
    return decode(images, chosen, Preprocess.from_json(checkpoint.preprocess)).float() / 255


class _HeldOut:
    """The images that choose among the schemes."""

    def __init__(self, checkpoint: Checkpoint, images: Images):
        self.task = get_task(checkpoint.task, checkpoint.labels)
        self._pixels = decode(images, images.holdout, Preprocess.from_json(checkpoint.preprocess))
        self._targets = images.targets.take(images.holdout)

    def score(self, path: Path) -> dict[str, float | None]:
        """The loss and the task's metric of an artifact."""
        outputs, target = load(path).outputs(self._pixels), torch.from_numpy(self._targets.values)
        loss = self.task.loss({k: torch.from_numpy(v) for k, v in outputs.items()}, target)
        return {
            "loss": float(loss),
            self.task.metric: self.task.score(outputs, self._targets).value,
        }
