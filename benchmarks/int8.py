"""8-bit integers: time and accuracy of ours, onnxruntime's own and NNCF's, beside float.

    python benchmarks/int8.py --out benchmarks/results/DATE-int8.json [--trained CHECKPOINT ...]

1. V1, V2, V3-Large and V3-Small at 224 pixels, random weights: each file in onnxruntime and in
   OpenVINO, one thread, all of a network in turns; the ratio to float in the same runtime.
2. `--trained` checkpoints of Fashion-MNIST: top-1 of each file on all validation images, in
   onnxruntime and, of ours for it, in OpenVINO; numbers come from 256 training images in each.

NNCF takes part where it is installed. Ours is by the scheme of the least loss on the holdout.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor
from torch.nn.functional import interpolate

from mobilenets.archs import get_arch
from mobilenets.data import Preprocess, decode, load_images
from mobilenets.deliver import load
from mobilenets.measuring import compare, measure
from mobilenets.measuring.machine import device_name
from mobilenets.nn import Checkpoint
from mobilenets.quantize.precisions import CALIBRATION
from mobilenets.quantize.schemes import quantized
from mobilenets.runtimes.artifact import export_int8
from mobilenets.runtimes.isolated import Job, export_isolated

NETWORKS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
RUNTIMES = {"onnxruntime": ".onnx", "openvino": ".xml"}
SESSIONS = 3
Models = Iterator[tuple[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trained", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    record: dict[str, Any] = {"device": device_name(), "versions": versions(), "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        record["speed"] = [row for name in NETWORKS for row in speeds(name, Path(folder, name))]
        record["accuracy"] = [
            accuracy(path, Path(folder, str(at))) for at, path in enumerate(asked.trained)
        ]
    asked.out.write_text(json.dumps(record, indent=1) + "\n")


def versions() -> dict[str, str]:
    found = {}
    for name in ("onnxruntime", "openvino", "nncf", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            print(f"{name} is not installed")
    return found


def speeds(name: str, folder: Path) -> list[dict[str, Any]]:
    """p50 and ratio to float, the median over the sessions, of each file in each runtime."""
    checkpoint = Checkpoint.fresh(get_arch(name))
    coarse = torch.rand(16, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    images = interpolate(coarse, 224, mode="bicubic").clamp(0, 1)
    float_file = written_float(checkpoint, folder)
    files = [("float", runtime, written_float(checkpoint, folder, runtime)) for runtime in RUNTIMES]
    for runtime in RUNTIMES:
        for kind, model in models(float_file, images, runtime, first=True):
            path = folder / f"{runtime}-{kind}{RUNTIMES[runtime]}"
            export_int8(model, checkpoint.about(), runtime, path)
            files.append((kind, runtime, path))
    sessions = [
        measure([path for *_, path in files], runtime=[runtime for _, runtime, _ in files])
        for _ in range(SESSIONS)
    ]
    rows = []
    for at, (kind, runtime, _) in enumerate(files):
        base = next(i for i, one in enumerate(files) if one[:2] == ("float", runtime))
        ratios = [compare([session[base], session[at]])[1] for session in sessions]
        rows.append(
            {
                "network": name, "runtime": runtime, "kind": kind,
                "p50_ms": median(session[at].p50_ms for session in sessions),
                "ratio": median(ratios), "ratios": ratios,
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def accuracy(path: Path, folder: Path) -> dict[str, Any]:
    """Top-1 of the validation images by each file."""
    checkpoint = Checkpoint.load(path)
    data = load_images("fashion-mnist", seed=int(checkpoint.training.get("seed", 0)))
    rule, task = Preprocess.from_json(checkpoint.preprocess), data.task
    random = np.random.default_rng(0)
    images = decode(data, random.choice(data.train, CALIBRATION, replace=False), rule).float() / 255
    float_file = written_float(checkpoint, folder)
    found = {"checkpoint": checkpoint.arch.full_name, "float": top1(float_file, data, task)}
    for runtime, suffix in RUNTIMES.items():
        best = float("inf")
        for at, (kind, model) in enumerate(models(float_file, images, runtime, first=False)):
            file = folder / f"{runtime}-{at}{suffix}"
            export_int8(model, checkpoint.about(), runtime, file)
            if kind != "ours":
                found[f"{kind}, {runtime}"] = top1(file, data, task)
                continue
            outputs = load(file).score(data, data.holdout)
            target = torch.from_numpy(data.targets.take(data.holdout).values)
            loss = float(task.loss({k: torch.from_numpy(v) for k, v in outputs.items()}, target))
            if loss < best:
                best, found[f"ours, {runtime}"] = loss, top1(file, data, task)
    print(json.dumps(found), flush=True)
    return found


def top1(file: Path, data: Any, task: Any) -> float:
    return task.score(load(file).score(data, data.val), data.targets.take(data.val)).value


def written_float(checkpoint: Checkpoint, folder: Path, runtime: str = "onnxruntime") -> Path:
    trained = folder / "trained.safetensors"
    checkpoint.save(trained)
    path = folder / f"float{RUNTIMES[runtime]}"
    export_isolated([Job(trained, path)], runtime)
    return path


def models(float_file: Path, images: Tensor, runtime: str, *, first: bool) -> Models:
    """The int8 ONNX models that take part; of ours only the `first` scheme, or all."""
    for _, model in quantized(onnx.load(float_file), images, hswish=runtime == "onnxruntime"):
        yield "ours", model
        if first:
            break
    peers: dict[str, Callable[[Path, Tensor], Any]] = {"onnxruntime's": onnxruntimes}
    if "nncf" in versions():
        peers["NNCF's"] = nncfs
    for kind, peer in peers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield kind, peer(float_file, images)


class Reader(quantization.CalibrationDataReader):
    def __init__(self, images: Tensor):
        self.images = iter(images.numpy())

    def get_next(self) -> dict[str, Any] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}


def onnxruntimes(float_file: Path, images: Tensor) -> Any:
    """As its documentation has it for x86 with VNNI: pre-processed, QDQ, U8S8, per channel."""
    ready, int8 = float_file.with_name("ready.onnx"), float_file.with_name("theirs.onnx")
    quant_pre_process(float_file, ready)
    quantization.quantize_static(
        ready, int8, Reader(images), per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    return onnx.load(int8)


def nncfs(float_file: Path, images: Tensor) -> Any:
    """Its ONNX back end and defaults, the fastest of what it has here: with the mixed preset, or
    from OpenVINO's own graph, V2 and V3-Large take 1.4 to 1.9 times as long."""
    import nncf

    data = nncf.Dataset(list(images.numpy()[:, None]), lambda image: {"image": image})
    return nncf.quantize(onnx.load(float_file), data, subset_size=len(images))


if __name__ == "__main__":
    main()
