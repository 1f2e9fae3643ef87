"""The whole path on real images, with the real runtime, and killed for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from mobilenets import Budget, fit
from mobilenets.archs import from_json
from mobilenets.commands import fit as pipeline
from mobilenets.commands.fit import Fitting
from mobilenets.commands.fit_adapted import fit_adapted
from mobilenets.data import load_images
from mobilenets.deliver import load, verify
from mobilenets.deliver.finished import Run
from mobilenets.deliver.predictor import evaluate
from mobilenets.deliver.present.classification import ClassPresenter
from mobilenets.deliver.selection import select
from mobilenets.deliver.usage import needs_package, snippet
from mobilenets.errors import FileError, FolderTaken, MobileNetsError
from mobilenets.files import read_json, write_json
from mobilenets.nn import Checkpoint
from mobilenets.runs.stages import Stage, Stages
from mobilenets.runtimes import RUNTIMES, Engine
from mobilenets.runtimes.artifact import artifact_name, describe_file, is_intact
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.tasks.classification import Classification, ClassNumbers
from mobilenets.train import Limits

pytestmark = pytest.mark.slow
BUDGET = Budget(macs=0.5e6, params=1e6)


def write_folder(root: Path, *, per_class: int = 60) -> Path:
    digits = load_digits()
    for label in (0, 1, 2):
        folder = root / f"digit {label}"
        folder.mkdir(parents=True)
        for index in np.flatnonzero(digits.target == label)[:per_class]:
            pixels = (digits.images[index] * 255 / 16).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    (root / "digit 0" / "broken.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "digits3")


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit(data, BUDGET, out=folder, limits=Limits(epochs=12, flip=False))
    return folder


@pytest.mark.parametrize(("threads", "said"), [(1, "on 1 thread, "), (2, "on 2 threads, ")])
def test_the_verdict_says_on_how_many_threads(done: Path, threads: int, said: str):
    summary = read_json(done / "summary.json")

    summary["latency"]["threads"] = threads

    assert said in Run(done, summary).verdict()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, False),  # all twelve epochs
        ({"epochs": 3, "recipe_epochs": 60}, True),
        ({"epochs": 6, "recipe_epochs": 60}, False),
        ({"epochs": 3, "recipe_epochs": 60, "trials": [{"name": "the winner"}]}, False),
    ],
)
def test_a_network_that_was_hardly_trained_is_said_to_be(
    done: Path, changed: dict[str, Any], said: bool
):
    verdict = Run(done, read_json(done / "summary.json") | changed).verdict()

    line = "trained   3 of the recipe's 60 epochs: give more --minutes, or --trials 4, which"
    assert (line in verdict) == ("trained  " in verdict) == said


def test_a_run_leaves_a_file_for_every_stage(done: Path):
    names = {path.name for path in done.iterdir()}

    assert {
        "budget.json", "images.json", "candidates.jsonl", "arch.json", "trained.safetensors",
        "metrics.csv", "model.onnx", "verdict.json", "report.html", "README.md",
    } <= names  # fmt: skip
    assert not [name for name in names if "partial" in name]
    assert {name for name in names if name.endswith(".ckpt")} == {"last.ckpt", "best.ckpt"}


def test_the_run_learns_and_its_artifact_is_verified(done: Path):
    verdict = read_json(done / "verdict.json")

    assert verdict["verified"]
    assert verdict["within_budget"]
    assert verdict["top1_artifact"] == verdict["top1_checkpoint"]
    assert verdict["top1_artifact"] > 80
    assert verdict["agreement"] == 100
    assert verdict["max_relative_error"] < 1e-4
    assert verdict["images"] == read_json(done / "images.json")["counts"]["val"]


def test_unreadable_images_are_named(done: Path):
    skipped = read_json(done / "images.json")["skipped"]

    assert [item["name"] for item in skipped] == ["digit 0/broken.png"]


def test_the_artifact_carries_itself(done: Path):
    model = onnx.load(done / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    about = json.loads(metadata["mobilenets"])

    assert about["labels"] == ["digit 0", "digit 1", "digit 2"]
    assert from_json(about["arch"]) == from_json(read_json(done / "arch.json")["arch"])
    assert about["input"]["value_range"] == [0, 1]
    assert about["runtime"] == "onnxruntime"
    assert re.fullmatch("sha256:[0-9a-f]{64}", about["checksum"])
    assert is_intact(done / "model.onnx")
    assert str(Path.home()) not in (done / "model.onnx").read_bytes().decode("latin1")


@pytest.mark.full
@pytest.mark.parametrize("runtime", ["openvino", "litert"])
def test_a_run_for_another_runtime_ends_verified(data: Path, tmp_path: Path, runtime: str):
    if RUNTIMES[runtime].missing:
        pytest.skip(f"{runtime} is not installed")

    run = fit(
        data, BUDGET, out=tmp_path / "run", runtimes=(runtime,), limits=Limits(epochs=2, flip=False)
    )

    assert run.accepted
    assert run.artifact == tmp_path / "run" / artifact_name(runtime)
    assert run.summary["latency"]["runtime"] == runtime
    assert is_intact(run.artifact)
    (found,) = load(run.artifact).predict([next((data / "digit 2").glob("*.png"))])
    assert found.label in ("digit 0", "digit 1", "digit 2")
    assert f"Using {run.artifact.name}" in (run.folder / "report.html").read_text()
    assert not (run.folder / "model.onnx").exists()
    lines = (run.folder / "candidates.jsonl").read_text().splitlines()
    assert {json.loads(line)["runtime"] for line in lines} == {runtime}


def test_a_run_in_integers_ends_verified_and_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "MAX_DROP", 10)  # an image of 36 is 3 points
    runtimes = ("onnxruntime-int8",)
    out, limits = tmp_path / "run", Limits(epochs=12, flip=False)

    run = fit(data, BUDGET, out=out, runtimes=runtimes, limits=limits)

    assert run.accepted, run.summary["complaints"]
    assert run.summary["latency"]["precision"] == "int8"
    assert run.summary["latency"]["runtime"] == "onnxruntime"
    assert run.summary["top1_artifact"] > 60
    assert "on onnxruntime in int8 and is right " in run.verdict()
    assert load(run.artifact).about["precision"] == "int8"
    assert run.summary["size_bytes"] < 0.5 * (out / "fp32" / "model.onnx").stat().st_size
    for page in ("report.html", "README.md"):
        assert "in int8 and is right " in (out / page).read_text()
    made = run.artifact.stat().st_mtime_ns
    assert fit(data, BUDGET, out=out, runtimes=runtimes, limits=limits).summary == run.summary
    assert run.artifact.stat().st_mtime_ns == made


def test_a_network_is_not_adapted_in_integers(data: Path, tmp_path: Path):
    job = Fitting(data, Budget(macs=1e6), tmp_path, engines=(Engine("onnxruntime", "int8"),))

    with pytest.raises(MobileNetsError, match="adapted in fp32, got onnxruntime-int8; adapt for o"):
        fit_adapted(job)


def in_other_modes(photo: Path, folder: Path) -> list[Path]:
    """The same picture with alpha, with a palette, as 16-bit and as float grey."""
    grey = Image.open(photo).convert("L")
    clear = Image.new("L", grey.size, "black")
    clear.putalpha(grey)
    images = {
        "alpha.png": clear,
        "palette.gif": grey.quantize(8),
        "deep.png": Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
        "floats.tif": Image.fromarray(np.asarray(grey).astype(np.float32) / 255),
    }
    for name, image in images.items():
        image.save(folder / name)
    return [folder / name for name in images]


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(name, marks=() if name == "onnxruntime" else pytest.mark.full)
        for name in RUNTIMES
        if name != "torch-compile"
    ],
)
def test_the_program_in_the_card_says_what_predict_says(
    done: Path, data: Path, tmp_path: Path, runtime: str
):
    if RUNTIMES[runtime].missing:
        pytest.skip(f"{runtime} is not installed")
    artifact = tmp_path / artifact_name(runtime)
    export_isolated([Job(done / "trained.safetensors", artifact)], runtime)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what ExecuTorch warns of when it is imported
        network = load(artifact)
    photos = [sorted((data / f"digit {label}").glob("[0-9]*.png"))[-1] for label in (0, 1, 2)]
    photos += in_other_modes(photos[1], tmp_path)
    (tmp_path / "program.py").write_text(
        snippet(network.preprocess, runtime, ClassPresenter(), ["logits"])
    )
    without = "" if needs_package(runtime) else "sys.modules['mobilenets'] = None"
    each = f"""
import shutil, sys
{without}
for photo in sys.argv[1:]:
    shutil.copy(photo, "photo.jpg")
    exec(open("program.py").read(), {{}})
"""

    ran = subprocess.run(
        [sys.executable, "-c", each, *photos],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip

    labels = [one.label for one in network.predict(photos)]
    assert ran.stdout.splitlines() == labels
    assert len(set(labels)) > 1


def test_an_artifact_with_other_weights_is_not_verified(done: Path, data: Path, tmp_path: Path):
    model = onnx.load(done / "model.onnx")
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(weights.raw_data, np.float32).copy()
    weights.raw_data = (values * 1.5).tobytes()
    onnx.save(model, tmp_path / "model.onnx")

    verdict = verify(
        tmp_path / "model.onnx", done / "trained.safetensors", load_images(data), BUDGET
    )

    assert not verdict.verified
    assert not verdict.intact
    assert "the artifact was changed after its export: its checksum differs" in verdict.complaints()


def test_a_missed_limit_is_said_by_how_much(done: Path, data: Path):
    params = read_json(done / "verdict.json")["params"]
    verdict = verify(
        done / "model.onnx", done / "trained.safetensors", load_images(data),
        Budget(params=params / 2),
    )  # fmt: skip

    assert verdict.verified
    assert not verdict.within_budget
    assert "100.0 % over the limit" in verdict.complaints()[0]


def test_sessions_that_disagree_on_a_limit_are_no_miss(done: Path, data: Path):
    budget = Budget(latency_ms=0.3)
    one = verify(done / "model.onnx", done / "trained.safetensors", load_images(data), Budget())
    fast, slow = (
        replace(one.latency, times_ms=(ms,) * 50, burst=5, probes_ns=()) for ms in (0.26, 0.433)
    )
    verdict = replace(one, sessions=(fast, fast, slow), uses=budget.uses(latency_ms=slow.p50_ms))

    assert verdict.undecided
    assert not verdict.within_budget
    assert [text.split(" (spread")[0] for text in verdict.complaints()] == [
        "the machine is too noisy to decide on the limit of 0.3 ms: "
        "0.26 ms to 0.433 ms in 3 sessions"
    ]


def test_artifact_and_checkpoint_predict_alike(done: Path, data: Path):
    paths = sorted((data / "digit 1").glob("*.png"))[:5]

    by_artifact = load(done / "model.onnx").predict(paths)
    by_checkpoint = load(done / "trained.safetensors").predict(paths)

    assert [one.label for one in by_artifact] == [one.label for one in by_checkpoint]
    assert all(0 <= one.probability <= 1 for one in by_artifact)


def test_eval_scores_only_the_validation_images_of_the_training_data(done: Path, data: Path):
    network = load(done / "model.onnx")

    found = select(network, str(data))
    score = evaluate(network, found.images, found.indices)

    verdict = read_json(done / "verdict.json")
    assert score.top1 == verdict["top1_artifact"]
    assert score.images == verdict["images"]


def test_eval_scores_those_of_other_images_that_did_not_train_it(done: Path, tmp_path: Path):
    other = write_folder(tmp_path / "other", per_class=10)
    network = load(done / "model.onnx")

    found = select(network, str(other))

    trained = read_json(done / "images.json")["counts"]
    assert len(found.indices) + found.left_out["trained"] == 30
    assert 0 < found.left_out["trained"] < trained["train"]  # they are the first ten of each


def test_another_programs_onnx_is_refused(tmp_path: Path):
    with pytest.raises(FileError, match="carries no description by mobilenets"):
        describe_file(tmp_path / "x.onnx", {})


def test_accuracy_counts_the_best_five():
    logits = np.array([[6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6]], np.float32)

    scores = [
        Classification(tuple("abcdef")).score({"logits": logits}, ClassNumbers(np.array(numbers)))
        for numbers in ([0, 1], [5, 0])
    ]

    assert [one[:3] for one in scores] == [(50.0, 100.0, 2), (0.0, 0.0, 2)]


def test_nothing_is_done_twice(done: Path, data: Path):
    before = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}

    fit(data, BUDGET, out=done, limits=Limits(epochs=12, flip=False))

    after = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}
    rewritten = {name for name in after if after[name] != before[name]}
    assert rewritten <= {"images.json", "budget.json", "typed.json", "summary.json"}


def test_another_budget_is_refused_before_anything_is_written(
    done: Path, data: Path, tmp_path: Path
):
    run = Path(shutil.copytree(done, tmp_path / "run"))
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}

    with pytest.raises(FolderTaken, match="holds another run, of other budget; give another --out"):
        fit(data, Budget(macs=0.4e6), out=run, limits=Limits(epochs=12, flip=False))
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_more_epochs_train_the_network_that_was_chosen_on(done: Path, data: Path, tmp_path: Path):
    run = Path(shutil.copytree(done, tmp_path / "run"))
    longer = fit(data, BUDGET, out=run, limits=Limits(epochs=14, flip=False))

    assert longer.summary["epochs"] == 14
    lines = [(folder / "metrics.csv").read_text().splitlines() for folder in (done, run)]
    assert lines[1][:13] == lines[0]
    assert (run / "arch.json").read_bytes() == (done / "arch.json").read_bytes()


def test_a_lost_file_is_made_again_and_what_follows_is_not_trained_again(
    done: Path, data: Path, tmp_path: Path
):
    run = Path(shutil.copytree(done, tmp_path / "run"))
    (run / "model.onnx").unlink()
    trained = (run / "trained.safetensors").stat().st_mtime_ns

    fit(data, BUDGET, out=run, limits=Limits(epochs=12, flip=False))

    assert (run / "model.onnx").read_bytes() == (done / "model.onnx").read_bytes()
    assert (run / "trained.safetensors").stat().st_mtime_ns == trained


def test_what_a_noisy_machine_could_not_decide_is_verified_again(
    done: Path, data: Path, tmp_path: Path
):
    run = Path(shutil.copytree(done, tmp_path / "run"))
    verdict = read_json(run / "verdict.json")
    write_json(run / "verdict.json", verdict | {"undecided": True, "within_budget": False})
    (run / "report.html").write_text("undecided")

    again = fit(data, BUDGET, out=run, limits=Limits(epochs=12, flip=False))

    assert again.accepted
    assert read_json(run / "verdict.json")["within_budget"]
    assert (run / "report.html").read_text() != "undecided"


@pytest.mark.full
def test_killed_three_times_it_ends_as_if_nothing_had_happened(
    done: Path, data: Path, tmp_path: Path
):
    run = tmp_path / "run"
    command = [
        sys.executable, "-c", "from mobilenets.cli import main; main()", "fit", str(data),
        "--macs", "0.5M", "--params", "1M", "--epochs", "12", "--no-flip", "--out", str(run),
    ]  # fmt: skip
    for moment in ("epoch 2/12", "exporting", "writing report"):
        kill_when_it_says(moment, command)

    subprocess.run(command, check=True, capture_output=True)

    resumed = Checkpoint.load(run / "trained.safetensors")
    whole = Checkpoint.load(done / "trained.safetensors")
    torch.testing.assert_close(dict(resumed.weights), dict(whole.weights), rtol=0, atol=0)
    assert (run / "report.html").exists()


def kill_when_it_says(moment: str, command: list[str]) -> None:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if moment in line:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "sent", [pytest.param(one, marks=pytest.mark.full) for one in (signal.SIGTERM, signal.SIGINT)]
)
def test_asked_to_stop_it_says_so_and_is_not_taken_for_done(
    data: Path, tmp_path: Path, sent: signal.Signals
):
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from mobilenets.cli import main; main()"
    )
    command = [
        sys.executable, "-c", program, "fit", str(data), "--macs", "0.5M", "--epochs", "50",
        "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "epoch 2/50" in line:
            process.send_signal(sent)
    out, _ = process.communicate()

    assert process.returncode == 1
    assert out == ""
    assert re.fullmatch(r"mobilenets: training was stopped in epoch \d+ of 50; .*\n", lines[-1])
    assert not (tmp_path / "run" / "trained.safetensors").exists()
    assert (tmp_path / "run" / "last.ckpt").exists()


def test_a_changed_stage_changes_all_that_follow(tmp_path: Path):
    ran: list[str] = []

    def stage(stages: Stages, name: str, inputs: object) -> None:
        def work() -> None:
            ran.append(name)
            (tmp_path / name).write_text("x")

        stages.run(Stage(name, (name,), Path.exists), inputs, work)

    for first_inputs in (1, 1, 2):
        stages = Stages(tmp_path, first="first")
        stage(stages, "first", first_inputs)
        stage(stages, "second", 0)

    assert ran == ["first", "second", "first", "second"]


def test_a_stage_that_broke_off_is_not_taken_for_what_was_there(tmp_path: Path):
    """Its files may be half of the old and half of the new."""

    only = Stage("only", ("file",), lambda folder: (folder / "file").read_text())
    ran: list[str] = []

    def stage(inputs: object, text: str) -> str:
        def work() -> None:
            ran.append(text)
            (tmp_path / "file").write_text(text)
            if text == "broken":
                raise KeyboardInterrupt

        return Stages(tmp_path, first="only").run(only, inputs, work)

    assert stage(1, "old") == stage(1, "not run") == "old"
    with pytest.raises(KeyboardInterrupt):
        stage(2, "broken")

    assert stage(1, "again") == "again"
    assert ran == ["old", "broken", "again"]


def test_a_folder_of_another_command_is_refused_even_where_that_broke_off(tmp_path: Path):
    def broken() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path, first="trained").run(Stage("trained", ("file",), Path.exists), 1, broken)

    with pytest.raises(MobileNetsError, match=r"holds another run.*; give another --out"):
        Stages(tmp_path, first="chosen")
