"""Training by two processes that torchrun starts: the first leads, the loss falls as by one
process, and one of them is killed."""

from __future__ import annotations

import contextvars
import csv
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
from mobilenets.errors import MobileNetsError, NoFitError
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.train import group, led, train
from mobilenets.train.hardware import precision
from mobilenets.train.loaders import PartSampler
from mobilenets.train.module import Learner
from tests.ddp_program import ARCH, NETWORK, digits, named, plain

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


def curve(run: Path) -> torch.Tensor:
    """The training and the holdout loss of each epoch (E, 2)."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [(row["train_loss"], row["holdout_loss"]) for row in csv.DictReader(file)]
    return torch.tensor([[float(value) for value in row] for row in rows])


@pytest.mark.slow
@pytest.mark.full
def test_the_loss_of_two_processes_falls_as_that_of_one(two: Path, tmp_path: Path):
    """Within a hundredth of it, at the same batch."""
    train(ARCH, digits(), plain(), folder=tmp_path)

    ours = curve(two / "plain")
    assert ours[0, 0] - ours[-1, 0] > 0.15
    torch.testing.assert_close(ours, curve(tmp_path), rtol=0.01, atol=0)


@pytest.mark.slow
def test_two_processes_are_one_that_normalizes_each_half_by_itself(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = Learner.loss

    def loss(module: Learner, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        halves = [whole(module, images[part::2], labels[part::2]) for part in (0, 1)]
        return (halves[0] + halves[1]) / 2

    monkeypatch.setattr(Learner, "loss", loss)
    train(ARCH, digits(), plain(), folder=tmp_path)

    ours, theirs = curve(two / "plain"), curve(tmp_path)
    torch.testing.assert_close(ours[:, 0], theirs[:, 0], rtol=1e-5, atol=0)
    # The statistics in evaluation are estimated from whole batches by either.
    torch.testing.assert_close(ours[:, 1], theirs[:, 1], rtol=1e-4, atol=0)


@pytest.mark.slow
def test_a_program_that_all_run_is_given_the_same_in_all(two: Path):
    """One step of twenty is planned from a timed trial; an error of ours is raised in each."""
    first, second = (torch.load(two / f"{rank}.pt", weights_only=True) for rank in (0, 1))

    torch.testing.assert_close(first.pop("weights"), second.pop("weights"), rtol=0, atol=0)
    assert first == second
    assert first["epochs"] == 1 / 20
    assert first["mean"] == 0.5
    assert first["nowhere"].startswith("there is nothing at /nowhere")
    assert first["alone"].startswith("torchrun started 2 processes")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/nowhere",), "there is nothing at /nowhere"),  # by the first alone
        pytest.param(  # in all
            ("digits", "--lr", "1e30"), "the training loss is nan in epoch", marks=pytest.mark.full
        ),
    ],
)
def test_an_error_is_told_once_and_ends_all(arguments: tuple[str, ...], said: str, tmp_path: Path):
    process = start("-m", "mobilenets", "train", NETWORK, *arguments, "--out", tmp_path / "run")
    out, err = process.communicate()

    assert process.returncode == 1
    assert out == ""
    assert [
        line[12 : 12 + len(said)] for line in err.splitlines() if line[:12] == "mobilenets: "
    ] == [said]


@pytest.mark.slow
@pytest.mark.full
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
    batches = torch.utils.data.BatchSampler(range(10, 22), batch_size=6, drop_last=True)

    assert list(PartSampler(batches, 0, 1)) == list(batches)
    assert list(PartSampler(batches, 0, 2)) == [[10, 12, 14], [16, 18, 20]]
    assert list(PartSampler(batches, 1, 2)) == [[11, 13, 15], [17, 19, 21]]


def test_each_process_draws_by_itself(monkeypatch: pytest.MonkeyPatch):
    module = Learner(MobileNet(ARCH), plain(), seed=3, total_steps=1)
    drawn = []
    for place in (0, 1):
        monkeypatch.setattr(Learner, "global_rank", place)
        module.start_epoch(2)
        drawn.append(torch.rand(4).tolist() + torch.rand(4, generator=module.generator).tolist())

    assert not set(drawn[0]) & set(drawn[1])


def test_batches_that_cannot_be_shared_evenly_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    launched(monkeypatch, 3)
    context = contextvars.copy_context()
    context.run(group._LEADS.set, True)

    with pytest.raises(
        MobileNetsError,
        match="batches of 64 images cannot be shared out evenly to 3 processes; start as many as "
        "divide 64",
    ):
        context.run(lambda: train(ARCH, digits(), plain(), folder=tmp_path))
    assert not list(tmp_path.iterdir())


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch):
    launched(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(MobileNetsError, match="2 processes were started on a machine with 1 GPUs"):
        group._backend()


def test_alone_nothing_is_asked_of_others():
    assert (group.rank(), group.size(), group.local_rank(), group.local_size()) == (0, 1, 0, 1)
    assert led(lambda: group.by_all(lambda: group.decided(lambda: 3)))() == 3
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
