"""`mobilenets adapt`: the run folder, the record, a real kill, the latency's promise."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mobilenets.archs import Arch, Budget, cost, from_json, get_arch
from mobilenets.archs.budget import describe
from mobilenets.commands import fit_adapted as pipeline
from mobilenets.commands.adapt import (
    HEADROOM,
    Adaptation,
    adapt,
    correct_,
    run_steps,
)
from mobilenets.commands.adapt_member import Member, adapt_member
from mobilenets.commands.fit import Fitting
from mobilenets.commands.fit_adapted import fit_adapted
from mobilenets.data import Images, load_images
from mobilenets.deliver.member_page import read_family, write_family
from mobilenets.errors import BudgetError, FileError, MeasureError, MobileNetsError, NoFitError
from mobilenets.files import read_json, write_json
from mobilenets.measuring.latency import Latency
from mobilenets.nn import Checkpoint
from mobilenets.prune import Price, arithmetic_price
from mobilenets.prune.algorithm import first_step
from mobilenets.prune.evaluation import Outcome
from mobilenets.prune.members import keep, records, run_price
from mobilenets.prune.prices import LatencyPrice, latency_price
from mobilenets.runs.layout import step_file
from mobilenets.runs.stages import Stages
from mobilenets.runtimes import DEFAULT, Engine
from mobilenets.runtimes.artifact import artifact_name, is_intact, size_of
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.train import How
from tests.test_netadapt import BRIEF, LEAST, TINY
from tests.test_table import known_table

OPTIONS = ["--macs", "170k", "--step", "0.1", "--short-steps", "3", "--screen", "2"]


def command(start: Path, out: Path) -> list[str]:
    program = "from mobilenets.cli import main; main()"
    words = [sys.executable, "-c", program, "adapt", str(start), "digits", *OPTIONS]
    return [*words, "--long-epochs", "2", "--out", str(out), "--json"]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "trained.safetensors"
    Checkpoint.fresh(TINY).save(path)
    return path


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images("digits")


@pytest.fixture(scope="module")
def done(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run, and in it what was printed."""
    folder = tmp_path_factory.mktemp("adapted") / "run"
    run = subprocess.run(command(start.parent, folder), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (folder / "printed.json").write_text(run.stdout)
    return folder


def cut(job: Adaptation, images: Images, price: Price | None = None) -> None:
    stages, start = Stages(job.folder, first="adapted"), Checkpoint.load(job.source)
    run_steps(job, start, images, price or job.price(), stages)


def same_weights(one: Path, other: Path) -> bool:
    a, b = Checkpoint.load(one), Checkpoint.load(other)
    return a.arch == b.arch and all(
        torch.equal(a.weights[key], b.weights[key]) for key in a.weights
    )


@pytest.mark.slow
def test_the_record_has_what_the_command_promises(done: Path):
    record = read_json(done / "printed.json")

    assert {
        "start", "final", "steps", "budget", "price", "top1_start", "top1_final", "latency",
        "macs", "params", "within_budget", "verified", "artifact",
    } <= set(record)  # fmt: skip
    for step in record["steps"]:
        assert {"proposals", "chosen", "price", "accuracy", "seconds"} <= set(step)
    assert record["verified"]
    assert record["within_budget"]
    assert record["price"] == record["macs"] == record["steps"][-1]["price"] <= 170e3
    assert record["start"]["price"] > record["steps"][0]["price"]
    assert record["latency"]["runtime"] == "onnxruntime"


@pytest.mark.slow
def test_every_member_is_kept_and_the_artifact_is_whole(done: Path):
    known = records(done)

    assert len(known) == len(read_json(done / "printed.json")["steps"]) + 1
    for index, record in enumerate(known):
        assert Checkpoint.load(step_file(done, index)).arch == from_json(record["arch"])
    assert is_intact(done / "model.onnx")
    # Split as the start's images were, whatever the seed of the adaptation.
    assert Checkpoint.load(done / "trained.safetensors").training["seed"] == 0


@pytest.mark.slow
@pytest.mark.full
def test_killed_and_started_again_it_ends_with_the_same_network(
    done: Path, start: Path, tmp_path: Path
):
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(start.parent, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step 2:" in line:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "trained.safetensors").exists()

    again = subprocess.run(command(start.parent, run), capture_output=True, text=True)

    assert again.returncode == 0
    assert "step 1:" not in again.stderr
    assert same_weights(run / "trained.safetensors", done / "trained.safetensors")


@pytest.mark.slow
def test_any_member_can_be_delivered(done: Path):
    record = adapt_member(Member(done, 1, "digits", long_epochs=0))

    assert record["verified"]
    assert [step["price"] for step in record["steps"]] == [record["price"]]
    assert same_weights(Path(record["checkpoint"]), step_file(done, 1))
    with pytest.raises(FileError, match="has the members 0 to"):
        adapt_member(Member(done, 99, "digits"))


@pytest.mark.slow
def test_a_size_is_that_of_the_runtimes_file(start: Path, tmp_path: Path):
    engine = Engine("openvino")  # whose graph is larger than that network's weights

    def sized(limit: float) -> Adaptation:
        budget = Budget(size_bytes=limit)
        return Adaptation(start, "digits", budget, engine, settings=BRIEF, out=tmp_path)

    checkpoint = Checkpoint.load(start)
    job = sized(0.9 * sized(1e6).price()(checkpoint.arch))
    cut(job, load_images("digits"))
    last, path = records(tmp_path)[-1], tmp_path / artifact_name(engine.runtime)
    export_isolated([Job(step_file(tmp_path, last["index"]), path)], engine)

    assert size_of(path) <= last["price"] <= job.target
    price = run_price(tmp_path)
    assert price is not None
    assert price(from_json(last["arch"])) == last["price"]


def test_another_adaptation_is_not_written_over(start: Path, tmp_path: Path):
    job = Adaptation(start, "digits", Budget(macs=280e3), settings=BRIEF, out=tmp_path)
    images = load_images("digits")
    cut(job, images)
    known = records(tmp_path)

    other = replace(job, settings=replace(BRIEF, rule="paper"))
    with pytest.raises(MobileNetsError, match="holds another adaptation, of other settings; give"):
        cut(other, images)
    assert records(tmp_path) == known


def test_fit_adapts_from_a_network_of_twice_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    asked: list[Fitting] = []

    def fit(job: Fitting) -> Any:
        asked.append(job)
        return SimpleNamespace(summary={"latency": {"runtime": "openvino"}})

    monkeypatch.setattr(pipeline, "fit", fit)
    monkeypatch.setattr(pipeline, "adapt", lambda job: {"job": job})
    engines = (DEFAULT, Engine("openvino"))
    fitting = Fitting("digits", Budget(macs=1e6), tmp_path, engines=engines, seed=3)

    record = fit_adapted(fitting)
    fit_adapted(replace(fitting, how=How(trials=4)))

    start = replace(fitting, budget=Budget(macs=2e6), out=tmp_path / "start")
    assert asked == [replace(start, how=How(trials=1)), replace(start, how=How(trials=4))]
    job = record["job"]
    assert job.source == tmp_path / "start"
    assert (job.budget, job.engine, job.settings.seed) == (Budget(macs=1e6), Engine("openvino"), 3)
    assert (job.settings.step, job.settings.decay) == (0.05, 1.0)  # docs: steps of 5 %
    with pytest.raises(BudgetError, match="got macs, params; give one"):
        fit_adapted(replace(fitting, budget=Budget(macs=1e6, params=1e6)))
    assert len(asked) == 2


# ------------------------------------------------------------------------------------------ page


@pytest.mark.slow
def test_the_page_shows_every_member_and_the_end(done: Path, tmp_path: Path):
    family = read_family(done, [done])

    text = write_family(family, tmp_path / "page.html").read_text()

    known = records(done)
    assert [(one.price, one.accuracy) for one in family.members] == [
        (one["price"], one["accuracy"]) for one in known
    ]
    assert family.final is not None
    assert family.trained[0].price == family.final.price == known[-1]["price"]
    assert family.trained[0].accuracy == family.final.accuracy
    assert all(one["chosen"] in text for one in known)
    assert f"mobilenets adapt {done} DATA --member NUMBER" in text


def test_the_width_multiplier_costs_what_the_paper_says(tmp_path: Path):
    start = Checkpoint.fresh(get_arch("mobilenet_v3_small"))
    step = first_step(start, Outcome(0.5, 90.0, None), arithmetic_price("macs"))
    keep(step, tmp_path)
    asked = {"budget": {"macs": 2e7}, "latency": None, "settings": asdict(BRIEF)}
    write_json(tmp_path / "adapt.json", asked)

    widths = {one.name: one for one in read_family(tmp_path).widths}

    # arXiv:1905.02244, Table 9: 67.5, 65.4, 58.0 and 49.8 % at widths 1, 0.75, 0.5 and 0.35
    for width, lost, macs in (
        ("1", 0.0, 56_510_400),
        ("0.75", 2.1, 43_399_344),
        ("0.5", 9.5, 21_052_560),
        ("0.35", 17.7, 12_815_840),
    ):
        assert widths[f"width {width}"].accuracy == pytest.approx(90.0 - lost)
        assert widths[f"width {width}"].price == macs
    assert "width 1.05" not in widths


def test_a_folder_without_steps_has_no_page(tmp_path: Path):
    with pytest.raises(FileError, match="is no run of `mobilenets adapt`; give the folder of one"):
        read_family(tmp_path)


@pytest.mark.parametrize("name", ["training.json", "trained.safetensors", "stages.json"])
def test_a_run_of_another_command_is_not_written_over(start: Path, tmp_path: Path, name: str):
    write_json(tmp_path / name, {"trained": "its training"} if name == "stages.json" else {})

    with pytest.raises(MobileNetsError, match=r"holds another run.*; give another --out"):
        adapt(Adaptation(start, "digits", Budget(macs=280e3), out=tmp_path))


def test_a_start_within_the_limit_is_said_to_stay_as_it_is(
    start: Path, images: Images, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    job = Adaptation(start, "digits", Budget(macs=100e6), settings=BRIEF, out=tmp_path)

    with caplog.at_level(logging.INFO, "mobilenets"):
        cut(job, images)

    taken = describe("macs", cost(TINY).macs)
    assert f"the starting network takes {taken}, within 100 M: nothing is pruned" in caplog.text
    assert len(records(tmp_path)) == 1


# --------------------------------------------------------------------------------------- latency


class Device:
    """Networks take 1.25 times what their table promises, and narrow ones more."""

    def __init__(self) -> None:
        self.table = known_table()
        self.asked = 0

    def ms(self, arch: Arch) -> float:
        channels = sum(getattr(row, "out", 0) for row in arch.rows)
        return self.table.predict_ms(arch) * (1.25 + 5 / channels)

    def __call__(self, archs: Sequence[Arch], engine: Engine) -> list[Latency]:
        self.asked += len(archs)
        return [
            Latency((self.ms(arch),) * 10, 1, engine.runtime, "1", 1, "fp32", 1, "fake")
            for arch in archs
        ]


def test_the_last_network_meets_the_limit_as_measured_not_as_promised(
    start: Path, images: Images, tmp_path: Path
):
    device = Device()
    price = LatencyPrice(device.table, device)
    limit = 0.98 * device.ms(TINY)
    assert price(TINY) < (1 - HEADROOM) * limit  # by the promise nothing would be cut
    job = Adaptation(
        start, "digits", Budget(latency_ms=limit), settings=replace(BRIEF, step=0.03), out=tmp_path
    )

    cut(job, images, price)

    known = [from_json(record["arch"]) for record in records(tmp_path)]
    assert records(tmp_path)[0]["price"] == pytest.approx(device.ms(TINY))
    assert device.ms(known[-1]) <= (1 - HEADROOM) * limit < device.ms(known[-2])
    assert price(known[-1]) == pytest.approx(device.ms(known[-1]))


@pytest.mark.parametrize(("index", "part", "asked"), [(4, 0.8, 0), (5, 0.8, 1), (4, 1.0, 1)])
def test_networks_are_measured_now_and_then_and_each_near_the_limit(
    start: Path, index: int, part: float, asked: int
):
    device = Device()
    price = LatencyPrice(device.table, device)
    job = Adaptation(start, "digits", Budget(latency_ms=part * price(TINY)))

    correct_(job, price, index, TINY)

    assert device.asked == asked


def test_without_a_table_it_is_said_how_to_build_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))

    with pytest.raises(
        MeasureError,
        match=r"no latency table of onnxruntime with 1 thread on this machine; build it with: "
        "mobilenets table --runtime onnxruntime --threads 1",
    ):
        latency_price(DEFAULT, 1, Device())


# ---------------------------------------------------------------------------------------- errors


def test_a_limit_out_of_reach_names_itself_before_anything_is_read(start: Path, tmp_path: Path):
    job = Adaptation(start, "nowhere", Budget(params=1000), settings=BRIEF, out=tmp_path / "run")

    least = describe("params", cost(LEAST).params)
    with pytest.raises(NoFitError, match=rf"params binds at 1 k: .* takes {least}; raise") as told:
        adapt(job)

    assert told.value.binding_limit == "params"
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"budget": Budget()}, "adapted to one limit, which is its price, got none; give one"),
        ({"budget": Budget(macs=1e6, params=1e6)}, "got macs, params; give one"),
        ({"long_epochs": -1}, "long_epochs must be a whole number of at least 0, got -1"),
        (
            {"engine": Engine("openvino", "int8")},
            "adapted in fp32, got openvino-int8; adapt for openvino",
        ),
    ],
)
def test_jobs_that_cannot_be_are_refused(words: dict[str, Any], sentence: str):
    with pytest.raises(MobileNetsError, match=sentence):
        Adaptation(**{"source": Path("x"), "data": "digits", "budget": Budget(macs=1e6)} | words)


def test_a_run_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(FileError, match=r"there is no trained network at .*give a run folder or"):
        adapt(Adaptation(tmp_path, "digits", Budget(macs=1e6)))
