"""The devices that have a name: `device add`, `list`, `show`, `remove`, and `--device`."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest

import mobilenets
from mobilenets.cli.options import device_names
from mobilenets.commands import choose as choosing
from mobilenets.commands import evaluate as evaluating
from mobilenets.commands.evaluate import Evaluation
from mobilenets.devices.registry import devices, find_device, keep_device, remove_device
from mobilenets.devices.ssh import Ssh
from mobilenets.errors import FileError, FolderTaken, MeasureError, MobileNetsError
from mobilenets.measuring.device import (
    LOCAL,
    current,
    engines_there,
    measuring_on,
    on_another,
    option,
    place,
    subject,
)  # fmt: skip
from mobilenets.measuring.machine import this_machine
from mobilenets.runs.owner import claim
from mobilenets.runtimes import DEFAULT, Engine
from tests.fake_ssh import FakeFar, Stub
from tests.test_cli import run
from tests.test_runtimes import write_onnx


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Names


def test_a_device_is_found_by_its_name_and_forgotten():
    keep_device("pi", {"kind": "ssh", "target": "me@board", "python": "python3"})

    assert find_device("pi") == Ssh("pi", "me@board", "python3")
    assert find_device("pi") is find_device("pi")  # which remembers what it is
    assert find_device("local") is LOCAL
    remove_device("pi")
    assert devices() == {}


def test_a_device_that_nobody_named_is_said():
    with pytest.raises(MeasureError, match=r"no device pi; there are local; .* device add pi ssh:"):
        find_device("pi")
    with pytest.raises(MeasureError, match="there is no device pi"):
        remove_device("pi")


@pytest.mark.parametrize("name", ["", "local", "-x", "a b", "a/b", "x" * 42])
def test_a_name_that_no_device_can_have_is_said(name: str):
    with pytest.raises(MeasureError, match=r"a device cannot be called .* letters, digits"):
        keep_device(name, {"kind": "ssh", "target": "board"})


def test_a_name_is_of_one_device():
    keep_device("pi", {"kind": "ssh", "target": "board"})

    with pytest.raises(MeasureError, match=r"there is a device pi already; .* device remove pi"):
        keep_device("pi", {"kind": "ssh", "target": "other"})
    keep_device("pi", {"kind": "ssh", "target": "other"}, replace=True)
    assert find_device("pi") == Ssh("pi", "other")


def test_a_broken_file_of_devices_is_said(cache: Path):
    cache.mkdir()
    (cache / "devices.json").write_text('{"pi": {"kind": "carrier pigeon"}}')

    with pytest.raises(FileError, match=r"devices\.json is broken \(pi\.kind must be one of ssh"):
        find_device("pi")


def test_what_is_measured_on_now_need_not_be_kept():
    with measuring_on(Stub()) as stub:
        assert find_device("stub") is stub


# In words


def test_a_device_in_words():
    assert (place("local"), subject("local"), option("local")) == (
        "this machine",
        "the machine",
        "",
    )
    assert (place("pi"), subject("pi"), option("pi")) == ("pi", "pi", " --device pi")
    assert on_another() == ""
    with measuring_on(Stub()):
        assert on_another() == " on stub"
    assert current() is LOCAL


def test_of_all_runtimes_those_count_that_the_device_has():
    engines = [DEFAULT, Engine("ncnn")]

    with measuring_on(Stub(versions={"ncnn": "1"})):
        assert engines_there(engines) == [Engine("ncnn")]
    with measuring_on(Stub(versions={})):
        assert engines_there(engines) == engines  # and so the error names the first


# The commands


def test_a_device_is_added_listed_shown_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    FakeFar(tmp_path, monkeypatch)

    added = run("device", "add", "pi", "ssh:me@board:2222")

    assert (added.returncode, added.stderr) == (0, "")
    lines = added.stdout.splitlines()
    assert lines[0] == "device    pi, ssh:me@board:2222"
    assert lines[1].startswith("machine   ")
    assert lines[2].startswith("python    3.")
    assert lines[3] == f"runtimes  onnxruntime {onnxruntime.__version__}"
    assert run("device", "list").stdout.splitlines()[1:] == [
        "local  local  -",
        "pi     ssh    ssh:me@board:2222",
    ]
    shown = json.loads(run("device", "show", "pi", "--json").stdout)
    assert shown["runtimes"]["onnxruntime"] == onnxruntime.__version__
    assert shown["machine"] == this_machine()
    assert device_names("p") == ["pi"]
    assert json.loads(run("device", "remove", "pi", "--json").stdout) == {"removed": "pi"}
    assert json.loads(run("device", "list", "--json").stdout) == [
        {"name": "local", "kind": "local", "address": None}
    ]


def test_what_is_missing_on_a_device_is_said_when_it_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    FakeFar(tmp_path, monkeypatch).uninstall("onnxruntime")

    lines = run("device", "add", "pi", "ssh:board").stdout.splitlines()

    assert lines[-2:] == [
        "runtimes  none",
        "to do     run there: python3 -m pip install onnxruntime",
    ]


def test_a_device_that_is_not_reached_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    FakeFar(tmp_path, monkeypatch).ssh(script="#!/bin/sh\necho no route >&2; exit 255")

    done = run("device", "add", "pi", "ssh:board")

    assert done.returncode == 1
    assert done.stderr == (
        "mobilenets: pi cannot be reached (no route); this must work first: ssh board\n"
    )
    assert devices() == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "device add pi me@board",
            "a device's address is ssh:user@host or ssh:user@host:port, got",
        ),
        ("device add local ssh:board", "a device cannot be called 'local'"),
        ("device add pi ssh:", "a device is named by user@host or user@host:port, got ''"),
        ("device show pi", "there is no device pi"),
        ("device bogus", "No such command 'bogus'"),
        ("latency v1 --device pi", "there is no device pi; there are local"),
        ("table --device pi", "there is no device pi"),
        ("choose --latency 5ms --device pi", "there is no device pi"),
        ("tradeoff --device pi", "there is no device pi"),
        ("fit digits --latency 5ms --device pi", "there is no device pi"),
        ("eval model.onnx digits --answers", "--answers are those of a device; give it, as in"),
    ],
)
def test_a_mistake_is_a_sentence(words: str, sentence: str):
    done = run(*words.split())

    assert done.returncode == 1
    assert sentence in done.stderr


def test_this_machine_is_shown_too():
    found = json.loads(run("device", "show", "local", "--json").stdout)

    assert found["machine"] == this_machine()
    assert found["runtimes"]["onnxruntime"] == onnxruntime.__version__


def test_latency_is_measured_on_the_device_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    FakeFar(tmp_path, monkeypatch)
    keep_device("pi", {"kind": "ssh", "target": "board"})
    monkeypatch.setattr("mobilenets.measuring.latency._LOAD_SECONDS", 60.0)
    path = write_onnx(tmp_path / "a.onnx")

    record = json.loads(run("latency", str(path), "--device", "pi", "--json").stdout)

    assert record["device"].startswith("pi: ")
    assert record["p50_ms"] > 0


def test_a_choice_is_made_on_the_device_that_is_named(monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    monkeypatch.setattr(choosing, "find_device", Stub)
    monkeypatch.setattr(choosing, "load_tables", lambda engines, threads: {})
    monkeypatch.setattr(choosing, "choose_network", lambda *_, **__: seen.append(current().name))

    choosing.choose(choosing.Choosing(mobilenets.Budget(latency_ms=5), device="pi"))

    assert seen == ["pi"]


def test_without_a_limit_the_explanation_is_of_the_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mobilenets.devices.registry.find_device", Stub)

    said = run("choose", "--device", "pi").stderr

    assert "  --latency 5ms    p50 of one image on pi\n" in said
    assert "(no latency table of pi yet)" in said
    assert said.endswith("Next: mobilenets choose --device pi --latency 5ms\n")
    assert "--runtime onnxruntime --threads 1 --device pi" in said


def test_answers_without_a_device_are_refused():
    with pytest.raises(
        MobileNetsError, match="--answers are those of a device; give it, as in: --d"
    ):
        Evaluation(Path("model.onnx"), "digits", answers=True)
    assert evaluating.Evaluation(Path("model.onnx"), "digits").device is None


# Runs


def test_a_run_of_another_device_is_not_gone_on_with(tmp_path: Path):
    claim(tmp_path, "asked.json", {"threads": 1, "device": "pi"})
    (tmp_path / "last.ckpt").touch()

    with pytest.raises(FolderTaken, match="another run, of other device; give another --out"):
        claim(tmp_path, "asked.json", {"threads": 1, "device": "local"}, dear=("last.ckpt",))


def test_a_run_that_does_not_say_is_of_this_machine(tmp_path: Path):
    claim(tmp_path, "asked.json", {"threads": 1})
    (tmp_path / "last.ckpt").touch()

    claim(tmp_path, "asked.json", {"threads": 1, "device": "local"}, dear=("last.ckpt",))
    with pytest.raises(FolderTaken, match="of other device"):
        claim(tmp_path, "asked.json", {"threads": 1, "device": "pi"}, dear=("last.ckpt",))
