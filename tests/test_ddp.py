"""Training by two processes that torchrun starts: as by one, and when one of them is killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets.commands.train import train_named
from mobilenets.data import Part, PartSampler
from mobilenets.errors import MobileNetsError, NoFitError
from mobilenets.nn import Checkpoint
from mobilenets.processes import group
from mobilenets.train import train
from mobilenets.train.hardware import precision
from tests import ddp_program
from tests.ddp_program import ARCH, NETWORK, RECIPES, digits, named, recipe, trained

TORCHRUN = (
    sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
)  # fmt: skip
TRAIN = ("-m", "mobilenets", "train", NETWORK, "digits", "--epochs", "4", "--no-flip", "--json")


def start(*arguments: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*TORCHRUN, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes did: `ddp_program.main`."""
    folder = tmp_path_factory.mktemp("two")
    process = start("-m", "tests.ddp_program", folder)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return folder


def found(two: Path, rank: int) -> Any:
    return torch.load(two / f"{rank}.pt", weights_only=True)


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_as_one_does(two: Path, tmp_path: Path, name: str):
    """Losses within 1e-4 over 50 steps at the same batch."""
    losses, checkpoint = trained(name, tmp_path)

    ours = [found(two, rank) for rank in (0, 1)]
    means = torch.tensor([one["losses"][name] for one in ours]).mean(0)
    assert len(losses) == len(means) == 60
    torch.testing.assert_close(means[:50], torch.tensor(losses[:50]), rtol=0, atol=1e-4)
    for key, weight in checkpoint.weights.items():
        assert torch.equal(ours[0]["weights"][name][key], ours[1]["weights"][name][key])
        if weight.ndim > 1:
            assert far(ours[0]["weights"][name][key], weight) < 0.01, key


@pytest.mark.slow
def test_a_shared_batch_norm_is_batch_norm_of_the_whole_batch(two: Path):
    """Torch's own, on batches of 7 of which one process had 3 images."""
    for number, momentum in enumerate((0.1, None)):
        x, weights = ddp_program.batch()
        norm = torch.nn.BatchNorm2d(3, momentum=momentum)
        y, x_grad, *kept = ddp_program.normalised(norm, x, weights)

        first, second = (found(two, rank)["norms"][number] for rank in (0, 1))
        close = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(torch.cat([first[0], second[0]]), y, **close)
        torch.testing.assert_close(torch.cat([first[1], second[1]]), x_grad, **close)
        torch.testing.assert_close(first[2:4], kept[:2], rtol=1e-5, atol=1e-6)
        summed = [one + other for one, other in zip(first[4:], second[4:], strict=True)]
        torch.testing.assert_close(summed, kept[2:], **close)


@pytest.mark.slow
def test_what_one_decides_holds_for_all(two: Path):
    """Epochs planned from a timed trial, one step of twenty, and an error, which each raises."""
    both = [found(two, rank) for rank in (0, 1)]

    assert both[0]["epochs"] == both[1]["epochs"] == 1 / 20
    assert both[0]["error"] == both[1]["error"]
    assert "there is nothing at /nowhere" in both[0]["error"]


@pytest.mark.slow
def test_one_of_two_is_killed_and_the_same_command_goes_on(two: Path, tmp_path: Path):
    """With two processes again to the bit, and with one."""
    cut, alone = tmp_path / "cut", tmp_path / "alone"
    said = killed(cut)  # nothing where torchrun ends the first process before it can speak
    assert len(said) <= 1
    for one in said:
        assert re.search(r" in epoch \d of 4; the same command goes on after the last whole", one)
    assert not (cut / "trained.safetensors").exists()
    shutil.copytree(cut, alone)

    again = start(*TRAIN, "--out", cut)
    out, progress = again.communicate()
    train_named(named(alone))

    assert again.returncode == 0, progress
    assert "epoch 1/4" not in progress  # the second may have been saved when the kill came
    assert progress.count("epoch 4/4") == out.count('"top1"') == 1
    whole, resumed, other = (
        Checkpoint.load(folder / "trained.safetensors") for folder in (two / "named", cut, alone)
    )
    assert resumed.training == whole.training
    torch.testing.assert_close(dict(resumed.weights), dict(whole.weights), rtol=0, atol=0)
    assert other.training["epochs"] == whole.training["epochs"] == 4


def killed(folder: Path) -> list[str]:
    """Train there; after two epochs the second process is killed. What is said in sentences."""
    process = start(*TRAIN, "--out", folder)
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if "epoch 2/4" in line:
            os.kill(second(process.pid), signal.SIGKILL)
    out, _ = process.communicate()
    assert process.returncode == 1
    assert out == ""
    return [line for line in lines if line.startswith("mobilenets: ")]


def second(torchrun: int) -> int:
    """The process of rank 1 among torchrun's children."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    ranks = {
        int(child): b"\0RANK=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes()
        for child in children
    }
    return next(child for child, is_second in ranks.items() if is_second)


# What needs no second process


def launched(monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    for name, value in (("RANK", 0), ("LOCAL_RANK", 0)):
        monkeypatch.setenv(name, str(value))
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, str(processes))


def test_the_parts_of_a_batch_make_the_batch():
    parts = [Part(rank, 3).places(16) for rank in range(3)]

    assert [place for part in parts for place in part] == list(range(16))
    assert {len(part) for part in parts} == {5, 6}


@pytest.mark.parametrize("overlap", [0, 1])
def test_a_part_of_what_was_drawn_for_a_batch_is_that_of_its_images(overlap: int):
    draws = torch.arange(32).reshape(2, 16)

    for rank in range(3):
        part = Part(rank, 3, overlap)
        expected = draws[:, part.places(16)]
        assert torch.equal(part.of(draws, dim=1), expected)
        assert torch.equal(part.of(draws[1]), expected[1])


def test_an_image_comes_with_the_one_it_is_blended_with():
    batches = torch.utils.data.BatchSampler(range(10, 22), batch_size=6, drop_last=True)

    assert list(PartSampler(batches, Part(0, 2, overlap=1))) == [[15, 10, 11, 12], [21, 16, 17, 18]]
    assert list(PartSampler(batches, Part(1, 2, overlap=1))) == [[12, 13, 14, 15], [18, 19, 20, 21]]
    assert Part(0, 2, overlap=1).whole(4) == 6


def test_batches_that_cannot_be_shared_evenly_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    launched(monkeypatch, 3)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)

    with pytest.raises(
        MobileNetsError,
        match="batches of 64 images cannot be shared out evenly to 3 processes; start as many as "
        "divide 64",
    ):
        train(ARCH, digits(), recipe("from_scratch"), folder=tmp_path)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch):
    launched(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(MobileNetsError, match="2 processes were started on a machine with 1 GPUs"):
        group._backend()


def test_alone_nothing_is_asked_of_others():
    assert (group.rank(), group.size(), group.local_rank(), group.local_size()) == (0, 1, 0, 1)
    assert group.decided(lambda: 3) == 3
    assert group.gathered(3) == [3]


def test_an_error_of_ours_arrives_whole_in_another_process():
    import pickle

    error = NoFitError("no network fits", binding_limit="macs", nearest={"name": "v1"})
    other = pickle.loads(pickle.dumps(error))

    assert (str(other), other.binding_limit, other.nearest) == (
        "no network fits", "macs", {"name": "v1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (("cpu", True, True), "32-true"),
        (("mps", True, True), "32-true"),
        (("cuda", True, True), "bf16-mixed"),
        (("cuda", True, False), "16-mixed"),
        (("cuda", False, True), "32-true"),
    ],
)
def test_only_nvidias_gpus_compute_in_mixed_precision(given: tuple[str, bool, bool], word: str):
    device, mixed, has_bf16 = given

    assert precision(device, mixed=mixed, has_bf16=has_bf16) == word
