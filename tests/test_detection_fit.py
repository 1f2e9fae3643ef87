"""A detector from a folder of boxes to a verified file, and what is done with it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from mobilenets.archs import Budget, get_arch, with_head
from mobilenets.cli.app import app
from mobilenets.commands.adapt import Adaptation, adapt
from mobilenets.commands.fit import Fitting, fit
from mobilenets.commands.quantize import Quantization, quantize
from mobilenets.data import load_images
from mobilenets.deliver.finished import Run
from mobilenets.deliver.predictor import as_predictor, load
from mobilenets.deliver.present import PRESENTERS
from mobilenets.deliver.present.detection import _curves
from mobilenets.deliver.tried import can_try
from mobilenets.deliver.usage import snippet
from mobilenets.errors import (
    ArchError,
    BudgetError,
    DataError,
    FileError,
    MobileNetsError,
    NoFitError,
)
from mobilenets.files import read_json
from mobilenets.nn import Checkpoint
from mobilenets.runtimes import RUNTIMES, Engine
from mobilenets.runtimes.artifact import artifact_name
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.tasks.detection import Detection
from mobilenets.train import How, Limits
from mobilenets.train.trainer import _first_network
from tests.boxed_images import LABELS, SIDE, write_boxed_images


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_boxed_images(tmp_path_factory.mktemp("data") / "boxes")


def fitting(data: Path, out: Path, **how: object) -> Fitting:
    return Fitting(
        data, Budget(macs=6e6, params=2.5e6), out=out, limits=Limits(epochs=2),
        how=How(weights="none", **how),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(fitting(data, tmp_path_factory.mktemp("runs") / "boxes"))


pytestmark = pytest.mark.slow


def test_boxes_in_a_verified_detector_out(run: Run):
    summary = run.summary

    assert run.accepted, summary["complaints"]
    assert summary["macs"] < 6e6
    assert summary["host_ms"] > 0
    assert summary["map50_95_artifact"] is not None
    assert len(summary["classes"]) == len(LABELS)
    assert "to make answers of its outputs" in run.verdict()


def test_a_detectors_report_shows_boxes_found_and_missed(run: Run):
    page = (run.folder / "report.html").read_text()

    for title in ("Average precision", "Precision by recall", "What is taken for what"):
        assert title in page
    assert "<script" not in page
    assert '<rect class="box c-orange dashed"' in page  # missed, by a network of two epochs
    assert "boxes, 1 x " in (run.folder / "README.md").read_text()


def test_a_run_of_boxes_is_not_repeated(run: Run, data: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")

    again = fit(fitting(data, run.folder))

    assert again.summary == run.summary
    assert "training" not in caplog.text


def test_a_detectors_file_keeps_its_threshold(run: Run):
    checkpoint, artifact = Checkpoint.load(run.folder / "trained.safetensors"), load(run.artifact)

    assert checkpoint.answers.keys() == Detection().answers.keys()
    assert artifact.task.answers == checkpoint.answers
    assert artifact.task.labels == LABELS


def test_predict_names_boxes_in_pixels_and_draws_them(run: Run, tmp_path: Path):
    photo = tmp_path / "wide.png"
    Image.new("RGB", (300, 100), (110, 110, 110)).save(photo)

    done = CliRunner().invoke(
        app, ["predict", str(run.folder), str(photo), "--json", "--draw", str(tmp_path / "out")]
    )

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert all(
        0 <= x1 <= x2 <= 300 and 0 <= y1 <= y2 <= 100
        for x1, y1, x2, y2 in (one["box"] for one in found)
    )
    with Image.open(tmp_path / "out" / "wide.jpg") as drawing:
        assert drawing.size == (300, 100)


def test_eval_scores_a_detector_on_what_it_has_not_seen(run: Run, data: Path):
    done = CliRunner().invoke(app, ["eval", str(run.artifact), str(data)])

    assert done.exit_code == 0, done.output
    assert "mAP50-95" in done.stdout


def planted(checkpoint: Checkpoint) -> Checkpoint:
    """Sure of enough boxes that there is something to print."""
    return replace(checkpoint, answers={"score_threshold": 0.3, "iou_threshold": 0.5})


@pytest.fixture(scope="module")
def detector() -> Checkpoint:
    """Random weights, with the statistics of batch norm random too."""
    backbone = get_arch("mobilenet_v3_small", width=0.35, resolution=64)
    checkpoint = Checkpoint.fresh(with_head(backbone, "ssdlite").with_labels(3))
    return planted(replace(checkpoint, labels=("a", "b", "c"), task="detection"))


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(name, marks=() if name in ("onnxruntime", "openvino") else pytest.mark.full)
        for name in RUNTIMES
        if name not in ("torch", "torch-compile")
    ],
)
def test_every_runtime_gives_the_detectors_boxes_and_its_cards_program_prints_them(
    detector: Checkpoint, tmp_path: Path, runtime: str
):
    """The program has no more than numpy, Pillow and the runtime."""
    if RUNTIMES[runtime].missing:
        pytest.skip(f"{runtime} is not installed")
    detector.save(tmp_path / "trained.safetensors")
    artifact = tmp_path / artifact_name(runtime)
    export_isolated([Job(tmp_path / "trained.safetensors", artifact)], runtime)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)).save(
        tmp_path / "photo.jpg", quality=100
    )
    network = load(artifact)
    images = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    ours, theirs = network.run(images), as_predictor(detector, artifact).run(images)

    for name in ("boxes", "scores"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4)
    program = snippet(network.preprocess, runtime, PRESENTERS[network.task.name], list(theirs))
    (tmp_path / "program.py").write_text("import sys\nsys.modules['mobilenets'] = None\n" + program)
    ran = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    told = [line.split() for line in ran.stdout.splitlines()]
    expected = network.predict([tmp_path / "photo.jpg"])
    assert len(expected) > 3
    assert [label for label, *_ in told] == [one.label for one in expected]
    np.testing.assert_allclose(
        [[64 * float(word) for word in words[2:]] for words in told],
        [one.box for one in expected],
        rtol=1e-3,
        atol=1e-2,
    )


# ---------------------------------------------------------------------------------- what is refused


def test_a_budget_that_no_detector_meets_names_the_nearest(data: Path, tmp_path: Path):
    with pytest.raises(NoFitError, match=r"macs binds at 100 k; the nearest, mobilenet_\w+"):
        fit(replace(fitting(data, tmp_path / "run"), budget=Budget(macs=100e3)))


def test_a_latency_below_what_picking_boxes_takes_is_refused(data: Path, tmp_path: Path):
    with pytest.raises(BudgetError, match=r"making answers of a network's outputs alone takes"):
        fit(replace(fitting(data, tmp_path / "run"), budget=Budget(latency_ms=1e-4)))


def test_boxes_are_not_cut_off_by_a_crop(data: Path):
    done = CliRunner().invoke(app, ["fit", str(data), "--macs", "6M", "--resize", "crop"])

    assert done.exit_code == 1
    assert "detection needs whole images" in str(done.exception)


def test_classes_are_no_boxes(tmp_path: Path):
    for label in ("a", "b"):
        for number in range(3):
            path = tmp_path / "photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9)).save(path)

    with pytest.raises(DataError, match="boxes"):
        fit(fitting(tmp_path / "photos", tmp_path / "run", task="detection"))


def test_a_teacher_of_classes_cannot_teach_boxes(data: Path, tmp_path: Path):
    arch = get_arch("mobilenet_v1", width=0.25, resolution=32, classes=3)
    Checkpoint.fresh(arch).save(tmp_path / "teacher.safetensors")

    with pytest.raises(MobileNetsError, match="teacher"):
        fit(fitting(data, tmp_path / "run", teacher=tmp_path / "teacher.safetensors"))


def test_a_detector_cannot_teach(tmp_path: Path, detector: Checkpoint):
    detector.save(tmp_path / "teacher.safetensors")

    with pytest.raises(FileError, match=r"gives boxes and scores, and a teacher gives one output"):
        How(teacher=tmp_path / "teacher.safetensors").check()


def test_images_are_squares_of_the_side_they_have(run: Run):
    assert read_json(run.folder / "images.json", dict)["native_size"] == SIDE  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [0.35, 0.5])
def test_a_detector_starts_from_a_classifiers_rows(data: Path, tmp_path: Path, width: float):
    """V2's last layer is thinner in detectors; of another width the largest filters stay."""
    start = Checkpoint.fresh(get_arch("mobilenet_v2", width=0.5, resolution=48, classes=5))
    start.save(tmp_path / "start.safetensors")
    how, images = How(weights=str(tmp_path / "start.safetensors")), load_images(data)
    chosen = images.task.network(get_arch("mobilenet_v2", width=width, resolution=64))

    begun = how.start(chosen, tmp_path)
    job = how.job(chosen, images, begun, limits=Limits(epochs=1), seed=0)

    assert job.arch.outputs == chosen.outputs
    assert job.arch.rows == chosen.rows
    network = _first_network(job.arch, job.start, 0, images.task)
    if width == 0.5:
        name = "rows.1.depthwise.conv.weight"
        assert torch.equal(network.state_dict()[name], start.weights[name])
    assert network.eval()(torch.zeros(1, 3, 64, 64))["boxes"].shape[2] == 4


def test_a_detector_is_not_written_in_int8(data: Path, run: Run, tmp_path: Path):
    refused = r"gives boxes and scores, and int8 is written for networks that classify"

    with pytest.raises(ArchError, match=refused):
        quantize(Quantization(run.folder, data, out=tmp_path / "int8"))
    with pytest.raises(ArchError, match=refused):
        fit(replace(fitting(data, tmp_path / "run"), engines=(Engine("onnxruntime", "int8"),)))


def test_a_detector_is_not_pruned(data: Path, run: Run, tmp_path: Path):
    with pytest.raises(DataError, match="only classifiers are adapted"):
        adapt(Adaptation(run.folder, data, Budget(macs=2e6), out=tmp_path / "adapted"))


def test_a_page_times_a_detector_and_does_not_try_it(run: Run, caplog: pytest.LogCaptureFixture):
    assert not can_try(run.artifact)
    assert "gives boxes and scores: the page times it, and no more" in caplog.text


def test_precision_is_drawn_where_recall_rises():
    """Two boxes of a class, found third and second surest; no box of the other class."""
    boxes = np.array([[[0.0, 0.0, 0.4, 0.4, 0, 0], [0.5, 0.5, 0.9, 0.9, 0, 0]]], np.float32)
    corners = np.array([[[0, 0.6, 0.3, 0.9], [0.5, 0.5, 0.9, 0.9], [0, 0, 0.4, 0.4]]], np.float32)
    scores = np.zeros((1, 3, 3), np.float32)
    scores[0, :, 1] = 0.9, 0.8, 0.7
    outputs = {"boxes": corners, "scores": scores}

    (curve,) = _curves(outputs, boxes, LABELS)

    assert curve["label"] == LABELS[0]
    assert curve["points"] == [(0.0, 0.0), (0.5, 0.5), (1.0, pytest.approx(2 / 3))]
