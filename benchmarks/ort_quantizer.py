"""onnxruntime's quantizer on our integer-friendly graph, beside our calibration and our writer.

    python benchmarks/ort_quantizer.py accuracy CHECKPOINT ... --out A.json
    python benchmarks/ort_quantizer.py latency CHECKPOINT ... --out L.json
    python benchmarks/ort_quantizer.py calibration CHECKPOINT ... --out C.json
    python benchmarks/ort_quantizer.py writing --out W.json

Everything starts from `integer_form`, the stem's channels levelled. Ranges come from ours ("whole",
"closest") or from onnxruntime's calibrators; Q and DQ are put in by our writer or by its
`QDQQuantizer`, the last step of `quantize_static`. Two more take `quantize_static` as it is, on
this graph and on the plain one. CHECKPOINTs are of `--data`; with `--photos FOLDER` one is
held against its own float logits on those (no labels; the first 64 calibrate).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import (
    CalibrationMethod,
    TensorData,
    TensorsData,
    create_calibrator,
)
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from torch import Tensor
from torch.nn.functional import cross_entropy

from mobilenets.archs import get_arch
from mobilenets.data import Preprocess, decode, load_images, read_image
from mobilenets.deliver import Predictor, load
from mobilenets.measuring import compare, measure
from mobilenets.measuring.machine import device_name
from mobilenets.nn import Checkpoint
from mobilenets.quantize.calibrate import observe, shifts
from mobilenets.quantize.precisions import CALIBRATION
from mobilenets.runtimes.artifact import export_int8
from mobilenets.runtimes.graphs.integers import HSWISH_APART, Graph, integer_form, levelled, stem_of
from mobilenets.runtimes.graphs.onnx_file import onnx_model
from mobilenets.runtimes.graphs.qdq import Range, bounded, with_integers
from mobilenets.runtimes.isolated import Job, export_isolated

RUNTIMES = {"onnxruntime": ".onnx", "openvino": ".xml"}
NETWORKS = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
SESSIONS = 3
HELD_OUT, VALIDATION = 2000, 4000
OPS = ["Conv", "Gemm", "Add", "Mul", "Clip", "Relu", "GlobalAveragePool", "Reshape"]
# Without the last, each layer's output gets a Q and DQ before its activation, and so do the logits.
PLACED = {"OpTypesToExcludeOutputQuantization": ["Conv", "Gemm"]}
CALIBRATORS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile 99.999": (CalibrationMethod.Percentile, {}),
    "percentile 99.9": (CalibrationMethod.Percentile, {"percentile": 99.9}),
    "entropy": (CalibrationMethod.Entropy, {}),
}
_FEW = 64  # images for shifts, and a calibrator's at a time
Ranges = Mapping[str, Range]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Case:
    """A network with its images, uint8 (N, 3, R, R)."""

    name: str
    path: Path
    checkpoint: Checkpoint
    calibration: Tensor
    holdout: Tensor
    holdout_labels: NDArray[np.int64] | None
    val: Tensor
    val_labels: NDArray[np.int64] | None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("do", choices=("accuracy", "latency", "calibration", "writing", "_one"))
    parser.add_argument("checkpoints", type=Path, nargs="*")
    parser.add_argument("--data", default="fashion-mnist", help="what they were trained on")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--brief", action="store_true", help="weights of 7 bits only")
    parser.add_argument("--runtime", nargs="*", default=list(RUNTIMES))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.do == "_one":
        print(json.dumps(one_calibration(*map(str, asked.checkpoints))))
        return
    record: dict[str, Any] = {"device": device_name(), "versions": versions()}
    if asked.do == "writing":
        record["writing"] = [writing(name) for name in NETWORKS]
    else:
        cases = (case(path, asked.data, asked.photos) for path in asked.checkpoints)
        does = {"accuracy": accuracy, "latency": latency, "calibration": calibration}[asked.do]
        record[asked.do] = [row for one in cases for row in does(one, asked)]
    asked.out.write_text(json.dumps(record, indent=1) + "\n")


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("onnxruntime", "openvino", "onnx", "torch")}


def case(path: Path, data_name: str, photos: Path | None) -> Case:
    checkpoint = Checkpoint.load(path)
    rule = Preprocess.from_json(checkpoint.preprocess)
    if photos is not None:
        files = sorted(photos.iterdir())
        np.random.default_rng(0).shuffle(files)  # type: ignore[arg-type]
        pixels = torch.stack([rule(read_image(file)) for file in files])
        parts = pixels[:_FEW], pixels[:_FEW], None, pixels[_FEW:], None
        return Case(checkpoint.arch.full_name, path, checkpoint, *parts)
    seed = int(checkpoint.training.get("seed", 0))
    data = load_images(data_name, seed=seed)
    few = np.random.default_rng(seed).choice(data.train, CALIBRATION, replace=False)
    holdout, val = data.holdout[:HELD_OUT], data.val[:VALIDATION]
    return Case(
        f"{checkpoint.arch.full_name}, seed {seed}", path, checkpoint, decode(data, few, rule),
        decode(data, holdout, rule), data.targets.take(holdout).values,
        decode(data, val, rule), data.targets.take(val).values,
    )  # fmt: skip


# ---- onnxruntime's


class Reader(quantization.CalibrationDataReader):
    """Images one by one; the same ones in parts where a stride is asked for."""

    def __init__(self, images: Tensor):
        self.images = images
        self.set_range(0, len(images))

    def __len__(self) -> int:
        return len(self.images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.left = iter(self.images[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        image = next(self.left, None)
        return None if image is None else {"image": image[None].numpy()}


def calibrated(form: Any, images: Tensor, how: str, *, stride: int = _FEW) -> dict[str, Range]:
    """The range of each tensor by onnxruntime's calibrator."""
    method, options = CALIBRATORS[how]
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(form, path := Path(folder, "form.onnx"))
        calibrator = create_calibrator(
            path, [*OPS, "HardSwish"], str(Path(folder, "augmented.onnx")), method,
            extra_options=options,
        )  # fmt: skip
        for at in range(0, len(images), stride):
            calibrator.collect_data(Reader(images[at : at + stride]))
        found = calibrator.compute_data()
    spans = ((name, data.range_value) for name, data in found.items())
    return {name: Range(*(float(np.ravel(end)[0]) for end in span)) for name, span in spans}


def folded(form: Any) -> tuple[Any, dict[str, float]]:
    """The same logits without the products with a constant: those of the weights behind. Each
    tensor's factor: how much of the network's own value it has lost.

    Our writer says such a product as a second scale of its factor's levels; onnxruntime's makes an
    operation of it."""
    graph = Graph(form)
    stem = len(stem_of(graph))
    nodes, factors, names = graph.nodes[:stem], dict[str, float](), dict[str, str]()
    for node in graph.nodes[stem:]:
        held = factors.get(node.input[0], 1.0)
        if node.op_type == "Mul" and node.input[1] in graph.constants:
            names[node.output[0]] = names.get(node.input[0], node.input[0])
            factors[node.output[0]] = held * float(graph.constants[node.input[1]])
            continue
        if node.op_type in ("Conv", "Gemm"):
            graph.constants[node.input[1]] = graph.constants[node.input[1]] * np.float32(held)
        else:
            others = [factors.get(name, 1.0) for name in node.input[1:]]
            assert node.op_type != "Add" or {held, *others} == {1.0}
            factors[node.output[0]] = held * float(np.prod(others))
        node.input[:] = [names.get(name, name) for name in node.input]
        nodes.append(node)
    graph.nodes = nodes
    return graph.to_model(), factors


def theirs(
    form: Any,
    ranges: Ranges,
    *,
    moved: Mapping[str, Floats] | None = None,
    bits: int = 8,
    fold: bool = True,
    options: Mapping[str, Any] = PLACED,
) -> Any:
    """`with_integers` by onnxruntime's QDQQuantizer."""
    model, factors = folded(form) if fold else (form, {})
    graph = Graph(model)
    for name, shift in (moved or {}).items():
        bias = next(node.input[2] for node in graph.nodes if name in node.output)
        graph.constants[bias] = graph.constants[bias] + shift
    for at, node in enumerate(graph.nodes):
        node.name = f"{node.op_type}_{at}"
    spans = {
        name: tuple(np.float32(end / factors.get(name, 1.0)) for end in span)
        for name, span in ranges.items()
    }
    quantizer = QDQQuantizer(
        graph.to_model(), per_channel=True, reduce_range=bits == 7,
        weight_qType=quantization.QuantType.QInt8, activation_qType=quantization.QuantType.QUInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: TensorData(lowest=low, highest=high) for name, (low, high) in spans.items()},
        ),
        nodes_to_quantize=[], nodes_to_exclude=[node.name for node in stem_of(graph)],
        op_types_to_quantize=OPS, extra_options=dict(options),
    )  # fmt: skip
    quantizer.quantize_model()
    return cleaned(quantizer.model)


def static(model: Any, images: Tensor, *, bits: int, stem: bool) -> Any:
    """`quantize_static` as it is; `stem` leaves that in float."""
    graph = Graph(model)
    for at, node in enumerate(graph.nodes):
        node.name = f"{node.op_type}_{at}"
    out = [node.name for node in stem_of(graph)] if stem else []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        quantization.quantize_static(
            graph.to_model(), path, Reader(images), per_channel=True, reduce_range=bits == 7,
            activation_type=quantization.QuantType.QUInt8, nodes_to_exclude=out,
        )  # fmt: skip
        found = onnx.load(path)
    return cleaned(quantization.onnx_model.ONNXModel(found))


def cleaned(model: Any) -> Any:
    model.topological_sort()
    del model.model.metadata_props[:], model.model.graph.value_info[:]
    return model.model


# ---- What takes part


class Numbers:
    """One network in `integer_form` with all its numbers, each found once."""

    def __init__(self, one: Case, runtime: str):
        self.images = one.calibration.float() / 255
        self.plain = onnx_model(one.checkpoint)
        self.form = form_of(self.plain, self.images, hswish=runtime in HSWISH_APART)
        self._seen = observe(self.form, self.images)

    @cache  # noqa: B019
    def ranges(self, how: str) -> dict[str, Range]:
        if how in ("whole", "closest"):
            return bounded(self.form, {k: getattr(v, how)() for k, v in self._seen.items()})
        return bounded(self.form, calibrated(self.form, self.images, how))

    @cache  # noqa: B019
    def moved(self, how: str, bits: int) -> dict[str, Floats]:
        return shifts(self.form, self.ranges(how), self.images[:_FEW], weight_bits=bits)


def form_of(model: Any, images: Tensor, *, hswish: bool) -> Any:
    form = integer_form(model, hswish=hswish)
    stem = Graph(form)
    stem.nodes = stem_of(stem)
    largest = observe(stem.to_model(), images)[stem.nodes[-1].output[0]].largest
    return levelled(form, largest)


def takers(numbers: Numbers, *, brief: bool) -> Iterator[tuple[tuple[str, str, str, int], Any]]:
    """(writer, ranges, corrected, bits) and the model."""
    form = numbers.form
    for how in ("whole", "closest", *(one for one in CALIBRATORS if one != "minmax")):
        for bits in (8, 7) if how in ("whole", "closest") and not brief else (7,):
            for corrected in (False, True):
                ranges = numbers.ranges(how)
                moved = numbers.moved(how, bits) if corrected else None
                key = how, "corrected" if corrected else "", bits
                yield ("ours", *key), with_integers(form, ranges, shifts=moved, weight_bits=bits)
    for bits in (7,) if brief else (8, 7):
        yield ("QDQQuantizer", "whole", "", bits), theirs(form, numbers.ranges("whole"), bits=bits)
    key = "minmax", "", 7
    yield ("quantize_static, our graph", *key), static(form, numbers.images, bits=7, stem=True)
    yield (
        ("quantize_static, plain graph", *key),
        static(numbers.plain, numbers.images, bits=7, stem=False),
    )


# ---- Accuracy


def accuracy(one: Case, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for runtime in asked.runtime:
        with tempfile.TemporaryDirectory() as folder:
            yield from accuracies(one, runtime, Path(folder), brief=asked.brief)


def accuracies(one: Case, runtime: str, folder: Path, *, brief: bool) -> Iterator[dict[str, Any]]:
    """A row for float and for each that takes part: holdout loss (which chooses), and on the
    validation images loss, top-1, agreement with float and decibels over its error."""
    file = folder / f"float{RUNTIMES[runtime]}"
    export_isolated([Job(one.path, file)], runtime)
    wanted = load(file, threads=1)
    held, right = logits(wanted, one.holdout), logits(wanted, one.val)
    held_labels = held.argmax(1) if one.holdout_labels is None else one.holdout_labels
    labels = right.argmax(1) if one.val_labels is None else one.val_labels
    row = {"network": one.name, "runtime": runtime}
    yield row | {"writer": "float"} | judged(held, held_labels, right, labels, right)
    for (writer, ranges, corrected, bits), model in takers(Numbers(one, runtime), brief=brief):
        file = folder / f"{writer}-{ranges}-{corrected}-{bits}{RUNTIMES[runtime]}"
        export_int8(model, one.checkpoint.about(), runtime, file)
        found = load(file, threads=1)
        key = {"writer": writer, "ranges": ranges, "corrected": bool(corrected), "bits": bits}
        held, got = logits(found, one.holdout), logits(found, one.val)
        row_here = row | key | judged(held, held_labels, got, labels, right)
        print(json.dumps(row_here), flush=True)
        yield row_here


def logits(network: Predictor, pixels: Tensor) -> Floats:
    return network.outputs(pixels)["logits"]


def judged(held: Floats, held_labels: Any, got: Floats, labels: Any, right: Floats) -> Any:
    guess, hits = got.argmax(1), got.argmax(1) == labels
    noise = np.square(got - right).sum()
    return {
        "holdout_loss": loss(held, held_labels),
        "loss": loss(got, labels),
        "top1": 100 * float(hits.mean()),
        # Images that one of the two has right and the other wrong: the difference's own noise.
        "changed": int((hits != (right.argmax(1) == labels)).sum()),
        "agreement": 100 * float((guess == right.argmax(1)).mean()),
        "decibels": float(10 * np.log10(np.square(right).sum() / noise)) if noise else None,
    }


def loss(got: Floats, labels: Any) -> float:
    return float(cross_entropy(torch.from_numpy(got), torch.from_numpy(np.asarray(labels))))


# ---- Latency


def latency(one: Case, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for runtime in asked.runtime:
        with tempfile.TemporaryDirectory() as folder:
            yield from latencies(one, runtime, Path(folder))


def latencies(one: Case, runtime: str, folder: Path) -> list[dict[str, Any]]:
    """Float, ours twice (the noise) and theirs in turns, in several sessions."""
    float_file = folder / f"float{RUNTIMES[runtime]}"
    export_isolated([Job(one.path, float_file)], runtime)
    numbers = Numbers(one, runtime)
    form, ranges, images = numbers.form, numbers.ranges("whole"), numbers.images[:_FEW]
    models = {
        "ours": with_integers(form, ranges, weight_bits=7),
        "ours again": with_integers(form, ranges, weight_bits=7),
        "QDQQuantizer": theirs(form, ranges, bits=7),
        "QDQQuantizer, sixths as products": theirs(form, ranges, bits=7, fold=False),
        "QDQQuantizer, its placement": theirs(form, ranges, bits=7, options={}),
        "quantize_static, our graph": static(form, images, bits=7, stem=True),
        "quantize_static, plain graph": static(numbers.plain, images, bits=7, stem=False),
    }
    files = {"float": float_file}
    for kind, model in models.items():
        files[kind] = folder / f"{kind}{RUNTIMES[runtime]}"
        export_int8(model, one.checkpoint.about(), runtime, files[kind])
    sessions = [measure(list(files.values()), runtime=runtime) for _ in range(SESSIONS)]
    rows = []
    for at, kind in enumerate(files):
        ratios = [compare([session[0], session[at]])[1] for session in sessions]
        to_ours = [compare([session[1], session[at]])[1] for session in sessions]
        rows.append(
            {
                "network": one.name, "runtime": runtime, "kind": kind,
                "p50_ms": median(session[at].p50_ms for session in sessions),
                "p50s_ms": [session[at].p50_ms for session in sessions],
                "spreads": [session[at].spread for session in sessions],
                "to_float": ratios, "to_ours": to_ours,
                "bytes": files[kind].stat().st_size,
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


# ---- What calibration and writing take


def calibration(one: Case, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds of the processor, and memory over what was there before, each in a process of its own
    on one core."""
    with tempfile.TemporaryDirectory() as folder:
        images = one.calibration.float() / 255
        np.save(pixels := Path(folder, "pixels.npy"), images.numpy())
        onnx.save(form_of(onnx_model(one.checkpoint), images, hswish=True), Path(folder, "f.onnx"))
        for how in ("ours", "ours, corrected", *CALIBRATORS):
            strides = (_FEW, len(images)) if how in CALIBRATORS else (0,)
            for stride in strides:
                words = [sys.executable, __file__, "_one", f"{folder}/f.onnx", pixels, how]
                found = [
                    json.loads(subprocess.check_output([*words, str(stride)]).splitlines()[-1])
                    for _ in range(SESSIONS)
                ]
                row = {"network": one.name, "how": how, "at_a_time": stride}
                row |= {key: [run[key] for run in found] for key in found[0]}
                print(json.dumps(row), flush=True)
                yield row


def one_calibration(form_file: str, pixels: str, how: str, stride: str) -> dict[str, float]:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    torch.set_num_threads(1)
    form, images = onnx.load(form_file), torch.from_numpy(np.load(pixels))
    observe(form, images[:1])  # what is loaded on first use
    before, begun = peak_bytes(), time.process_time()
    if how.startswith("ours"):
        seen = observe(form, images)
        spans = bounded(form, {name: one.whole() for name, one in seen.items()})
        bounded(form, {name: one.closest() for name, one in seen.items()})
        if how != "ours":
            shifts(form, spans, images[:_FEW])
    else:
        calibrated(form, images, how, stride=int(stride))
    seconds = time.process_time() - begun
    return {"seconds": seconds, "mb": (peak_bytes() - before) / 1e6, "before_mb": before / 1e6}


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def writing(name: str) -> dict[str, Any]:
    """Seconds of the processor to write one network, at 224 pixels; the median of several."""
    model = onnx_model(Checkpoint.fresh(get_arch(name)))
    form = form_of(model, torch.rand(2, 3, 224, 224), hswish=True)
    seen = observe(form, torch.rand(2, 3, 224, 224))
    ranges = bounded(form, {key: one.whole() for key, one in seen.items()})
    found: dict[str, Any] = {"network": name}
    for kind, write in (("ours", with_integers), ("QDQQuantizer", theirs)):
        seconds = []
        for _ in range(SESSIONS):
            begun = time.process_time()
            size = write(form, ranges).ByteSize()
            seconds.append(time.process_time() - begun)
        found[kind] = {"seconds": median(seconds), "all": seconds, "bytes": size}
    print(json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    main()
