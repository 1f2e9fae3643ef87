"""A state to resume from that is broken: gone on from the best epoch's, or said to be so."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mobilenets.archs import get_arch
from mobilenets.data import Images, load_images
from mobilenets.errors import FileError
from mobilenets.train import Limits, from_scratch, train
from mobilenets.train.module import Learner

ARCH = get_arch("mobilenet_v1", width=0.25, resolution=8, classes=10)
RECIPE = from_scratch(flip=False).limited(Limits(epochs=3))


class Killed(Exception):
    """As the power that goes."""


@pytest.fixture(scope="module")
def images() -> Images:
    images = load_images("digits")
    return replace(images, train=images.train[:64], holdout=images.holdout[:32])


class Trap:
    """A pickle that writes a file where it is executed."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("executed",)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def junk(file: Path) -> None:
    file.write_bytes(b"junk" * 100)


def plant(file: Path) -> None:
    file.write_bytes(pickle.dumps(Trap()))


def without(*keys: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        state = torch.load(file, weights_only=True)
        for key in keys:
            state[key] = None
        torch.save(state, file)

    return change


def other_shape(file: Path) -> None:
    state = torch.load(file, weights_only=True)
    name = next(iter(state["state_dict"]))
    state["state_dict"][name] = torch.zeros(3)
    torch.save(state, file)


def a_number(file: Path) -> None:
    torch.save(1.0, file)


BREAKS = {
    "cut short": truncate, "junk": junk, "planted": plant, "a number": a_number,
    "no optimizer": without("optimizer_states"), "no loops": without("loops"),
    "no callbacks": without("callbacks"), "another shape": other_shape,
}  # fmt: skip


@pytest.fixture
def killed(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training that was killed in its third epoch."""
    plain = Learner.start_epoch

    def start(module: Learner, epoch: int) -> None:
        if epoch == 2:
            raise Killed
        plain(module, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "start_epoch", start)
        with pytest.raises(Killed):
            train(ARCH, images, RECIPE, folder=tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.mark.slow
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_last_state_is_gone_on_from_the_best(
    images: Images, killed: Path, name: str, caplog: pytest.LogCaptureFixture
):
    BREAKS[name](killed / "last.ckpt")

    with caplog.at_level("WARNING", logger="mobilenets"):
        checkpoint = train(ARCH, images, RECIPE, folder=killed)

    [said] = [one.getMessage() for one in caplog.records if "broken" in one.getMessage()]
    assert said.startswith(f"the state to resume from is broken: {killed / 'last.ckpt'} (")
    assert said.endswith("going on from the epoch with the lowest holdout loss so far")
    assert checkpoint.training["epochs"] == 3
    assert not Path("executed").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut short", "no loops", "planted"])
def test_where_both_states_are_broken_a_restart_is_asked_for(
    images: Images, killed: Path, name: str
):
    for file in ("last.ckpt", "best.ckpt"):
        BREAKS[name](killed / file)
    before = {file.name: file.read_bytes() for file in killed.iterdir()}

    with pytest.raises(FileError, match=r"^the state to resume .*best\.ckpt .*with --restart$"):
        train(ARCH, images, RECIPE, folder=killed)
    assert {file.name: file.read_bytes() for file in killed.iterdir()} == before
    assert not Path("executed").exists()


@pytest.mark.slow
def test_a_broken_best_state_is_said_to_be_so_at_the_end(
    images: Images, killed: Path, monkeypatch: pytest.MonkeyPatch
):
    junk(killed / "best.ckpt")
    monkeypatch.setattr(
        "mobilenets.train.callbacks.WholeFiles.save_checkpoint", lambda *_, **__: None
    )

    with pytest.raises(FileError, match=r"the best epoch's weights are broken: .*best\.ckpt"):
        train(ARCH, images, RECIPE, folder=killed)
