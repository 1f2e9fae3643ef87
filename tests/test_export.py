"""`export`: files of a trained network, verified, and nothing written over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobilenets.archs import get_arch
from mobilenets.cli.app import app
from mobilenets.commands import export as exporting
from mobilenets.commands.export import Exporting, engines_in, export
from mobilenets.commands.origin import network_in
from mobilenets.commands.train import Training, train_named
from mobilenets.deliver.predictor import load
from mobilenets.errors import ConversionError, DataError, FileError, MobileNetsError, RuntimeMissing
from mobilenets.files import read_json
from mobilenets.nn import Checkpoint
from mobilenets.runtimes import DEFAULT, RUNTIMES, Engine
from mobilenets.runtimes.artifact import is_intact
from mobilenets.train import Limits

ARCH = get_arch("mobilenet_v1", width=0.25, resolution=8, classes=3)
INT8 = Engine("onnxruntime", "int8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    Checkpoint.fresh(ARCH).save(tmp_path / "run" / "trained.safetensors")
    return tmp_path / "run"


def test_a_run_is_exported_beside_its_checkpoint_and_compared_on_random_images(run: Path):
    record = export(Exporting(run, (DEFAULT,)))

    (one,) = record["files"]
    assert Path(one["file"]) == run / "model.onnx"
    assert (one["verified"], one["complaints"], one["random_images"]) == (True, [], 8)
    assert one["max_relative_error"] < 1e-4
    assert is_intact(run / "model.onnx")
    assert load(run / "model.onnx").labels == ("0", "1", "2")


def test_a_run_stands_for_its_artifact_and_without_one_for_its_checkpoint(run: Path):
    assert network_in(run) == run / "trained.safetensors"

    export(Exporting(run, (DEFAULT,)))

    assert network_in(run) == run / "model.onnx"
    assert network_in(run / "trained.safetensors") == run / "trained.safetensors"


def test_the_same_network_may_be_exported_again_but_no_other_in_its_place(run: Path):
    job = Exporting(run / "trained.safetensors", (DEFAULT,))
    export(job)
    before = (run / "model.onnx").read_bytes()

    export(job)

    assert (run / "model.onnx").read_bytes() == before
    Checkpoint.fresh(ARCH.with_classes(4)).save(run / "trained.safetensors")
    with pytest.raises(FileError, match=r"model\.onnx is there already and is another network's"):
        export(job)
    (run / "model.onnx").write_text("something else")
    with pytest.raises(FileError, match="give another --out"):
        export(job)
    assert (run / "model.onnx").read_text() == "something else"


def test_a_file_with_other_numbers_is_not_verified(run: Path, monkeypatch: pytest.MonkeyPatch):
    other = run / "other.safetensors"
    Checkpoint.fresh(ARCH, seed=5).save(other)
    write = exporting._write
    monkeypatch.setattr(
        exporting, "_write", lambda path, engine, source, images: write(path, engine, other, None)
    )

    done = CliRunner().invoke(app, ["export", str(run)])

    assert done.exit_code == 3
    assert "NOT verified" in done.stdout
    assert "the file differs from the checkpoint, by up to" in done.stderr


def test_a_runtime_that_cannot_convert_it_leaves_the_others(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    write = exporting._write

    def fails(path: Path, engine: Engine, source: Path, images: None) -> None:
        if engine.runtime != "onnxruntime":
            raise ConversionError(f"{engine} could not convert it")
        write(path, engine, source, images)

    monkeypatch.setattr(exporting, "_write", fails)
    monkeypatch.setattr(exporting, "check_runtime", lambda engine: None)
    record = export(Exporting(run, (Engine("litert"), DEFAULT)))

    assert [one["verified"] for one in record["files"]] == [False, True]
    assert record["files"][0]["error"] == "litert could not convert it"


def test_int8_without_images_is_refused(run: Path):
    with pytest.raises(MobileNetsError, match="int8 is calibrated on images: give those"):
        Exporting(run, (INT8,))


def test_images_of_other_classes_are_refused(run: Path):
    with pytest.raises(
        DataError, match="digits has the classes 0, 1, 2, 3, 4, and the network was"
    ):
        export(Exporting(run, (DEFAULT,), data="digits"))


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(FileError, match="there is no trained network at"):
        export(Exporting(tmp_path, (DEFAULT,)))


def test_the_engines_are_those_with_files_of_their_own():
    assert engines_in("onnxruntime", "fp32") == (DEFAULT,)
    assert engines_in("onnxruntime", "int8") == (INT8,)
    assert not {"torch", "torch-compile"} & {one.runtime for one in engines_in("auto", "fp32")}
    assert {one.precision for one in engines_in("auto", "int8")} == {"int8"}
    with pytest.raises(RuntimeMissing, match="unknown runtime 'tpu'"):
        engines_in("tpu", "fp32")
    with pytest.raises(RuntimeMissing, match="torch has no int8 here; give one of onnxruntime"):
        engines_in("torch", "int8")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", pytest.param("litert", marks=pytest.mark.full)])
def test_each_runtime_gets_its_files(run: Path, tmp_path: Path, runtime: str):
    if RUNTIMES[runtime].missing:
        pytest.skip(f"{runtime} is not installed")

    record = export(Exporting(run, engines_in(runtime, "fp32"), out=tmp_path / "out"))

    (one,) = record["files"]
    assert one["verified"], one["complaints"]
    assert all(Path(file).parent == tmp_path / "out" for file in one["files"])
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_with_the_images_it_is_verified_on_them_and_int8_has_a_file_of_its_own(tmp_path: Path):
    run = tmp_path / "run"
    train_named(
        Training(
            "mobilenet_v1", "digits", width=0.25, resolution=16, limits=Limits(epochs=3), out=run
        )
    )  # fmt: skip
    job = Exporting(run, (DEFAULT,), data="digits")

    fp32 = export(job)["files"][0]
    int8 = export(replace(job, engines=(INT8,)))["files"][0]

    assert fp32["verified"]
    assert fp32["top1_artifact"] == read_json(run / "score.json")["top1"]
    assert Path(int8["file"]) == run / "model-int8.onnx"
    assert load(run / "model-int8.onnx").about["precision"] == "int8"
    assert is_intact(run / "model-int8.onnx")
    assert int8["lost"]["images"] > int8["images"]  # the holdout counts, too
