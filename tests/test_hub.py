"""Push and pull, by huggingface_hub itself, against a stand-in of the Hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from mobilenets.archs import get_arch
from mobilenets.errors import ArchError, FileError
from mobilenets.nn import Checkpoint
from mobilenets.nn.pretrained import load_weights, pull, push
from tests.stand_in import Hub, block_the_network, serving

# huggingface_hub's own, of its HTTP client, while it uploads a large file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ARCH = get_arch("v3_small", width=0.35, resolution=64, classes=3)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    block_the_network(monkeypatch)
    with serving(Hub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
        # The library reads its settings when it is imported.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
        yield hub


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder: what is shared, and what is not."""
    folder = tmp_path / "run"
    folder.mkdir()
    Checkpoint.fresh(ARCH).save(folder / "trained.safetensors")
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "README.md").write_text("---\nlibrary_name: onnx\n---\n# Mine\n")
    (folder / "verdict.json").write_text("{}")
    (folder / "images.json").write_text('{"folder": "/home/me/secret"}')
    (folder / "last.ckpt").write_bytes(b"pickle")
    (folder / ".hidden.onnx").write_bytes(b"")
    return folder


SHARED = ["README.md", "model.onnx", "trained.safetensors", "verdict.json"]


def test_a_run_goes_up_without_pickles_and_without_what_it_was_trained_on(hub: Hub, run: Path):
    address = push(run, "me/digits")

    assert address == f"{hub.url}/me/digits"
    assert sorted(hub.repos["me/digits"]) == SHARED
    assert hub.private["me/digits"] is True
    assert all((run / name).read_bytes() == hub.repos["me/digits"][name] for name in SHARED)


def test_a_run_comes_down_as_it_went_up(hub: Hub, run: Path, tmp_path: Path):
    push(run, "me/digits", private=False)

    folder = pull("me/digits", tmp_path / "there")

    assert hub.private["me/digits"] is False
    assert folder == tmp_path / "there"
    assert sorted(path.name for path in folder.iterdir()) == [".pulled.json", *SHARED]
    assert all((folder / name).read_bytes() == (run / name).read_bytes() for name in SHARED)


@pytest.mark.parametrize("as_file", [True, False])
def test_a_checkpoint_goes_up_with_a_card_and_is_weights_elsewhere(
    hub: Hub, tmp_path: Path, as_file: bool
):
    checkpoint = Checkpoint.fresh(ARCH)
    path = tmp_path / "mine.safetensors"
    checkpoint.save(path)

    push(path if as_file else checkpoint, "me/small")
    loaded = load_weights("hf:me/small")

    assert sorted(hub.repos["me/small"]) == ["README.md", "model.safetensors"]
    card = hub.repos["me/small"]["README.md"].decode()
    assert "mobilenet_v3_small_0.35_64" in card
    assert "A MobileNet for classification (3 outputs)" in card
    assert loaded.arch == ARCH
    assert all(
        torch.equal(checkpoint.weights[name], loaded.weights[name]) for name in loaded.weights
    )


def test_the_card_of_a_network_for_attributes_says_so(hub: Hub):
    push(replace(Checkpoint.fresh(ARCH), task="attributes"), "me/faces")

    assert b"A MobileNet for attributes (3 outputs)" in hub.repos["me/faces"]["README.md"]


def test_another_network_than_the_one_asked_for_is_refused(hub: Hub):
    push(Checkpoint.fresh(ARCH), "me/small")

    assert load_weights("hf:me/small", "v3_small", width=0.35, classes=5).arch.classes == 5
    with pytest.raises(ArchError, match="hf:me/small holds weights of mobilenet_v3_small of width"):
        load_weights("hf:me/small", "v3_large")


def test_what_was_pulled_before_is_used_without_a_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    push(Checkpoint.fresh(ARCH), "me/small")
    load_weights("hf:me/small")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    assert load_weights("hf:me/small").arch == ARCH
    with pytest.raises(FileError, match=r"me/other could not be pulled into .*at http://127"):
        load_weights("hf:me/other")


def test_a_pulled_file_that_changed_is_refused_without_a_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    push(Checkpoint.fresh(ARCH), "me/small")
    load_weights("hf:me/small")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "cache" / "hub" / "me--small" / "model.safetensors").write_bytes(b"")

    with pytest.raises(
        FileError, match=r"model\.safetensors has changed since it was pulled; pull"
    ):
        load_weights("hf:me/small")


def test_a_broken_download_is_refused_and_the_old_files_stay(hub: Hub, run: Path, tmp_path: Path):
    push(run, "me/digits")
    folder = pull("me/digits", tmp_path / "there")
    hub.spoil = b"x"

    with pytest.raises(FileError, match=r"model\.onnx of me/digits is broken: its hash is .*, not"):
        pull("me/digits", folder)
    assert (folder / "model.onnx").read_bytes() == b"onnx"


def test_a_small_file_is_verified_too(hub: Hub, run: Path, tmp_path: Path):
    push(run, "me/digits")
    whole, name = hub._resolve, "verdict.json"

    def spoilt(repo: str, file: str):
        answer = whole(repo, file)
        if file == name:
            answer.body = b"[]"
        return answer

    hub._resolve = spoilt
    with pytest.raises(FileError, match=r"verdict\.json of me/digits is broken: its hash is"):
        pull("me/digits", tmp_path / "there")


def test_only_our_kinds_of_files_come_down(hub: Hub, tmp_path: Path):
    hub.repos["me/odd"] = {
        "model.safetensors": b"1", "pytorch_model.bin": b"2", "a.pkl": b"3", "sub/model.onnx": b"4",
        "../up.onnx": b"5",
    }  # fmt: skip

    folder = pull("me/odd", tmp_path / "there")

    assert sorted(path.name for path in folder.rglob("*")) == [".pulled.json", "model.safetensors"]


def test_a_repository_of_something_else_is_refused(hub: Hub, tmp_path: Path):
    hub.repos["me/text"] = {"pytorch_model.bin": b"2"}
    hub.repos["me/onnx"] = {"model.onnx": b"2"}

    with pytest.raises(FileError, match="me/text holds nothing of ours; is it the repository"):
        pull("me/text", tmp_path / "there")
    with pytest.raises(
        FileError, match=r"me/onnx holds no checkpoint of ours: none of model\.safe"
    ):
        load_weights("hf:me/onnx")


@pytest.mark.parametrize("repo", ["me/none", "not a name", "../../etc", ""])
def test_a_repository_that_is_not_there_is_a_sentence(hub: Hub, tmp_path: Path, repo: str):
    with pytest.raises(FileError, match=rf"^{repo} could not be pulled into .*; check the name"):
        pull(repo, tmp_path / "there")


def test_a_folder_that_is_no_run_is_not_pushed(hub: Hub, tmp_path: Path):
    with pytest.raises(FileError, match=r"neither a checkpoint \(\.safetensors\) nor a run folder"):
        push(tmp_path, "me/none")
    assert hub.asked == []


def test_a_push_that_the_hub_refuses_is_a_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(FileError, match=r"^the network could not be pushed to me/x at http://127"):
        push(Checkpoint.fresh(ARCH), "me/x")
