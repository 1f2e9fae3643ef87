"""Runtimes: all that are installed keep the same promises; and what is special to one of them."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2 import functional as F  # noqa: N812  (its usual name)

from mobilenets.archs import Arch, at_resolution, cost, get_arch, keep_resolution
from mobilenets.archs.heads import Classify, Head, Pooled
from mobilenets.archs.op import Size
from mobilenets.archs.rows import Bottleneck, Conv, Row
from mobilenets.choosing.candidate import file_bytes
from mobilenets.errors import ConversionError, DataError, FileError, RuntimeMissing
from mobilenets.nn import Checkpoint
from mobilenets.processes.child import Child, ChildDied
from mobilenets.runtimes import (
    DEFAULT,
    RUNTIMES,
    Engine,
    Runtime,
    Session,
    describe_runtimes,
    get_runtime,
    isolated,
    parse_engines,
)
from mobilenets.runtimes.artifact import (
    describe_file,
    files_of,
    is_intact,
    precision_of,
    size_of,
)
from mobilenets.runtimes.graphs.onnx_file import exported, onnx_model
from mobilenets.runtimes.isolated import Exporter, Job, export_isolated, try_exports

CLASSES = 4
SIZE = 16

# All families; both paddings; an early stride that is 1.
V1 = get_arch("mobilenet_v1", width=0.25, resolution=64, classes=10)
V2 = replace(get_arch("mobilenet_v2", width=0.35, resolution=64, classes=10), padding="same")
LARGE = get_arch("mobilenet_v3_large", width=0.35, resolution=64, classes=10)
SMALL = keep_resolution(get_arch("mobilenet_v3_small", width=0.35, resolution=64, classes=10), 16)
# All that there is of operations: a gate, both activations, an addition, dilation, either padding.
ONE = replace(SMALL, padding="same")
# torch.compile takes ten seconds a network, the converters of these others five to ten; V3-Large
# has no layer that V3-Small has not.
FEW = {"torch-compile": [V1], "litert": [V1, V2], "executorch": [V1, V2]}
MORE = {name: FEW.get(name, [V1, V2, LARGE, SMALL]) for name in RUNTIMES}
# Enough to do for two threads.
BUSY = get_arch("mobilenet_v1", resolution=160, classes=10)
LABELS = ("a cat", "café", '"quoted"', "<b>", "4", "5", "6", "7", "8", "9")
TOLERANCE = 1e-4  # of the largest logit
# PyTorch is imported, a network compiled anew, or converting it takes long.
DEAR = ("torch", "torch-compile", "executorch", "litert")
# The part of the work that the second of two threads does at least. oneTBB's threads take what is
# left when they have woken: on a busy machine little, but with one thread it is nothing at all.
LEAST_SHARE = {"openvino": 0.001}

GATED, PLAIN = Bottleneck(5, 72, 40, True, "hswish"), Bottleneck(3, 72, 24, False, "relu")


def piece(*rows: Row, resolution: int, channels: int, head: Head | None = None) -> Arch:
    return Arch("piece", 3, rows, head, Size.of(resolution), in_channels=channels)


PIECE = piece(GATED, resolution=14, channels=40, head=Pooled())

every_runtime = pytest.mark.parametrize("name", RUNTIMES)
every_artifact = pytest.mark.parametrize(
    ("name", "arch"),
    [
        pytest.param(name, arch, id=f"{name}-{arch.full_name}", marks=marks)
        for name in RUNTIMES
        for arch, marks in [(ONE, ()), *((arch, pytest.mark.full) for arch in MORE[name])]
    ],
)


class Converted(NamedTuple):
    """A runtime's artifacts, made once; and this process before and after they were made."""

    folder: Path
    suffix: str
    before: dict[str, Any]
    after: dict[str, Any]

    def path(self, arch: Arch) -> Path:
        return self.folder / f"{arch.full_name}{self.suffix}"


Convert = Callable[[str], Converted]
Open = Callable[[str, Arch], Session]


def checkpoint_of(arch: Arch) -> Checkpoint:
    return replace(Checkpoint.fresh(arch), labels=LABELS, training={"seed": 3})


@pytest.fixture(scope="session")
def archs_for(pytestconfig: pytest.Config) -> Callable[[str], list[Arch]]:
    """What is converted for a runtime."""
    if pytestconfig.getoption("full"):
        return lambda name: [ONE, *MORE[name], BUSY, PIECE]
    return lambda name: [ONE, PIECE] if name in DEAR else [ONE, BUSY, PIECE]


@pytest.fixture(scope="session")
def converted(
    tmp_path_factory: pytest.TempPathFactory, archs_for: Callable[[str], list[Arch]]
) -> Convert:
    """The artifacts of a runtime; skips the test where it is not installed."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")

    def convert(name: str) -> Converted:
        missing = RUNTIMES[name].missing
        if missing:
            pytest.skip(f"{name} is not installed: {', '.join(missing)}")
        return convert_once(name)

    @cache
    def convert_once(name: str) -> Converted:
        suffix = RUNTIMES[name].suffix
        folder = tmp_path_factory.mktemp(name)
        jobs = []
        for arch in archs_for(name):
            checkpoint = checkpoints / f"{arch.full_name}.safetensors"
            checkpoint_of(arch).save(checkpoint)
            jobs.append(Job(checkpoint, folder / f"{arch.full_name}{suffix}"))
        before = state()
        export_isolated(jobs, name)
        return Converted(folder, suffix, before, state())

    return convert


@pytest.fixture(scope="session")
def opened(converted: Convert) -> Open:
    """The artifacts of a runtime, loaded once: torch.compile compiles on loading."""

    @cache
    def load_once(name: str, arch: Arch) -> Session:
        return runtime_of(name).load(converted(name).path(arch), threads=1)

    return load_once


def state() -> dict[str, Any]:
    """What a library may change in a process that uses it."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    return {
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "logging": logging.Logger.manager.disable,
        "loggers": [
            (one.name, one.level, list(one.handlers), one.propagate, one.disabled)
            for one in loggers
            if isinstance(one, logging.Logger)
        ],
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "random": random.getstate(),
        "modules": set(sys.modules),
    }


def runtime_of(name: str) -> Runtime:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what these packages warn of when they are imported
        return get_runtime(name)


@cache
def photos(side: int) -> NDArray[np.float32]:
    """scikit-learn's two photographs as (2, 3, side, side) in [0, 1]."""
    arrays = [torch.from_numpy(image.copy()) for image in load_sample_images().images]
    small = [F.resize(array.permute(2, 0, 1), [side, side], antialias=True) for array in arrays]
    pixels = np.stack([one.contiguous().numpy() for one in small])
    return pixels.astype(np.float32) / np.float32(255)


def eager(checkpoint: Checkpoint, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits of the network as it was trained, on images normalized outside."""
    mean, std = (torch.tensor(one).reshape(1, 3, 1, 1) for one in (checkpoint.mean, checkpoint.std))
    with torch.no_grad():
        return checkpoint.network()((torch.from_numpy(images) - mean) / std)["logits"].numpy()


def copied(path: Path, folder: Path) -> Path:
    """The artifact, copied."""
    for file in files_of(path):
        shutil.copy(file, folder)
    return folder / path.name


def refusal(name: str, path: Path) -> str:
    with pytest.raises(FileError) as caught:
        runtime_of(name).load(path, threads=1)
    return str(caught.value)


def assert_one_sentence(text: str, *parts: str) -> None:
    assert "\n" not in text
    assert len(text) < 500
    for part in parts:
        assert part in text


# What every runtime promises


@every_artifact
def test_the_logits_are_those_of_the_trained_network(name: str, arch: Arch, opened: Open):
    session = opened(name, arch)
    images = photos(arch.resolution)

    logits = np.concatenate([session.run(image[None])["logits"] for image in images])

    expected = eager(checkpoint_of(arch), images)
    largest = np.abs(expected).max()
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() < TOLERANCE * largest
    # The photographs differ by more than the tolerance: they are seen.
    assert np.abs(expected[0] - expected[1]).max() > 10 * TOLERANCE * largest


@every_runtime
def test_an_image_may_lie_in_memory_in_either_order(name: str, opened: Open):
    session = opened(name, ONE)
    image = photos(64)[:1]
    channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    assert image.flags.c_contiguous
    assert not channels_last.flags.c_contiguous
    assert session.layout in ("NCHW", "NHWC")
    assert session.input_shape == (1, 3, 64, 64)
    found, expected = (session.run(one)["logits"] for one in (channels_last, image))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@every_runtime
def test_a_piece_of_a_network_runs_on_feature_maps(name: str, opened: Open):
    session = opened(name, PIECE)
    random = np.random.default_rng(0)
    maps = random.standard_normal((2, 40, 14, 14), np.float32)

    found = np.concatenate([session.run(one[None])["features"] for one in maps])

    with torch.no_grad():
        expected = checkpoint_of(PIECE).network()(torch.from_numpy(maps))["features"].numpy()
    assert session.input_shape == (1, 40, 14, 14)
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


@every_runtime
def test_logits_stay_when_another_image_is_run(name: str, opened: Open):
    session = opened(name, ONE)
    first, second = photos(64)[:1], photos(64)[1:]

    logits = session.run(first)["logits"]
    before = logits.copy()
    session.run(second)

    np.testing.assert_array_equal(logits, before)


@every_artifact
def test_an_artifact_says_what_it_is(name: str, arch: Arch, opened: Open):
    session = opened(name, arch)

    network, about = describe_file(Path("an artifact"), session.metadata)

    assert network == arch
    expected = json.loads(json.dumps(checkpoint_of(arch).about()))
    assert {key: about[key] for key in expected} == expected
    assert precision_of(session.metadata) == "fp32"
    if not name.startswith("torch"):  # PyTorch's is a checkpoint, whatever it was made for
        assert (about["runtime"], about["runtime_version"]) == (name, RUNTIMES[name].version())


@every_artifact
def test_the_estimate_of_a_file_is_no_less_than_the_file(name: str, arch: Arch, converted: Convert):
    size = size_of(converted(name).path(arch))

    assert size <= file_bytes(cost(arch), Engine(name)) <= 1.25 * size


@every_artifact
def test_an_artifact_is_intact_until_a_byte_of_it_changes(
    name: str, arch: Arch, converted: Convert, tmp_path: Path
):
    path = copied(converted(name).path(arch), tmp_path)
    assert is_intact(path)

    for file in files_of(path):
        content = file.read_bytes()
        for at in (len(content) // 3, len(content) - 1):
            changed = bytearray(content)
            changed[at] ^= 1
            file.write_bytes(changed)
            assert not is_intact(path), f"byte {at} of {file.name}"
        file.write_bytes(content)
    assert is_intact(path)


@every_runtime
def test_an_artifact_without_one_of_its_files_is_not_intact(
    name: str, converted: Convert, tmp_path: Path
):
    path = copied(converted(name).path(ONE), tmp_path)

    files_of(path)[0].unlink()

    assert not is_intact(path)


@every_runtime
@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
def test_a_missing_file_is_refused(name: str, which: int, converted: Convert, tmp_path: Path):
    path = copied(converted(name).path(ONE), tmp_path)
    files_of(path)[which].unlink()

    assert_one_sentence(refusal(name, path), str(path.with_suffix("")))


@every_runtime
@pytest.mark.parametrize("content", [b"", b"no network at all\n" * 20], ids=["empty", "text"])
def test_a_corrupt_file_is_refused(name: str, content: bytes, converted: Convert, tmp_path: Path):
    path = copied(converted(name).path(ONE), tmp_path)
    for file in files_of(path):
        before = file.read_bytes()
        file.write_bytes(content)
        assert_one_sentence(refusal(name, path), str(path.with_suffix("")))
        file.write_bytes(before)


@every_runtime
@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_truncated_file_is_refused(name: str, kept: float, converted: Convert, tmp_path: Path):
    path = copied(converted(name).path(ONE), tmp_path)
    for file in files_of(path):
        before = file.read_bytes()
        file.write_bytes(before[: int(kept * len(before))])
        assert_one_sentence(refusal(name, path), str(path.with_suffix("")))
        file.write_bytes(before)


@every_runtime
@pytest.mark.parametrize("shape", [(1, 3, 64, 65), (1, 3, 32, 32), (1, 1, 64, 64), (3, 64, 64)])
def test_images_of_another_shape_are_refused(name: str, shape: tuple[int, ...], opened: Open):
    session = opened(name, ONE)

    with pytest.raises(DataError) as caught:
        session.run(np.zeros(shape, np.float32))

    words = "takes float32 images of shape (1, 3, 64, 64) and"
    assert_one_sentence(str(caught.value), words, str(shape))


@every_runtime
def test_converting_leaves_this_process_as_it_was(name: str, converted: Convert):
    _, _, before, after = converted(name)

    changed = [key for key in before if key != "modules" and before[key] != after[key]]
    new = {module.split(".")[0] for module in after["modules"] - before["modules"]}
    heavy = {"litert_torch", "executorch", "openvino", "ncnn", "pnnx", "onnxscript", "tensorflow"}
    assert changed == []
    assert new & heavy == set()


@every_runtime
def test_converting_leaves_the_artifact_and_nothing_else(
    name: str, converted: Convert, archs_for: Callable[[str], list[Arch]]
):
    done = converted(name)

    files = {file for arch in archs_for(name) for file in files_of(done.path(arch))}
    assert set(done.folder.iterdir()) == files


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full if name in DEAR else ()) for name in RUNTIMES],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_runs_on_as_many_threads_as_asked(name: str, threads: int, converted: Convert):
    path = converted(name).path(BUSY)
    command = [sys.executable, "-m", "tests.thread_shares", name, str(path), str(threads)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    rounds = json.loads(done.stdout.splitlines()[-1])
    if threads == 1:
        assert min(busiest for busiest, *_ in rounds) >= 0.995
    else:
        assert max(second for _, second, *_ in rounds) >= LEAST_SHARE.get(name, 0.25)


# Converters that fail


@pytest.fixture
def _failing_pnnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ncnn's converter, which aborts its process for networks of 33 pixels and fails for those of
    34: a module that stands before the real one, also in the process that converts."""
    if RUNTIMES["ncnn"].missing:
        pytest.skip("ncnn is not installed")
    import pnnx

    (tmp_path / "pnnx").mkdir()
    (tmp_path / "pnnx" / "__init__.py").write_text(f"""
import os, sys

def __getattr__(name):
    if name != "EXEC_PATH":
        raise AttributeError(name)
    side = sys._getframe(1).f_locals["shape"][-1]
    if side == 33:
        os.abort()
    return {sys.executable!r} if side == 34 else {pnnx.EXEC_PATH!r}
""")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_failing_pnnx")
def test_a_converter_that_crashes_or_fails_is_named_and_the_others_go_on(tmp_path: Path):
    archs = [get_arch("v1", width=0.25, resolution=side, classes=10) for side in (33, 32, 34, 64)]
    jobs = [Job(arch, tmp_path / "out" / f"{arch.resolution}.ncnn.param") for arch in archs]

    crashed, done, failed, also_done = try_exports(jobs, Engine("ncnn"))

    advice = "choose another runtime, or report it to its makers"
    start = "ncnn could not convert mobilenet_v1_0.25_"
    assert isinstance(crashed, ConversionError)
    assert_one_sentence(str(crashed), f"{start}33: its converter crashed (SIGABRT)", advice)
    assert isinstance(failed, ConversionError)
    assert_one_sentence(str(failed), f"{start}34: its converter pnnx failed with ", advice)
    assert (done, also_done) == (None, None)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {f"{side}.ncnn.{end}" for side in (32, 64) for end in ("param", "bin", "json")}


@pytest.mark.usefixtures("_failing_pnnx")
def test_the_first_converter_that_fails_ends_an_export(tmp_path: Path):
    job = Job(get_arch("v1", width=0.25, resolution=33), tmp_path / "out" / "a.ncnn.param")

    with pytest.raises(ConversionError, match=r"its converter crashed \(SIGABRT\)"):
        export_isolated([job], "ncnn")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """Those that were started, where three cores and two networks a child allow as many."""
    started: list[Child] = []

    class Counted(Child):
        def __init__(self, module: str, *, core: int | None = None):
            started.append(self)
            super().__init__(module, core=core)

    monkeypatch.setattr(isolated, "Child", Counted)
    monkeypatch.setattr(isolated, "usable_cores", lambda: [0, 1, 2])
    monkeypatch.setattr(isolated, "_WORTH_A_CHILD", 2)
    return started


@pytest.mark.full
def test_many_networks_are_shared_among_children(children: list[Child], tmp_path: Path):
    paths = [tmp_path / f"{at}.onnx" for at in range(5)]

    export_isolated([Job(V1, path) for path in paths], "onnxruntime")

    assert len(children) == 2
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.full
@pytest.mark.usefixtures("_failing_pnnx")
def test_what_one_child_cannot_convert_the_others_are_not_stopped_by(
    children: list[Child], tmp_path: Path
):
    sides = (33, 32, 64, 48)
    archs = [get_arch("v1", width=0.25, resolution=side, classes=10) for side in sides]
    jobs = [Job(arch, tmp_path / "out" / f"{arch.resolution}.ncnn.param") for arch in archs]

    failures = list(try_exports(jobs, Engine("ncnn")))

    assert [failure is None for failure in failures] == [False, True, True, True]
    assert len(children) == 3  # the first one crashed
    with pytest.raises(ConversionError, match=r"its converter crashed \(SIGABRT\)"):
        export_isolated(jobs, "ncnn")


def test_an_exporter_keeps_its_process_until_one_fails_or_another_runtime_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    happened: list[str] = []

    class Fake:
        def __init__(self, module: str, *, core: int | None):
            happened.append("started")

        def ask(self, request: dict[str, str], *, timeout: float) -> None:
            happened.append(request["checkpoint"])
            if request["checkpoint"] == "bad":
                raise ChildDied("crashed")
            Path(request["path"]).touch()

        def close(self) -> None:
            happened.append("ended")

    monkeypatch.setattr(isolated, "Child", Fake)
    a, b, bad, c, d = (Job(Path(name), tmp_path / name) for name in ("a", "b", "bad", "c", "d"))

    with Exporter() as exporter:
        exporter.export([a], DEFAULT)
        exporter.export([b], DEFAULT)
        with pytest.raises(ConversionError, match="could not convert bad: its converter crashed"):
            exporter.export([bad, c], DEFAULT)
        exporter.export([c], DEFAULT)
        exporter.export([d], Engine("ncnn"))

    first, second, third = ["a", "b", "bad"], ["c"], ["d"]
    assert happened == [
        *("started", *first, "ended"),
        *("started", *second, "ended"),
        *("started", *third, "ended"),
    ]
    assert {file.name for file in tmp_path.iterdir()} == {"a", "b", "c", "d"}


def test_a_checkpoint_that_is_none_is_named(tmp_path: Path):
    path = tmp_path / "gone.safetensors"

    with pytest.raises(FileError, match=r"gone\.safetensors is not a checkpoint of mobilenets"):
        export_isolated([Job(path, tmp_path / "a.onnx")], "onnxruntime")
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mobilenets.runtimes.isolated.TIMEOUT", 0.1)

    with pytest.raises(ConversionError, match=r"its converter took over 0\.1 s; choose another"):
        export_isolated([Job(V1, tmp_path / "a.onnx")], "onnxruntime")
    assert list(tmp_path.iterdir()) == []


# The registry


def test_every_runtime_is_described():
    records = {record["name"]: record for record in describe_runtimes()}

    assert list(records) == list(RUNTIMES)
    for name, known in RUNTIMES.items():
        record = records[name]
        assert record["installed"] == (not known.missing)
        assert (record["version"] or "0")[0].isdigit()
        int8 = ["int8"] if name in ("onnxruntime", "openvino") else []
        assert record["precisions"] == ["fp32", *int8]
        assert record["install"].startswith("pip install ")


@pytest.mark.parametrize(
    ("word", "engine"),
    [
        ("torch-compile", Engine("torch-compile", "fp32")),
        ("onnxruntime", Engine("onnxruntime", "fp32")),
        ("onnxruntime-int8", Engine("onnxruntime", "int8")),
        ("openvino-int8", Engine("openvino", "int8")),
    ],
)
def test_an_engine_is_written_as_it_is_read(word: str, engine: Engine):
    assert Engine.parse(word) == engine
    assert Engine.parse(engine) is engine
    assert str(engine) == word


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("tensorrt", "unknown runtime 'tensorrt'; known are torch, torch-compile, onnxruntime, "),
        ("tensorrt-int8", "unknown runtime 'tensorrt-int8'; known are torch, "),
        ("onnxruntime-int4", "unknown runtime 'onnxruntime-int4'; known are torch, "),
        ("", "unknown runtime ''; known are torch, "),
        ("ncnn-int8", "ncnn has no int8 here; give one of onnxruntime, openvino$"),
    ],
)
def test_a_word_that_names_no_engine_is_refused(word: str, complaint: str):
    with pytest.raises(RuntimeMissing, match=f"^{complaint}"):
        Engine.parse(word)


def test_auto_is_all_that_are_installed():
    installed = [Engine(name) for name in RUNTIMES if not RUNTIMES[name].missing]
    assert parse_engines("auto") == installed
    assert parse_engines("onnxruntime, torch") == [Engine("onnxruntime"), Engine("torch")]


def test_with_int8_those_that_have_it_are_meant_twice():
    float32, int8 = Engine("onnxruntime", "fp32"), Engine("onnxruntime", "int8")

    assert parse_engines("litert,onnxruntime", int8=True) == [Engine("litert"), float32, int8]
    assert parse_engines("onnxruntime-int8", int8=True) == [int8]
    assert parse_engines("onnxruntime-int8") == [int8]


@pytest.mark.parametrize("words", ["torch", "torch,torch-compile", "torch-int8"])
def test_a_precision_that_a_runtime_does_not_have_is_refused(words: str):
    with pytest.raises(RuntimeMissing, match="torch has no int8 here; give one of onnxruntime, op"):
        parse_engines(words, int8=True)


def test_a_runtime_named_twice_is_refused():
    with pytest.raises(RuntimeMissing, match="each runtime may be named once, got torch,torch"):
        parse_engines("torch,torch")


# ONNX files: filled in, or exported


def like(name: str, resolution: int, **words: Any) -> Arch:
    return replace(get_arch(name, width=0.5, resolution=resolution, classes=7), **words)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(V1, like("mobilenet_v1", 96), id="V1", marks=pytest.mark.full),
        pytest.param(
            like("mobilenet_v2", 64), like("mobilenet_v2", 160), id="V2", marks=pytest.mark.full
        ),
        pytest.param(
            V2,
            like("mobilenet_v2", 32, padding="same"),
            id="V2, same padding",
            marks=pytest.mark.full,
        ),
        pytest.param(
            V2,
            like("mobilenet_v2", 31, padding="same"),
            id="V2, same padding, odd",
            marks=pytest.mark.full,
        ),
        pytest.param(LARGE, like("mobilenet_v3_large", 32), id="V3-Large", marks=pytest.mark.full),
        pytest.param(SMALL, keep_resolution(like("mobilenet_v3_small", 32), 16), id="V3-Small"),
        pytest.param(
            keep_resolution(like("mobilenet_v1", 32, padding="same"), 8),
            keep_resolution(like("mobilenet_v1", 16, padding="same"), 8),
            id="V1, same padding, output stride 8",
            marks=pytest.mark.full,
        ),
        pytest.param(
            keep_resolution(like("mobilenet_v3_large", 32), 4),
            keep_resolution(at_resolution(LARGE, 24), 4),
            id="V3-Large, output stride 4",
            marks=pytest.mark.full,
        ),
        pytest.param(
            piece(GATED, resolution=14, channels=24),
            piece(replace(GATED, out=48, expand=96), resolution=28, channels=32),
            id="a bottleneck",
        ),
        pytest.param(
            piece(PLAIN, resolution=14, channels=24),
            piece(replace(PLAIN, out=8, expand=16), resolution=7, channels=8),
            id="a bottleneck with its input added",
        ),
        pytest.param(
            piece(resolution=7, channels=96, head=Classify(5, dense=64, act="hswish")),
            piece(resolution=4, channels=48, head=Classify(5, dense=32, act="hswish")),
            id="a tail",
        ),
        pytest.param(
            piece(Conv(3, 16, "hswish", 2), resolution=32, channels=3),
            piece(Conv(3, 24, "hswish", 2), resolution=64, channels=3),
            id="a stem",
        ),
    ],
)
def test_a_filled_in_file_is_the_exported_one_to_the_bit(first: Arch, second: Arch):
    onnx_model(Checkpoint.fresh(first))
    checkpoint = Checkpoint.fresh(second, seed=5)

    filled = onnx_model(checkpoint).SerializeToString(deterministic=True)

    assert filled == exported(checkpoint).SerializeToString(deterministic=True)


def test_a_block_in_the_middle_is_not_exported_as_one_that_reads_the_image():
    """Equal but for the mean that is subtracted from an image, whichever comes first."""
    row = Conv(3, 8, "relu", 2)
    image, map_ = (
        Checkpoint.fresh(piece(row, resolution=18, channels=channels)) for channels in (3, 32)
    )

    for one in (image, map_, replace(image, mean=(0.0, 0.0, 0.0))):
        assert onnx_model(one).SerializeToString() == exported(one).SerializeToString()


# onnxruntime


def write_onnx(path: Path, *, shape: tuple[int | str, ...] = (1, 3, SIZE, SIZE)) -> Path:
    """Convolution 3x3 (all weights 1), global average pool, a linear layer, and metadata."""
    arrays = {
        "kernel": np.ones((2, 3, 3, 3), np.float32),
        "weight": np.arange(2 * CLASSES, dtype=np.float32).reshape(2, CLASSES),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "kernel"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["features"]),
            helper.make_node("Gemm", ["features", "weight"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (shape[0], CLASSES))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"labels": "[]"})
    onnx.save(model, path)
    return path


def load(path: Path) -> Session:
    return get_runtime("onnxruntime").load(path, threads=1)


def test_a_network_answers_with_its_logits(tmp_path: Path):
    session = load(write_onnx(tmp_path / "tiny.onnx"))

    logits = session.run(np.full((1, 3, SIZE, SIZE), 0.5, np.float32))["logits"]

    # Every window sums to 27 x 0.5 = 13.5 in both channels; columns of the weight sum to 4 6 8 10.
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, [[54.0, 81.0, 108.0, 135.0]], rtol=1e-6)


def test_a_session_tells_its_shape_and_metadata(tmp_path: Path):
    session = load(write_onnx(tmp_path / "tiny.onnx"))

    assert session.input_shape == (1, 3, SIZE, SIZE)
    assert session.metadata == {"labels": "[]"}


def test_an_open_batch_counts_as_one_and_takes_any_number_of_images(tmp_path: Path):
    session = load(write_onnx(tmp_path / "tiny.onnx", shape=("batch", 3, SIZE, SIZE)))

    assert session.input_shape == (1, 3, SIZE, SIZE)
    assert session.run(np.zeros((5, 3, SIZE, SIZE), np.float32))["logits"].shape == (5, CLASSES)


@pytest.mark.parametrize("shape", [(1, 3, "height", "width"), (1, 3, SIZE, "width")])
def test_an_open_image_size_is_refused(tmp_path: Path, shape: tuple[int | str, ...]):
    path = write_onnx(tmp_path / "open.onnx", shape=shape)

    with pytest.raises(FileError, match="must take images C x H x W of fixed size, got images"):
        load(path)


def test_a_network_that_takes_no_images_is_refused(tmp_path: Path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [value], [out])
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, ir_version=8), path)

    with pytest.raises(FileError, match="must take one float tensor N x C x H x W, got x: "):
        load(path)


def test_an_unknown_runtime_is_refused_with_the_known_ones():
    with pytest.raises(
        RuntimeMissing, match="unknown runtime 'tensorrt'; known are torch, torch-compile"
    ):
        get_runtime("tensorrt")


def test_a_runtime_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    gone = replace(RUNTIMES["litert"], packages=("ai_edge_litert", "no_such_package"))
    monkeypatch.setitem(RUNTIMES, "litert", gone)

    with pytest.raises(
        RuntimeMissing,
        match=r"litert needs .*no_such_package, which is not .*pip install 'mobilenets\[litert\]'",
    ):
        get_runtime("litert")


def test_a_runtime_that_cannot_be_imported_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mobilenets.runtimes.onnxruntime", None)

    with pytest.raises(RuntimeMissing, match=r"be imported .*; run: pip install onnxruntime"):
        get_runtime("onnxruntime")


def test_openvino_sends_nothing():
    pytest.importorskip("openvino")
    look = (
        "import sys\n"
        "from mobilenets.runtimes import get_runtime\n"
        "get_runtime('openvino')\n"
        "print(sys.modules['openvino_telemetry'])"
    )

    child = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert child.stdout == "None\n"
