"""`list --weights`, `push` and `pull` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobilenets.archs import get_arch
from mobilenets.cli.app import app
from mobilenets.nn import Checkpoint
from tests.test_hub import Hub, hub  # noqa: F401  (a fixture)

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mobilenets.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_list_of_weights_has_a_line_for_each():
    header, *lines = run("list", "--weights").stdout.splitlines()

    assert header.split() == ["weights", "network", "width", "pixels", "top-1", "%", "file"]
    assert len(lines) == 93
    assert lines[0].split() == [
        "torchvision:mobilenet_v2.IMAGENET1K_V1", "mobilenet_v2", "1", "224", "71.88",
        "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
    ]  # fmt: skip


def test_the_list_of_weights_as_json_has_accuracy_source_and_conventions():
    records = {one["weights"]: one for one in json.loads(run("list", "--weights", "--json").stdout)}

    one = records["keras:mobilenet_v1.0.25_128"]
    assert one["top1"] == 41.5
    assert one["top1_source"].startswith("tensorflow/models research/slim/nets/mobilenet_v1.md")
    assert [one["bn_eps"], one["padding"], one["mean"]] == [1e-3, "same", [0.5, 0.5, 0.5]]
    assert records["timm:mobilenetv3_large_100.miil_in21k"]["top1"] is None


def test_a_network_goes_up_and_comes_down(hub: Hub, tmp_path: Path):  # noqa: F811
    file = tmp_path / "mine.safetensors"
    Checkpoint.fresh(get_arch("v3_small", width=0.35, classes=2)).save(file)

    up = CliRunner().invoke(app, ["push", str(file), "me/mine", "--public"])
    down = CliRunner().invoke(app, ["pull", "me/mine", "--out", str(tmp_path / "there")])

    assert up.stdout == f"{hub.url}/me/mine\n"
    assert hub.private == {"me/mine": False}
    assert down.stdout == f"{tmp_path / 'there'}\n"
    assert (tmp_path / "there" / "model.safetensors").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [["pull", "me/none"], pytest.param(["push", "gone", "me/none"], marks=pytest.mark.full)],
)
def test_what_cannot_be_is_one_sentence_and_status_1(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))

    done = run(*arguments)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mobilenets: ")
    assert done.stderr.count("\n") == 1
