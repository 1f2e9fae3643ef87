"""8-bit integers: the same network in what integers have, numbers beside other implementations',
the verb on real images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime import quantization as theirs
from torch import Tensor

from mobilenets.archs import Arch, Budget, cost, get_arch
from mobilenets.choosing.candidate import file_bytes
from mobilenets.commands import quantize as quantization
from mobilenets.commands.quantize import Quantization, quantize
from mobilenets.commands.train import Training, train_named
from mobilenets.data import load_images
from mobilenets.deliver import load, verify
from mobilenets.errors import ConversionError, MobileNetsError
from mobilenets.files import read_json, write_json
from mobilenets.measuring.latency import measure
from mobilenets.nn import Checkpoint
from mobilenets.quantize.calibrate import Observed, observe, shifts
from mobilenets.quantize.interpret import walk
from mobilenets.quantize.schemes import SCHEMES, quantized
from mobilenets.runtimes import Engine
from mobilenets.runtimes.artifact import artifact_name, files_of, is_intact, size_of
from mobilenets.runtimes.graphs.integers import Graph, integer_form, is_depthwise, levelled, stem_of
from mobilenets.runtimes.graphs.onnx_file import onnx_model
from mobilenets.runtimes.graphs.qdq import Range, bounded, for_timing, with_integers
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.tasks.confidence import Lost
from mobilenets.train import Limits

Floats = NDArray[np.float32]
# Products of 8-bit weights saturate on x86 before VNNI, as `quantize.Scheme` says.
_FLAGS = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
BITS = 7 if "avx2" in _FLAGS and "vnni" not in _FLAGS else 8
# Between them V2 and V3-Small have every kind of operation.
NAMES = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    pytest.param("mobilenet_v1", marks=pytest.mark.full),
    pytest.param("mobilenet_v3_large", marks=pytest.mark.full),
)


def arch_of(name: str, *, width: float | None = None, padding: str = "symmetric") -> Arch:
    return replace(get_arch(name, width=width, resolution=64, classes=10), padding=padding)


@cache
def float_model(name: str, **words: Any) -> Any:
    return onnx_model(Checkpoint.fresh(arch_of(name, **words)))


def pixels(count: int, side: int = 64) -> Tensor:
    """Smooth images: each a few random blobs, as photographs have, and no two alike."""
    random = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 5, 5, generator=random)
    return torch.nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1)


def session(model: Any, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    options = options or ort.SessionOptions()
    options.log_severity_level = 3
    data = model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(model: Any, images: Tensor) -> Floats:
    one = session(model)
    return np.concatenate([one.run(None, {"image": image[None].numpy()})[0] for image in images])


def relative(a: Floats, b: Floats) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def decibels(got: Floats, wanted: Floats) -> float:
    """Signal over quantization noise."""
    return float(10 * np.log10(np.square(wanted).sum() / np.square(got - wanted).sum()))


def in_integers(model: Any, images: Tensor, *, bits: int = 8) -> Any:
    """By the first scheme, with weights of so many bits."""
    scheme = replace(SCHEMES[0], weight_bits=bits)
    return next(iter(quantized(model, images, hswish=True, schemes=[scheme])))[1]


def kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def run_as(model: Any, folder: Path) -> Counter[str]:
    """The operations that onnxruntime makes of a model."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    session(model, options)
    return kinds(onnx.load(folder / "optimized.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "padding"),
    [pytest.param(None, "same", marks=pytest.mark.full), (0.35, "symmetric")],
)
@pytest.mark.parametrize(
    "name",
    [*NAMES, pytest.param("mobilenet_v3_small_minimalistic", marks=pytest.mark.full)],
)
def test_a_network_in_what_integers_have_gives_the_same_logits(
    name: str, width: float | None, padding: str
):
    model = float_model(name, width=width, padding=padding)
    images = pixels(2)

    for hswish in (True, False):
        assert relative(run(integer_form(model, hswish=hswish), images), run(model, images)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_depthwise_convolutions_come_in_sixteens(name: str):
    graph = Graph(integer_form(float_model(name, width=0.45)))

    found = [graph.constants[n.input[1]].shape[0] for n in graph.nodes if is_depthwise(graph, n)]

    assert len(found) > 10
    assert {channels % 16 for channels in found[1:]} == {0}  # the first may share those of a sum


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_channels_made_level_leave_the_logits(name: str):
    form = integer_form(float_model(name))
    stem = stem_of(Graph(form))[-1].output[0]
    largest = observe(form, pixels(4))[stem].largest

    level = levelled(form, largest)

    assert relative(run(level, pixels(2)), run(form, pixels(2))) < 1e-4
    there = observe(level, pixels(4))[f"{stem}/level"].largest
    assert there[largest > largest.max() / 64] == pytest.approx(1, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime_runs_all_but_the_stem_in_integers(name: str, tmp_path: Path):
    found = run_as(in_integers(float_model(name), pixels(8)), tmp_path)

    layers = kinds(float_model(name))
    assert found["QLinearConv"] == layers["Conv"] - 1
    assert found["QGemm"] == layers["Gemm"]
    assert not found["FusedConv"]
    assert found["QuantizeLinear"] == 1 + (name == "mobilenet_v3_large")  # which adds its stem's
    assert not found["DequantizeLinear"]
    assert not found["HardSigmoid"]


@pytest.mark.slow
def test_with_h_swish_as_it_is_onnxruntime_goes_back_to_float(tmp_path: Path):
    """Why it is taken apart; where this fails, a newer onnxruntime may need it no longer."""
    model = float_model("mobilenet_v3_small")
    [(_, whole), *_] = quantized(model, pixels(8), hswish=False)

    assert run_as(whole, tmp_path)["DequantizeLinear"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_torch_walks_the_graph_as_onnxruntime_runs_it(name: str):
    model, images = float_model(name, padding="same"), pixels(4)
    form = integer_form(model)
    integers = in_integers(model, images, bits=BITS)

    assert relative(walk(form, images, lambda *_: None).numpy(), run(form, images)) < 1e-4
    ours, runtimes = walk(integers, images, lambda *_: None).numpy(), run(integers, images)
    assert decibels(ours, runtimes) > decibels(runtimes, run(model, images)) + 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hswish"),
    [
        ("mobilenet_v3_small", True),
        ("mobilenet_v3_small", False),
        *(
            pytest.param(name, True, marks=pytest.mark.full)
            for name in ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large")
        ),
    ],
)
def test_a_network_for_timing_runs_as_one_with_numbers_from_images(
    name: str, hswish: bool, tmp_path: Path
):
    model = float_model(name)
    [(_, real), *_] = quantized(model, pixels(8), hswish=hswish)

    assert run_as(for_timing(model, hswish=hswish), tmp_path) == run_as(real, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "runtime", ["onnxruntime-int8", pytest.param("openvino-int8", marks=pytest.mark.full)]
)
def test_a_network_in_integers_is_timed_and_its_file_no_larger_than_estimated(
    runtime: str, tmp_path: Path
):
    engine = Engine.parse(runtime)
    arch, path = arch_of("mobilenet_v3_small"), tmp_path / artifact_name(engine.runtime)
    export_isolated([Job(arch, path)], runtime)

    (latency,) = measure([path], runtime=runtime, seconds=0.1, min_runs=3)

    assert (latency.runtime, latency.precision) == (engine.runtime, "int8")
    assert load(path).about["runtime"] == engine.runtime
    assert size_of(path) <= file_bytes(cost(arch), engine) <= 1.25 * size_of(path)


def test_a_checkpoint_gets_its_integers_from_images_only(tmp_path: Path):
    path = tmp_path / "trained.safetensors"
    Checkpoint.fresh(arch_of("mobilenet_v3_small")).save(path)

    with pytest.raises(ConversionError, match="gets its 8-bit numbers from images; run: mobilenet"):
        export_isolated([Job(path, tmp_path / "model.onnx")], "onnxruntime-int8")


class Reader(theirs.CalibrationDataReader):
    def __init__(self, images: Tensor):
        self.images: Iterator[Tensor] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image[None].numpy()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_integers_are_as_near_to_float_as_onnxruntimes_own(name: str, tmp_path: Path):
    model, images = float_model(name), pixels(16)
    onnx.save(model, tmp_path / "float.onnx")
    theirs.quantize_static(
        tmp_path / "float.onnx", tmp_path / "int8.onnx", Reader(images), per_channel=True,
        activation_type=theirs.QuantType.QUInt8,
    )  # fmt: skip
    wanted = run(model, images)

    ours = decibels(run(in_integers(model, images), images), wanted)

    assert ours > decibels(run(onnx.load(tmp_path / "int8.onnx"), images), wanted) - 1


def test_a_range_has_256_levels_and_0_is_one_of_them():
    scale, zero = Range(-1.0, 3.0).levels()

    assert scale == pytest.approx(4 / 255)
    assert zero == 64  # 255 / 4 below 0, rounded
    assert Range(0.5, 2.0).levels() == (np.float32(2 / 255), 0)
    assert Range(-2.0, -0.5).levels() == (np.float32(2 / 255), 255)


def test_h_swish_spans_nothing_below_3_and_its_gate_0_to_6():
    form = integer_form(float_model("mobilenet_v3_small"))
    graph = Graph(form)
    wide = {name: Range(-9.0, 9.0) for node in graph.nodes for name in node.output}

    spans = bounded(form, wide)

    plus = next(n for n in graph.nodes if n.op_type == "Add" and n.input[1] in graph.constants)
    sixth = next(n for n in graph.nodes if n.op_type == "Mul" and n.input[1] in graph.constants)
    assert spans[plus.input[0]] == (-3, 9)
    assert spans[sixth.input[0]] == (0, 6)


@pytest.mark.slow
def test_a_filter_of_zeros_keeps_its_bias():
    """onnxruntime's int32 biases overflowed there once: its issues 21645 and 25278."""
    checkpoint = Checkpoint.fresh(arch_of("mobilenet_v2"))
    weights = {name: tensor.clone() for name, tensor in checkpoint.weights.items()}
    weights["rows.3.expand.conv.weight"][5] = 0
    weights["rows.3.expand.norm.bias"][5] = 2.5
    model = onnx_model(replace(checkpoint, weights=weights))
    name = "network.rows.3.expand.conv.bias"
    bias = Graph(model).constants[name][5]

    kept = Graph(in_integers(model, pixels(8))).constants

    assert kept[f"{name}/levels"].dtype == np.int32
    assert kept[f"{name}/levels"][5] * kept[f"{name}/scale"][5] == pytest.approx(bias, rel=1e-5)


@pytest.mark.slow
def test_shifts_put_the_mean_of_each_channel_right():
    form, images = integer_form(float_model("mobilenet_v3_small")), pixels(16)
    spans = bounded(form, {name: one.whole() for name, one in observe(form, images).items()})
    wanted = observe(form, images)

    def off(**words: Any) -> float:
        """The error of a mean, in parts of its tensor's size, in the mean over all layers."""
        errors: list[float] = []
        mean: dict[str, Tensor] = {}
        layers = [n.output[0] for n in form.graph.node if n.op_type in ("Conv", "Gemm")]
        layers = layers[1:10]  # further down, rounding tips over what was put right

        def note(name: str, values: Tensor) -> None:
            if name in layers:
                mean[name] = values.transpose(0, 1).flatten(1).mean(1)

        walk(form, images, note)
        right = dict(mean)
        walk(with_integers(form, spans, **words), images, note)
        for name in right:
            size = max(abs(wanted[name].low), wanted[name].high)
            errors.append(float((mean[name] - right[name]).abs().mean()) / size)
        return float(np.mean(errors))

    assert off(shifts=shifts(form, spans, images)) < 0.2 * off()


def test_closest_cuts_off_what_is_rare():
    random = np.random.default_rng(0)
    sample = np.append(random.standard_normal(10_000), 8.0).astype(np.float32)
    seen = Observed(float(sample.min()), 8.0, sample, np.abs(sample))

    span = seen.closest()

    assert 4 < span.high < 8  # as far as the normal values reach, and no further
    assert seen.whole() == (sample.min(), 8)


@pytest.mark.slow
def test_channels_made_level_take_most_of_the_error_away():
    """A stem as training leaves it: one channel reaches far, and the rest are small."""
    checkpoint = Checkpoint.fresh(arch_of("mobilenet_v3_small"))
    weights = {name: tensor.clone() for name, tensor in checkpoint.weights.items()}
    weights["rows.0.norm.weight"][3] *= 60
    weights["rows.1.depthwise.conv.weight"][3] /= 60
    model, images = onnx_model(replace(checkpoint, weights=weights)), pixels(16)
    form = integer_form(model)
    spans = bounded(form, {name: one.whole() for name, one in observe(form, images).items()})
    wanted = run(model, images)

    plain = decibels(run(with_integers(form, spans, weight_bits=BITS), images), wanted)

    level = run(in_integers(model, images, bits=BITS), images)
    assert decibels(level, wanted) > plain + 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a V3-Small that knows the digits."""
    folder = tmp_path_factory.mktemp("quantized") / "digits"
    train_named(
        Training(
            "mobilenet_v3_small", "digits", width=0.35, resolution=32, limits=Limits(epochs=12),
            out=folder,
        )
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each runtime's run lives: what one test quantized the next takes up."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.slow
@pytest.mark.parametrize(
    "runtime", [pytest.param("openvino", marks=pytest.mark.full), "onnxruntime"]
)
def test_quantize_hands_over_int8_that_is_nearly_as_good(
    trained: Path, runtime: str, folders: Path
):
    job = Quantization(
        trained, "digits", Engine(runtime), max_drop=3, smaller=True, out=folders / runtime
    )

    record = quantize(job)

    assert record["kept"] == "int8", record["why"]
    assert record["verified"], record["complaints"]
    assert record["top1_artifact"] > 80
    assert record["top1_checkpoint"] - record["top1_artifact"] <= 3
    assert record["agreement"] > 95
    assert record["latency"]["precision"] == "int8"
    sizes = [files_of(job.folder / p / artifact_name(runtime))[0].stat() for p in ("int8", "fp32")]
    assert sizes[0].st_size < 0.45 * sizes[1].st_size  # of the file with the weights
    assert len(record["schemes"]) == len(SCHEMES)
    assert record["int8"]["loss"] == min(one["loss"] for one in record["schemes"])
    artifact = load(record["artifact"])
    assert is_intact(Path(record["artifact"]))
    assert artifact.about["precision"] == "int8"
    assert artifact.about["scheme"]["ranges"] in ("whole", "closest")
    assert read_json(job.folder / "summary.json") == record


@pytest.mark.slow
def test_what_is_done_is_not_done_again_but_what_is_allowed_is_judged_again(
    trained: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
):
    job = Quantization(trained, "digits", max_drop=3, smaller=True, out=folders / "onnxruntime")
    before = quantize(job)

    def again(*_: object) -> None:
        raise AssertionError("quantized again")

    monkeypatch.setattr(quantization, "write_both", again)
    assert quantize(job) == before
    schemes = read_json(job.folder / "schemes.json")
    schemes["lost"] |= {"points": 2.5, "at_least": 2.1, "words": "9 fewer right of 360"}
    write_json(job.folder / "schemes.json", schemes)

    record = quantize(replace(job, max_drop=2))

    assert record["kept"] == "fp32"
    assert record["why"] == (
        "int8 loses 2.50 points on all held-out images (9 fewer right of 360), more than the 2 "
        "allowed; give a larger --max-drop to have it nevertheless"
    )
    assert load(record["artifact"]).about["precision"] == "fp32"
    assert record["verified"]


@pytest.mark.slow
def test_int8_that_loses_too_much_says_how_much(trained: Path, folders: Path):
    job = Quantization(trained, "digits", max_drop=3, smaller=True, out=folders / "onnxruntime")
    file = Path(quantize(job)["artifact"])

    verdict = verify(
        file, trained / "trained.safetensors", load_images("digits"), Budget(), max_loss=-10
    )

    (complaint,) = verdict.complaints()
    assert not verdict.verified
    assert complaint.endswith(" % in float, and int8 may lose -10 points")


@pytest.mark.parametrize(
    ("lost", "ratio", "smaller", "why"),
    [
        (0.5, 0.9, False, ""),
        (-0.1, 0.5, False, ""),
        (0.5, 1.2, False, "int8 takes 1.20 of the time of fp32 here"),
        (0.5, 0.98, False, "int8 takes 0.98 of the time of fp32 here"),
        (0.5, 1.2, True, ""),
        (1.5, 0.5, True, "int8 loses 1.50 points on all held-out images (so), more than the 1 all"),
    ],
)
def test_int8_must_be_faster_and_lose_little(lost: float, ratio: float, smaller: bool, why: str):
    job = Quantization(Path("run"), "digits", smaller=smaller)

    found = quantization.objection(job, Lost(lost, lost - 0.3, 5000, "so"), ratio)

    assert found.startswith(why)
    assert bool(found) == bool(why)


def test_a_loss_that_the_images_cannot_tell_is_no_objection():
    job = Quantization(Path("run"), "digits")
    lost = Lost(2.3, -2.1, 43, "1 fewer right of 43")

    assert quantization.objection(job, lost, 0.5) == ""
    assert quantization._accepted(job, lost) == (
        "43 images cannot tell 1 point: 1 fewer right of 43 on all held-out images"
    )


def test_a_runtime_without_int8_is_refused():
    with pytest.raises(MobileNetsError, match="ncnn has no int8 here; give one of onnxruntime, op"):
        Quantization(Path("run"), "digits", Engine("ncnn"))
    with pytest.raises(
        MobileNetsError, match="without being asked, got openvino-int8; give --runtime openvino"
    ):
        Quantization(Path("run"), "digits", Engine("openvino", "int8"))


def test_what_may_be_lost_is_a_percentage():
    with pytest.raises(MobileNetsError, match="max_drop must be 0 to 100 percent, got -1"):
        Quantization(Path("run"), "digits", max_drop=-1)


@pytest.mark.slow
def test_a_run_is_not_written_over(trained: Path):
    with pytest.raises(MobileNetsError, match=r"holds another run.*; give another --out"):
        quantize(Quantization(trained, "digits", out=trained))


@pytest.mark.slow
def test_the_limits_of_the_run_hold(trained: Path, folders: Path):
    write_json(trained / "budget.json", {"size_bytes": 100_000.0})
    job = Quantization(trained, "digits", smaller=True, max_drop=100, out=folders / "onnxruntime")

    record = quantize(job)

    (trained / "budget.json").unlink()
    assert record["within_budget"] == (record["size_bytes"] <= 100_000)
    assert json.dumps(record["complaints"]).count("over the limit of 100 kB") == 1
