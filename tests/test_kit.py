"""Devices that cannot be reached: a kit is written, run there, and its results are imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobilenets.archs import Arch, Budget, cost, get_arch, to_json
from mobilenets.archs.parts import pieces
from mobilenets.choosing import candidate as candidates
from mobilenets.choosing import choice as choices
from mobilenets.choosing import kit_items as selection
from mobilenets.choosing.by_table import imported_tables
from mobilenets.choosing.choice import choose
from mobilenets.choosing.latency_table import (
    EMPTY,
    calibration_networks,
    held_out_networks,
    read_table,
    table_path,
)
from mobilenets.commands.device_import import import_device
from mobilenets.commands.kit import artifact_kit
from mobilenets.commands.verify import verify_run
from mobilenets.devices import kit_run
from mobilenets.devices.imported import Imported
from mobilenets.devices.kit_folder import check_runs_in_a_kit, empty_kit, finish_kit
from mobilenets.devices.registry import devices, find_device, keep_device
from mobilenets.devices.worker_file import worker_file
from mobilenets.errors import FileError, MeasureError, NoFitError, RuntimeMissing
from mobilenets.files import sha256_of
from mobilenets.measuring import Latency
from mobilenets.measuring.bursts import File, Timing
from mobilenets.measuring.device import measuring_on
from mobilenets.measuring.machine import this_machine
from mobilenets.measuring.results import Plan, keep_plan, plan_id, read_results
from mobilenets.runtimes import DEFAULT, Engine, Known
from tests.test_report import write_run
from tests.test_table import network_ms, piece_ms
from tests.test_verify import session

MACHINE = {
    "cpu": "A53", "cores": 4, "machine": "aarch64", "os": "Linux 6", "fingerprint": "0123abcd",
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def plan_of(items: Sequence[tuple[str, Arch]], *, times: int = 1) -> Plan:
    return {
        "mobilenets_kit": 1, "runtime": "onnxruntime", "threads": 1, "references": ["r.onnx"],
        "items": [
            {"file": f"files/{at}.onnx", "kind": kind, "arch": to_json(arch), "times": times}
            for at, (kind, arch) in enumerate(items)
        ],
        "artifacts": [],
    }  # type: ignore[typeddict-item]  # fmt: skip


def results_of(plan: Plan, **changed: Any) -> dict[str, Any]:
    """Of a device on which the sums over blocks tell all (`test_table`)."""
    timings = []
    for at, item in enumerate(plan["items"]):
        arch = KNOWN[json.dumps(item["arch"])]
        ms = piece_ms(arch) if item["kind"] == "piece" else network_ms(arch)
        timings.append({"item": at, "ms": ms, "reference_ms": 1.0, "noisy": False, "seconds": 0.5})
    record = {
        "mobilenets_results": 1, "kit": plan_id(plan), "kind": "kit", "machine": MACHINE,
        "runtime": "onnxruntime", "runtime_version": "1.30.0", "threads": 1, "timings": timings,
        "latencies": [], "plan": plan,
    }  # fmt: skip
    return record | changed


KNOWN: dict[str, Arch] = {}
ITEMS: list[tuple[str, Arch]] = []


def table_items() -> list[tuple[str, Arch]]:
    """Those of 20 networks to calibrate on and 8 to test on, whose blocks are not measured."""
    if not ITEMS:
        built, tested = calibration_networks()[:20], held_out_networks()[:8]
        parts = dict.fromkeys(piece for arch in built for piece in pieces(arch)) | {EMPTY: None}
        ITEMS.extend([("piece", one) for one in parts])
        ITEMS.extend([("network", one) for one in (*built, *tested)])
        KNOWN.update({json.dumps(to_json(arch)): arch for _, arch in ITEMS})
    return ITEMS


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def phone(tmp_path: Path) -> Imported:
    import_device(write(tmp_path / "r.json", results_of(plan_of(table_items()))), "phone7")
    device = find_device("phone7")
    assert isinstance(device, Imported)
    return device


# What a kit measures


def test_a_small_kit_leaves_out_the_blocks_of_its_held_out_networks(
    monkeypatch: pytest.MonkeyPatch,
):
    """They are predicted as most candidates are, and the error is stated of that."""
    some = [candidates.price(get_arch("mobilenet_v3_small", width=0.5, resolution=96))]
    monkeypatch.setattr(selection, "candidates", lambda *_: some)

    items = selection.kit_items(None, small=True)

    networks = [one.arch for one in items if one.kind == "network"]
    blocks = {one.arch for one in items if one.kind == "piece"}
    held_out = [arch for arch in networks if arch in set(held_out_networks())]
    built = [arch for arch in networks if arch not in held_out]
    assert len(held_out) == 12
    assert some[0].arch in built
    assert blocks == {piece for arch in built for piece in pieces(arch)} | {EMPTY}
    assert not {piece for arch in held_out for piece in pieces(arch)} <= blocks
    assert max(cost(arch).params for arch in networks) <= 2_000_000
    assert {one.times for one in items if one.kind == "network"} == {4}


def test_a_kit_is_not_written_where_something_is(tmp_path: Path):
    (tmp_path / "photo.jpg").touch()

    with pytest.raises(FileError, match="is not empty; give another folder as --out"):
        empty_kit(tmp_path)


def test_a_kit_that_was_not_written_to_its_end_is_written_again(tmp_path: Path):
    (empty_kit(tmp_path) / "00001.onnx").touch()

    assert list(empty_kit(tmp_path).iterdir()) == []
    finish_kit(tmp_path, plan_of([]), "verify runs/x --results results.json")
    with pytest.raises(FileError, match="is not empty"):
        empty_kit(tmp_path)


@pytest.mark.parametrize("name", ["torch", "torch-compile", "executorch"])
def test_runtimes_that_take_pytorch_have_no_kit(name: str):
    with pytest.raises(MeasureError, match="give one of onnxruntime, openvino, litert, ncnn as"):
        check_runs_in_a_kit(Engine(name))


# Run there


def written(folder: Path, plan: Plan) -> Path:
    (folder / "files").mkdir(parents=True)
    finish_kit(folder, plan, "device import results.json --as NAME")
    return folder


def sh(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(folder / "run.sh")], env=environment, capture_output=True, text=True
    )


def stub(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("exit 1", "kit: Python 3.11 or later is not found; install it (Debian: apt install"),
        (
            'case "$2" in *numpy*) echo "No module named numpy" >&2; exit 1;; esac',
            "kit: numpy cannot be imported (No module named numpy); run: PYTHON -m pip install "
            "numpy\n",
        ),
        (
            'case "$2" in *onnxr*) echo "a trace\nNo module" >&2; exit 1;; esac',
            "kit: onnxruntime cannot be imported (No module); run: PYTHON -m pip install "
            "onnxruntime\n",
        ),
    ],
)
def test_what_the_device_lacks_is_said_in_a_sentence(tmp_path: Path, python: str, said: str):
    path = stub(tmp_path, python)

    run = sh(written(tmp_path / "kit", plan_of([])), PYTHON=path, PATH=str(tmp_path / "none"))

    assert run.returncode == 1
    assert run.stderr.startswith(said.replace("PYTHON", path, 1) if "PYTHON -m" in said else said)
    assert run.stdout == ""


def test_the_worker_takes_the_standard_library_only_to_begin(tmp_path: Path):
    """-S: no package that is installed here."""
    (tmp_path / "worker.pyz").write_bytes(worker_file("mobilenets.devices.kit_run"))
    write(tmp_path / "kit.json", {"mobilenets_kit": 2})

    run = subprocess.run(
        [sys.executable, "-I", "-S", "worker.pyz", "."], cwd=tmp_path, capture_output=True,
        text=True,
    )  # fmt: skip

    assert run.returncode == 1
    assert run.stderr.startswith("kit: kit.json is broken (it lacks runtime, threads, references")
    assert run.stderr.count("\n") == 1


class Device:
    """What `time_files` is on a device: a millisecond for each, none for `broken`; it is stopped
    in the middle of the file `stopped_at`."""

    def __init__(
        self, *, broken: int | None = None, stopped_at: int | None = None,
        noisy: Sequence[int] = (),
    ):  # fmt: skip
        self.timed: list[int] = []
        self._broken, self._stopped_at, self._noisy = broken, stopped_at, noisy

    def __call__(
        self, files: Sequence[File[int]], references: Sequence[Path], engine: Engine, threads: int
    ) -> Iterator[tuple[int, Timing]]:
        assert engine == DEFAULT
        assert [one.name for one in references] == ["r.onnx"]
        for file in files:
            if file.key == self._stopped_at:
                raise KeyboardInterrupt
            self.timed.append(file.key)
            if file.key != self._broken:
                yield file.key, Timing(1.0 + file.key, 2.0, file.key in self._noisy)


def run_on(device: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kit_run, "time_files", device)
    monkeypatch.setattr(kit_run, "_CHUNK", 2)
    return kit_run.run_kit(folder)


def test_stopped_in_the_middle_it_goes_on_and_measures_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = written(tmp_path, plan_of(table_items()[:5], times=2))
    first = Device(stopped_at=3)
    with pytest.raises(KeyboardInterrupt):
        run_on(first, folder, monkeypatch)
    kept = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()][1:]
    with (folder / "results.jsonl").open("a") as file:
        file.write('{"item": 4, "ms"')  # a line cut short

    second = Device()
    results = read_results(run_on(second, folder, monkeypatch))

    assert len(kept) % 2 == 0  # chunks of two
    assert sorted([one["item"] for one in kept] + second.timed) == sorted([0, 1, 2, 3, 4] * 2)
    assert {one["item"]: one["ms"] for one in results["timings"]} == {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}
    third = Device()
    run_on(third, folder, monkeypatch)
    assert third.timed == []


def test_what_was_disturbed_is_said_and_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    folder = written(tmp_path, plan_of(table_items()[:5]))
    run_on(Device(noisy=(1, 4)), folder, monkeypatch)
    again = Device()

    assert "2 of 5 were measured only while other work disturbed the device" in caplog.text
    run_on(again, folder, monkeypatch)
    assert sorted(again.timed) == [1, 4]


def test_what_cannot_be_run_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    folder = written(tmp_path, plan_of(table_items()[:5]))

    results = read_results(run_on(Device(broken=3), folder, monkeypatch))

    assert {one["item"] for one in results["timings"]} == {0, 1, 2, 4}
    assert "not measured: files/3.onnx" in caplog.text


def test_what_another_device_began_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = written(tmp_path, plan_of(table_items()[:5]))
    run_on(Device(), folder, monkeypatch)
    head, *lines = (folder / "results.jsonl").read_text().splitlines()
    there = this_machine()["fingerprint"]
    (folder / "results.jsonl").write_text("\n".join([head.replace(there, "another"), *lines]))

    with pytest.raises(FileError, match="was begun on another device"):
        run_on(Device(), folder, monkeypatch)


# Results


def test_results_are_read_with_their_plan_or_that_which_was_kept_here(tmp_path: Path):
    plan = plan_of(table_items()[:3])
    whole = results_of(plan)
    bare = {key: value for key, value in whole.items() if key != "plan"}
    path = write(tmp_path / "results.json", bare)

    with pytest.raises(FileError, match="its kit was not written on this machine"):
        read_results(path)
    assert keep_plan(plan) == whole["kit"]
    assert read_results(path) == read_results(write(tmp_path / "2.json", whole))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"mobilenets_results": 2}, "mobilenets_results must be one of 1, got 2"),
        ({"kit": "0" * 64}, "it is not of the plan that it tells"),
        ({"threads": 2}, "its kit is for onnxruntime on 1 threads, and it is of onnxruntime on 2"),
        ({"runtime": "../x"}, "its kit is for onnxruntime on 1 threads"),
        ({"runtime_version": "../../1"}, "'../../1' is no version, and no fingerprint"),
        ({"machine": MACHINE | {"fingerprint": "a/b"}}, "'a/b' is no version"),
        ({"machine": MACHINE | {"cpu": "\x1b[2J"}}, "a name that cannot be printed"),
        ({"timings": [{"item": 0, "ms": 0}]}, "lacks reference_ms, noisy, seconds"),
        ({"timings": [("ms", 0.0)]}, r"timings\[0\].ms is 0.0, which is out of range"),
        ({"timings": [("ms", 1e9)]}, "which is out of range"),
        ({"timings": [("ms", float("nan"))]}, "which is out of range"),
        ({"timings": [("item", 3)]}, "it times more than the 3 items of its plan"),
        ({"timings": [("noisy", 1)]}, r"timings\[0\].noisy must be true or false"),
        ({"latencies": [{"sha256": "x", "latency": {}}]}, "latency lacks times_ms, burst"),
    ],
)
def test_results_that_cannot_be_are_refused_in_a_sentence(
    tmp_path: Path, changed: dict[str, Any], reason: str
):
    record = results_of(plan_of(table_items()[:3]))
    timing = record["timings"][0]
    if isinstance(changed.get("timings", [{}])[0], tuple):
        changed = {"timings": [timing | dict(changed["timings"])]}
    path = write(tmp_path / "results.json", record | changed)

    with pytest.raises(FileError, match=reason) as refused:
        read_results(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("results.json", '{"mobilenets_results": 1, "kit"', "is broken"),
        ("results.json", "\x00\x01", "is broken"),
        ("results.json", '{"version": 3}', "holds no results of a kit; give the results.json"),
        ("results.json", "[]", "holds no results of a kit"),
        ("results.jsonl", "{}", "still to be run to its end; run sh run.sh there again"),
    ],
)
def test_a_file_that_holds_no_results_is_refused(
    tmp_path: Path, name: str, content: str, reason: str
):
    (tmp_path / name).write_text(content)

    with pytest.raises(FileError, match=reason):
        read_results(tmp_path / name)


# The table


def test_results_become_the_table_of_a_named_device(phone: Imported, cache: Path):
    assert devices()["phone7"] == {
        "kind": "kit", "machine": MACHINE, "versions": {"onnxruntime": "1.30.0"},
    }  # fmt: skip
    with measuring_on(phone):
        path = table_path(DEFAULT, 1)
        table = read_table(path, DEFAULT, 1)
    assert path.name == "onnxruntime-1.30.0-1t-phone7-0123abcd-v6.jsonl"
    assert table is not None
    error = table.held_out()
    assert error.networks == 8
    # What made the times is linear in what the table prices; blocks not measured are guessed.
    assert error.median_error_pct < 5
    for arch in calibration_networks()[:20]:
        assert table.networks[arch] == pytest.approx(network_ms(arch))


def test_results_of_which_too_little_was_measured_make_no_table(tmp_path: Path):
    record = results_of(plan_of(table_items()))
    record["timings"] = record["timings"][:-20]  # what comes last is tested on

    with pytest.raises(FileError, match="too few whole networks were measured for a table: 8 to"):
        import_device(write(tmp_path / "r.json", record), "phone7")
    assert devices() == {}


def test_a_name_stays_its_device_s_and_takes_more_runtimes(phone: Imported, tmp_path: Path):
    record = results_of(plan_of(table_items()))
    other = MACHINE | {"fingerprint": "ffff0000"}
    plan = plan_of(table_items()) | {"runtime": "litert"}
    more = results_of(plan, runtime="litert", runtime_version="2.1")  # type: ignore[arg-type]

    with pytest.raises(MeasureError, match="there is a device phone7 already"):
        import_device(write(tmp_path / "2.json", record | {"machine": other}), "phone7")
    import_device(write(tmp_path / "3.json", more), "phone7")
    assert devices()["phone7"]["versions"] == {"onnxruntime": "1.30.0", "litert": "2.1"}


# The choice


def test_a_choice_for_it_measures_nothing_and_leaves_room_for_the_table_s_error(
    phone: Imported, monkeypatch: pytest.MonkeyPatch
):
    some = [
        candidates.price(get_arch(name, width=width, resolution=160))
        for name in ("mobilenet_v2", "mobilenet_v3_large")
        for width in (0.35, 0.5, 0.75, 1.0, 1.25)
    ]
    monkeypatch.setattr(choices, "candidates", lambda *_: some)
    with measuring_on(phone):
        (table,) = imported_tables([DEFAULT], 1).values()
        choice = choose(Budget(latency_ms=3.0))

    chosen, error = choice.chosen, table.held_out()
    assert chosen.latency is None
    assert chosen.stated is not None
    assert chosen.stated.ms == chosen.about_ms == table.predict_ms(chosen.arch)
    assert chosen.stated.ms <= 3.0 * (1 - max(0.08, error.worst_error_pct / 100))
    assert network_ms(chosen.arch) <= 3.0
    assert chosen.stated.words() == (
        f"predicted from phone7's table (error {error.median_error_pct:.1f} %), not yet measured"
    )
    assert chosen.to_json()["stated"] == chosen.stated.words()


def test_a_network_of_the_kit_counts_as_measured(phone: Imported, monkeypatch: pytest.MonkeyPatch):
    """0.92 of the limit is room enough for it, and not for one that is predicted."""
    one = candidates.price(get_arch("mobilenet_v2", width=0.5, resolution=96))
    monkeypatch.setattr(choices, "candidates", lambda *_: [one])
    with measuring_on(phone):
        path = table_path(DEFAULT, 1)
        (table,) = imported_tables([DEFAULT], 1).values()
        worst = 1 - table.held_out().worst_error_pct / 100
        ms = table.predict_ms(one.arch)
        budget = Budget(latency_ms=ms / min(0.92, worst) * 0.999)
        with pytest.raises(NoFitError, match=r"predicted from phone7's table \(error"):
            choose(budget)
        line = {"network": to_json(one.arch), "ms": ms, "reference_ms": 1.0, "noisy": False}
        with path.open("a") as file:
            file.write(json.dumps(line | {"seconds": 1}) + "\n")

        choice = choose(Budget(latency_ms=ms / 0.91))

    assert choice.chosen.stated is not None
    assert choice.chosen.stated.words() == "measured on phone7 in its kit"


@pytest.mark.parametrize(
    ("worst_pct", "ms", "fits"),
    [(3.0, 0.92, True), (3.0, 0.93, False), (30.0, 0.70, True), (30.0, 0.71, False)],
)
def test_the_part_of_the_limit_left_free_is_the_worst_error_or_the_usual_8_percent(
    worst_pct: float, ms: float, fits: bool, phone: Imported, monkeypatch: pytest.MonkeyPatch
):
    one = candidates.price(get_arch("mobilenet_v2", width=0.5, resolution=96))
    told = replace(one, stated=candidates.Stated(ms, "phone7", 2.0, worst_pct))
    monkeypatch.setattr(choices, "candidates", lambda *_: [one])
    monkeypatch.setattr(choices, "stated", lambda *_: [told])
    with measuring_on(phone):
        if fits:
            assert choose(Budget(latency_ms=1.0)).chosen.stated == told.stated
        else:
            with pytest.raises(NoFitError, match="no network fits: latency binds at 1 ms"):
                choose(Budget(latency_ms=1.0))


def test_without_a_table_it_is_said_which_kit_to_write(phone: Imported):
    with (
        measuring_on(phone),
        pytest.raises(MeasureError, match="mobilenets kit --runtime onnxruntime --threads 2"),
    ):
        choose(Budget(latency_ms=3.0), threads=2)
    with measuring_on(phone), pytest.raises(MeasureError, match="nothing was measured on phone7"):
        choose(Budget(latency_ms=3.0), runtimes=["openvino"])


def test_it_cannot_be_measured_on(phone: Imported):
    with pytest.raises(MeasureError, match="phone7 cannot be reached from here"):
        phone.start(DEFAULT, {})
    with pytest.raises(RuntimeMissing, match="in openvino, but in onnxruntime; give one of these"):
        phone.version(Engine("openvino"))


# The verdict


PENDING = {
    "p50_ms": 0.8, "p90_ms": 0.8, "min_ms": 0.8, "runs": 0, "spread": 0.0, "slowed": 0.0,
    "waited": 0.0, "noisy": False, "runtime": "onnxruntime", "runtime_version": "1.30.0",
    "threads": 1, "precision": "fp32", "batch": 1, "device": "phone7: A53", "predicted": "phone7",
}  # fmt: skip


@pytest.fixture
def pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that waits for what phone7 measures, whose limit is 1 ms."""
    keep_device("phone7", {"kind": "kit", "machine": MACHINE, "versions": {"onnxruntime": "1"}})  # type: ignore[typeddict-item]
    (tmp_path / "run").mkdir()
    run = write_run(tmp_path / "run")
    verdict = json.loads((run / "verdict.json").read_text())
    verdict |= {
        "latency": PENDING, "undecided": True, "within_budget": False,
        "complaints": ["not yet measured on phone7: 0.8 ms of 1 ms are predicted"],
    }  # fmt: skip
    write(run / "verdict.json", verdict)
    summary = verdict | {
        "device": "phone7", "artifact": str(run / "model.onnx"), "report": str(run / "report.html"),
        "chosen": {"name": "mobilenet_v3_small", "full_name": "v3"}, "trials": [], "epochs": 1,
        "recipe_epochs": 1, "budget": {"latency_ms": 1.0},
    }  # fmt: skip
    write(run / "summary.json", summary)
    monkeypatch.setattr("mobilenets.commands.verify.is_intact", lambda path: True)
    return run


def measured(run: Path, *sessions: Latency, machine: dict[str, Any] = MACHINE) -> Path:
    """The results of the run's kit."""
    artifact_kit(run / "kit", run / "model.onnx", DEFAULT, threads=1, limit_ms=1)
    plan = json.loads((run / "kit" / "kit.json").read_text())
    sha256 = sha256_of(run / "model.onnx")
    versions = [replace(one, runtime_version="1.30.0") for one in sessions]
    latencies = [{"sha256": sha256, "latency": one.to_json(raw=True)} for one in versions]
    record = results_of(plan, machine=machine, latencies=latencies)
    return write(run.parent / "results.json", record)


def test_what_was_not_yet_measured_is_said_everywhere(pending: Path):
    from mobilenets.deliver.run_report import report

    page, card = report(pending).read_text(), (pending / "README.md").read_text()

    assert "Not yet measured" in page
    assert "latency predicted for phone7" in page
    assert "0.8 ms (limit 1 ms, predicted and not yet measured) on onnxruntime on phone7" in page
    assert f"mobilenets verify {pending} --results results.json" in page
    assert "Within budget: not yet measured." in card
    assert "| latency, predicted | 0.800 ms |" in card
    assert "not yet measured there" in card


@pytest.mark.parametrize(
    ("sessions", "within", "undecided", "complaint"),
    [
        pytest.param([session(0.7)], True, False, "", id="well within"),
        pytest.param([session(0.97)] * 3, True, False, "", id="within in three sessions"),
        pytest.param([session(1.2)] * 3, False, False, "latency is 1.2 ms, 20.0 % over the limit",
                     id="over"),
        pytest.param([session(0.99), session(1.02), session(0.98)], False, True,
                     "too noisy to decide on the limit of 1 ms: 0.98 ms to 1.02 ms", id="on both"),
    ],
)  # fmt: skip
def test_the_device_s_latencies_decide(
    pending: Path, sessions: list[Latency], within: bool, undecided: bool, complaint: str
):
    found = verify_run(pending, measured(pending, *sessions))

    verdict = json.loads((pending / "verdict.json").read_text())
    summary = json.loads((pending / "summary.json").read_text())
    for record in (verdict, summary, found.summary):
        assert (record["within_budget"], record["undecided"]) == (within, undecided)
        assert record["latency"]["p50_ms"] == max(one.p50_ms for one in sessions)
        assert record["latency"]["device"] == "phone7: a laptop"
        assert complaint in " ".join(record["complaints"])
        assert len(record["complaints"]) == bool(complaint)
    assert verdict["limits"][0]["spent"] == verdict["latency"]["p50_ms"]
    assert "Not yet measured" not in (pending / "report.html").read_text()
    assert "not yet measured" not in found.verdict()


def test_results_of_another_device_or_artifact_decide_nothing(pending: Path):
    before = (pending / "verdict.json").read_text()

    other = measured(pending, session(0.7), machine=MACHINE | {"fingerprint": "ffff0000"})
    with pytest.raises(FileError, match="is of another device than phone7"):
        verify_run(pending, other)
    with pytest.raises(FileError, match="holds no latency of"):
        verify_run(pending, measured(pending))
    assert (pending / "verdict.json").read_text() == before


def test_a_run_of_this_machine_waits_for_no_results(pending: Path):
    path = measured(pending, session(0.7))
    summary = json.loads((pending / "summary.json").read_text()) | {"device": "local"}
    write(pending / "summary.json", summary)

    with pytest.raises(FileError, match="was measured on this machine: it waits for no results"):
        verify_run(pending, path)


def test_the_artifact_s_kit_is_measured_by_the_rule_of_the_verdict(
    pending: Path, monkeypatch: pytest.MonkeyPatch
):
    """Near the limit in three sessions; called again, it measures nothing."""
    asked: list[float] = []

    def measure(paths: Sequence[Path], **options: Any) -> list[Latency]:
        asked.append(options["threads"])
        return [replace(session(0.97), runtime_version="1.30.0")]

    monkeypatch.setattr("mobilenets.measuring.sessions.measure", measure)
    monkeypatch.setattr(kit_run, "this_machine", lambda: MACHINE)
    monkeypatch.setattr(Known, "version", lambda self: "1.30.0")
    artifact_kit(pending / "kit", pending / "model.onnx", DEFAULT, threads=1, limit_ms=1)

    first = kit_run.run_kit(pending / "kit")
    kit_run.run_kit(pending / "kit")

    assert asked == [1, 1, 1]
    assert verify_run(pending, first).summary["within_budget"]


def test_an_artifact_damaged_on_its_way_is_not_measured(
    pending: Path, caplog: pytest.LogCaptureFixture
):
    artifact_kit(pending / "kit", pending / "model.onnx", DEFAULT, threads=1, limit_ms=1)
    (pending / "kit" / "files" / "model.onnx").write_bytes(b"half of it")

    with pytest.raises(FileError, match="nothing of the kit in "):
        kit_run.run_kit(pending / "kit")
    assert "is not as it was written; copy the kit again" in caplog.text


def test_emulation_is_told_by_the_process_s_mappings(monkeypatch: pytest.MonkeyPatch):
    from mobilenets.measuring import machine

    assert not machine.is_emulated()
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"7f00 r-xp /usr/bin/qemu-aarch64-static")
    assert machine.is_emulated()


def test_an_android_phone_is_called_by_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from mobilenets.measuring import machine

    (tmp_path / "getprop").write_text(
        '#!/bin/sh\ncase "$1" in *product*) echo Pixel 7;; *) echo GS201;; esac\n'
    )
    (tmp_path / "getprop").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(machine, "_cpuinfo", dict)

    assert machine.this_machine()["cpu"] == "Pixel 7 GS201"
