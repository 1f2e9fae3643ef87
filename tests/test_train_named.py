"""`mobilenets train`: what it tells, how it goes on after a kill, and how it fails."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.archs import cost, get_arch
from mobilenets.commands.train import Training, train_named
from mobilenets.data import load_images
from mobilenets.deliver import load
from mobilenets.deliver.predictor import evaluate
from mobilenets.errors import FolderTaken, MobileNetsError, TrainingDiverged
from mobilenets.nn import Checkpoint
from mobilenets.train import Limits
from mobilenets.train.module import Learner
from tests.three import three_digits

pytestmark = pytest.mark.slow
NAME = "mobilenet_v1_0.25_8_os4"
KEYS = (
    "name", "width", "resolution", "params", "macs", "top1", "epochs", "seconds",
    "images_per_second", "checkpoint",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred images of each of three digits."""
    return three_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of another width that has seen the images for an epoch."""
    folder = tmp_path_factory.mktemp("teacher")
    wide = "mobilenet_v1_0.5_8_os4"
    train_named(Training(wide, data, limits=Limits(epochs=1, flip=False), out=folder))
    return folder / "trained.safetensors"


def command(data: Path, out: Path, *more: str) -> list[str]:
    program = "from mobilenets.cli import main; main()"
    given = ["train", NAME, str(data), "--no-flip", "--out", str(out), "--json", *more]
    return [sys.executable, "-c", program, *given]


def run(*arguments: Any, before: Callable[[], None] | None = None) -> CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, preexec_fn=before
    )


def assert_same(one: Path, other: Path) -> Checkpoint:
    found = [Checkpoint.load(folder / "trained.safetensors") for folder in (one, other)]
    torch.testing.assert_close(dict(found[0].weights), dict(found[1].weights), rtol=0, atol=0)
    assert found[0].training == found[1].training
    return found[0]


def test_the_record_and_that_nothing_is_done_twice(data: Path, tmp_path: Path):
    given = Training(NAME, data, limits=Limits(epochs=2, flip=False), out=tmp_path)
    record = train_named(given)
    before = (tmp_path / "trained.safetensors").stat().st_mtime_ns
    again = train_named(given)

    arch, images = get_arch(NAME, classes=3), load_images(data)
    assert tuple(key for key in record if key in KEYS) == KEYS
    assert {"top1_interval", "balanced_accuracy", "learned", "spread", "start"} <= set(record)
    assert (record["name"], record["width"], record["resolution"]) == ("mobilenet_v1", 0.25, 8)
    assert (record["params"], record["macs"]) == (cost(arch).params, cost(arch).macs)
    assert record["top1"] == evaluate(load(tmp_path / "trained.safetensors"), images).top1
    assert record["epochs"] == 2
    with (tmp_path / "metrics.csv").open() as file:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    assert record["seconds"] == pytest.approx(seconds, abs=1e-3)
    assert record["images_per_second"] == pytest.approx(2 * len(images.train) / seconds, rel=1e-2)
    assert again == record
    assert (tmp_path / "trained.safetensors").stat().st_mtime_ns == before


def test_killed_with_everything_on_it_ends_as_if_nothing_had_happened(
    data: Path, teacher: Path, tmp_path: Path
):
    """TrivialAugment, mixup, cutmix, averaged weights, estimated statistics, a teacher, and a start
    of another width: the same weights to the bit."""
    more = (
        "--recipe", "modern", "--epochs", "6", "--teacher", str(teacher), "--weights", str(teacher),
    )  # fmt: skip
    process = subprocess.Popen(
        command(data, tmp_path / "cut", *more),
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 3/6" in line:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "trained.safetensors").exists()
    resumed = run(data, tmp_path / "cut", *more)
    whole = run(data, tmp_path / "whole", *more)

    assert "epoch 2/6" not in resumed.stderr
    assert "epoch 2/6" in whole.stderr
    same = assert_same(tmp_path / "cut", tmp_path / "whole")
    assert same.training["batch_norm"]["reestimated"] == "averaged weights"
    assert same.training["teacher"] is not None
    top1 = [json.loads(done.stdout)["top1"] for done in (resumed, whole)]
    assert tuple(key for key in json.loads(whole.stdout) if key in KEYS) == KEYS
    assert top1[0] == top1[1]


@pytest.mark.parametrize("epochs", [1, pytest.param(3, marks=pytest.mark.full)])
def test_fine_tuning_stopped_and_started_again_ends_alike(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
):
    """After one epoch the optimizer has no state of the body's weights yet; after three these are
    not those that the statistics, left alone since, were estimated for."""
    limits = Limits(epochs=8, flip=False)  # round(0.15 * 8) = 1 for the classifier

    def job(name: str) -> Training:
        return Training(NAME, data, weights=str(teacher), limits=limits, out=tmp_path / name)

    def stop(module: Learner) -> None:
        if module.current_epoch == epochs:
            raise MemoryError("killed")
        module.start_epoch(module.current_epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "on_train_epoch_start", stop)
        with pytest.raises(MemoryError):
            train_named(job("cut"))
    for name in ("cut", "whole"):
        train_named(job(name))

    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_a_loss_that_is_no_number_stops_with_advice(data: Path, tmp_path: Path):
    limits = Limits(epochs=3, flip=False, learning_rate=1e30)

    with pytest.raises(
        TrainingDiverged,
        match=r"the training loss is nan in epoch 1 at step \d+, at a learning rate of \S+; "
        r"start again with a lower one: the peak was 1e\+30, try --lr 2\.5e\+29",
    ):
        train_named(Training(NAME, data, limits=limits, out=tmp_path))
    assert not (tmp_path / "trained.safetensors").exists()


def test_a_disk_that_is_full_is_a_sentence_and_the_same_command_goes_on(data: Path, tmp_path: Path):
    """As a disk that holds no file over 500 kB."""

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    done = run(data, tmp_path, "--epochs", "1", before=small_disk)
    *progress, said = done.stderr.splitlines()

    assert (done.returncode, done.stdout) == (1, "")
    assert all(re.match(r" *\d+\.\d s  ", line) for line in progress)
    assert re.fullmatch(
        rf"mobilenets: cannot write {tmp_path}/\w+\.ckpt: file too large; make room there and run "
        "the same command again",
        said,
    )
    assert not list(tmp_path.glob(".*partial"))
    train_named(Training(NAME, data, limits=Limits(epochs=1, flip=False), out=tmp_path))
    assert (tmp_path / "trained.safetensors").exists()


def test_a_learning_rate_the_user_gives_is_the_one_that_trains(data: Path):
    """Though batches are smaller than the recipe's for so few images."""
    job = Training(NAME, data, limits=Limits(learning_rate=0.01))

    given = job.how.recipe_for(load_images(data), job.limits)

    assert given.batch_size == 16
    assert given.learning_rate == 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "mobilenet_v9"}, "no network is called 'mobilenet_v9'"),
        ({"recipe": "best"}, "no recipe is called 'best'"),
        ({"weights": "imagenet"}, "weights come from torchvision, timm, keras"),
        ({"teacher": Path("none.safetensors")}, "none.safetensors is not a checkpoint of mobilen"),
        ({"data": "/nowhere"}, "there is nothing at /nowhere"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], message: str, tmp_path: Path):
    given = {"name": NAME, "data": "digits", "out": tmp_path} | changes

    with pytest.raises(MobileNetsError, match=message):
        train_named(Training(**given))


def test_the_folder_is_named_after_data_and_network():
    assert Training("v2", "photos/cats", width=0.5).folder == Path("runs/cats-mobilenet_v2_0.5_224")


def test_the_same_images_elsewhere_go_on_and_other_images_or_options_are_refused(
    data: Path, tmp_path: Path
):
    def job(name: str, *, epochs: int = 1, **changes: Any) -> Training:
        limits = Limits(epochs=epochs, flip=False)
        return Training(NAME, tmp_path / name, limits=limits, out=tmp_path / "run", **changes)

    shutil.copytree(data, tmp_path / "a", copy_function=shutil.copyfile)
    train_named(job("a"))
    network = (tmp_path / "run" / "trained.safetensors").read_bytes()
    (tmp_path / "a").rename(tmp_path / "b")
    for path in (tmp_path / "b").rglob("*.png"):
        os.utime(path, (1, 1))
    train_named(job("b"))
    next((tmp_path / "b").rglob("*.png")).unlink()

    with pytest.raises(FolderTaken, match=r"holds a run on .*/b, whose files have changed since; "):
        train_named(job("b", epochs=2))
    with pytest.raises(FolderTaken, match="holds another run, of other network; give another --ou"):
        train_named(replace(job("b"), name="mobilenet_v1_0.5_8_os4"))
    with pytest.raises(FolderTaken, match="holds another run, of other seed; give another --out"):
        train_named(job("b", seed=1))
    assert (tmp_path / "run" / "trained.safetensors").read_bytes() == network
    train_named(job("b", restart=True))
    assert (tmp_path / "run" / "earlier/1/trained.safetensors").read_bytes() == network
    assert (tmp_path / "run" / "trained.safetensors").read_bytes() != network


def test_copies_of_noise_are_not_known_by_heart(tmp_path: Path):
    """Labels by chance: what is right more often than by chance has seen its validation images."""
    rng = np.random.default_rng(0)
    for pet in "ab":
        (tmp_path / "data" / pet).mkdir(parents=True)
        for number in range(15):
            image = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
            for copy in range(5):
                image.save(tmp_path / "data" / pet / f"{number} ({copy}).png")
    limits = Limits(epochs=30, flip=False)

    record = train_named(Training(NAME, tmp_path / "data", limits=limits, out=tmp_path / "run"))

    assert record["top1"] < 90
    assert (
        "120 of 150 images are there more than once"
        in (tmp_path / "run" / "images.json").read_text()
    )
