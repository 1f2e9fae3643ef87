from __future__ import annotations

import csv
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mobilenets.archs import get_arch, keep_resolution
from mobilenets.data import Augment, Images, load_images
from mobilenets.errors import FileError, FolderTaken, MobileNetsError
from mobilenets.files import read_json
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.train import Limits, Recipe, fine_tune, from_scratch, plan, train, trainer
from mobilenets.train.deadline import TimeLeft
from mobilenets.train.going_on import claim_training
from mobilenets.train.module import Learner
from mobilenets.train.optimize import rate_factor

ARCH = keep_resolution(get_arch("mobilenet_v1", width=0.25, resolution=8, classes=10), 4)


@pytest.fixture(scope="module")
def digits() -> Images:
    images = load_images("digits")
    return replace(images, train=images.train[:320], holdout=images.holdout[:64])


def recipe(epochs: int) -> Recipe:
    return from_scratch(flip=False).limited(Limits(epochs=epochs))


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


def test_the_learning_rate_rises_in_a_line_and_falls_along_half_a_cosine():
    factors = [rate_factor(step, 100, recipe(10)) for step in (0, 5, 10, 55, 100)]

    assert factors == pytest.approx([0.04, 0.52, 1.0, 0.5, 0.0])


def test_small_sets_get_smaller_batches_and_a_lower_rate():
    given = recipe(1)

    assert given.for_images(50_000).batch_size == 128
    small = given.for_images(1300)
    assert small.batch_size == 64
    assert small.learning_rate == pytest.approx(given.learning_rate / math.sqrt(2))


def test_the_first_loss_is_the_logarithm_of_the_classes():
    arch = get_arch("mobilenet_v3_small", resolution=32, classes=10)
    module = Learner(
        MobileNet(arch), replace(recipe(1), augment=Augment.none()), seed=0, total_steps=1
    )
    images = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)

    loss = module.train().loss(images, torch.arange(32) % 10)

    assert loss.item() == pytest.approx(math.log(10), rel=0.02)


def test_one_batch_can_be_overfitted():
    torch.manual_seed(0)
    given = replace(recipe(1), augment=Augment.none(), label_smoothing=0.0)
    module = Learner(MobileNet(ARCH), given, seed=0, total_steps=60).train()
    module.start_epoch(0)
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(20) % 10
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3)
    for _ in range(60):
        optimizer.zero_grad()
        module.loss(images, labels).backward()
        optimizer.step()

    assert module.loss(images, labels).item() < 0.1


def test_an_epochs_randomness_follows_from_the_seed_and_its_number():
    def draws(seed: int, epoch: int) -> list[float]:
        module = Learner(MobileNet(ARCH), recipe(1), seed=seed, total_steps=1)
        module.start_epoch(epoch)
        return [torch.rand(()).item(), torch.rand((), generator=module.generator).item()]

    assert draws(0, 1) == draws(0, 1)
    for other in (draws(0, 2), draws(1, 1)):
        assert not set(other) & set(draws(0, 1))


def test_batch_norm_and_biases_do_not_decay():
    module = Learner(MobileNet(ARCH), recipe(1), seed=0, total_steps=1)
    decayed, free = module.configure_optimizers()["optimizer"].param_groups

    assert decayed["weight_decay"] == recipe(1).weight_decay
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert free["weight_decay"] == 0
    assert all(parameter.ndim == 1 for parameter in free["params"])


@pytest.mark.slow
def test_a_run_stopped_after_an_epoch_and_called_again_is_the_same_to_the_bit(
    digits: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = train(ARCH, digits, recipe(3), folder=tmp_path / "whole")

    def stop(module: Learner) -> None:
        if module.current_epoch == 1:
            raise MemoryError("killed")
        module.start_epoch(module.current_epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "on_train_epoch_start", stop)
        with pytest.raises(MemoryError):
            train(ARCH, digits, recipe(3), folder=tmp_path / "cut")
    resumed = train(ARCH, digits, recipe(3), folder=tmp_path / "cut")

    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    assert len(metrics(tmp_path / "cut")) == 3
    torch.testing.assert_close(dict(resumed.weights), dict(whole.weights), rtol=0, atol=0)


@pytest.mark.slow
def test_another_training_in_the_same_folder_is_refused_and_what_is_there_stays(
    digits: Images, tmp_path: Path
):
    first = train(ARCH, digits, recipe(1), folder=tmp_path, seed=0)
    other = replace(recipe(1), learning_rate=0.01)

    with pytest.raises(FolderTaken, match="holds another training, of other seed; give another --"):
        train(ARCH, digits, recipe(1), folder=tmp_path, seed=1)
    with pytest.raises(FolderTaken, match="holds another training, of other recipe; give another"):
        train(ARCH, digits, other, folder=tmp_path)
    again = train(ARCH, digits, recipe(1), folder=tmp_path, seed=0)
    torch.testing.assert_close(dict(again.weights), dict(first.weights), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_with_more_epochs_it_goes_on_from_the_last_one(
    digits: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
):
    """Whether it was done or stopped; and then with fewer than were planned, if not than there
    are."""

    def stop(module: Learner) -> None:
        if module.current_epoch == 2:
            raise MemoryError("killed")
        module.start_epoch(module.current_epoch)

    with monkeypatch.context() as patch:
        if stopped:
            patch.setattr(Learner, "on_train_epoch_start", stop)
            with pytest.raises(MemoryError):
                train(ARCH, digits, recipe(9), folder=tmp_path)
        else:
            train(ARCH, digits, recipe(2), folder=tmp_path)
    before = metrics(tmp_path)
    longer = train(ARCH, digits, recipe(4), folder=tmp_path)

    assert metrics(tmp_path)[:2] == before
    assert len(metrics(tmp_path)) == longer.training["epochs"] == 4
    assert float(metrics(tmp_path)[3]["learning_rate"]) == pytest.approx(0, abs=1e-6)
    with pytest.raises(FolderTaken, match="holds a training of 4 epochs, and 3 are fewer; give an"):
        train(ARCH, digits, recipe(3), folder=tmp_path)
    again = train(ARCH, digits, recipe(4), folder=tmp_path)
    torch.testing.assert_close(dict(again.weights), dict(longer.weights), rtol=0, atol=0)


@pytest.mark.slow
def test_a_run_whose_folder_was_moved_goes_on_there(digits: Images, tmp_path: Path):
    train(ARCH, digits, recipe(2), folder=tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")

    again = train(ARCH, digits, recipe(2), folder=tmp_path / "there")
    longer = train(ARCH, digits, recipe(3), folder=tmp_path / "there")

    assert again.training["epochs"] == 2
    losses = [float(row["holdout_loss"]) for row in metrics(tmp_path / "there")]
    assert longer.training["holdout_loss"] == pytest.approx(min(losses))
    assert not (tmp_path / "here").exists()


@pytest.mark.slow
def test_with_more_minutes_it_goes_on_and_with_fewer_it_ends_as_it_is(
    digits: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An epoch takes 20 s, its evaluation 1 s."""
    monkeypatch.setattr(plan, "_seconds", lambda trial, loaders, within: (1.0, 1.0))

    def minutes(epochs: int) -> Recipe:
        return from_scratch(flip=False).limited(Limits(minutes=(21.5 * epochs) / 60))

    train(ARCH, digits, minutes(2), folder=tmp_path)
    before = metrics(tmp_path)
    longer = train(ARCH, digits, minutes(3), folder=tmp_path)
    shorter = train(ARCH, digits, minutes(1), folder=tmp_path)

    assert len(before) == 2
    assert metrics(tmp_path)[:2] == before
    assert longer.training["epochs"] == shorter.training["epochs"] == 3
    torch.testing.assert_close(dict(shorter.weights), dict(longer.weights), rtol=0, atol=0)


def test_a_network_without_a_state_to_go_on_from_is_not_written_over(tmp_path: Path):
    claim_training(tmp_path, {"recipe": asdict(recipe(2)), "seed": 0})
    claim_training(tmp_path, {"recipe": asdict(recipe(3)), "seed": 0})  # nothing is there yet
    (tmp_path / "trained.safetensors").touch()

    with pytest.raises(
        FolderTaken,
        match=r"of another length and no last\.ckpt to go on from; .*, or --restart.*--weights",
    ):
        claim_training(tmp_path, {"recipe": asdict(recipe(4)), "seed": 0})


@pytest.mark.slow
def test_minutes_plan_the_epochs_once_and_say_how_many_are_left_out(
    digits: Images, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    given = from_scratch(flip=False).limited(Limits(minutes=1e-6))

    with caplog.at_level("INFO"):
        checkpoint = train(ARCH, digits, given, folder=tmp_path)

    all_epochs = given.epochs * read_json(tmp_path / "plan.json")["seconds_per_epoch"]
    batch = checkpoint.training["recipe"]["batch_size"]
    seen = batch / len(digits.train)
    assert checkpoint.training["epochs"] == seen
    assert (
        f"{seen} of the recipe's {given.epochs} epochs fit into 1e-06 minutes; all of them take "
        f"{math.ceil(all_epochs / 60)}"
    ) in caplog.messages


@pytest.mark.slow
def test_an_epoch_that_does_not_fit_into_the_minutes_is_of_as_many_images_as_do(
    digits: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A step of 1 s, an evaluation of 2 s: in 9 s seven steps of the epoch's twenty."""
    monkeypatch.setattr(plan, "_seconds", lambda trial, loaders, within: (1.0, 2.0))
    monkeypatch.setattr(trainer, "TimeLeft", lambda seconds: TimeLeft(seconds, lambda: 0.0))
    steps: list[int] = []
    monkeypatch.setattr(
        Learner, "on_train_batch_end", lambda module, *_: steps.append(module.global_step)
    )
    given = from_scratch(flip=False).limited(Limits(minutes=9 / 60))

    checkpoint = train(ARCH, digits, given, folder=tmp_path)

    assert steps == list(range(1, 8))
    assert checkpoint.training["epochs"] == 0.35
    assert checkpoint.training["batch_norm"]["reestimated"] == "few steps"


@pytest.mark.slow
def test_fine_tuning_starts_from_the_given_weights(digits: Images, tmp_path: Path):
    start = Checkpoint.fresh(ARCH.with_classes(3), seed=7)
    given = fine_tune(flip=False).limited(Limits(epochs=1))

    checkpoint = train(ARCH, digits, given, folder=tmp_path, start=start)

    name = "rows.1.depthwise.conv.weight"
    near = (checkpoint.weights[name] - start.weights[name]).norm() / start.weights[name].norm()
    assert near < 0.2
    assert checkpoint.weights["head.classifier.linear.weight"].shape[0] == 10


def test_a_start_of_another_width_is_refused(digits: Images, tmp_path: Path):
    start = Checkpoint.fresh(get_arch("mobilenet_v1", width=0.5, resolution=8))

    with pytest.raises(FileError, match=r"starting checkpoint is of mobilenet_v1_0\.5_8"):
        train(ARCH, digits, recipe(1), folder=tmp_path, start=start)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"epochs": 1, "minutes": 1}, "epochs and minutes are both given"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"minutes": -1}, "minutes must be a positive number, got -1"),
    ],
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, int], message: str):
    with pytest.raises(MobileNetsError, match=message):
        Limits(**limits)


def test_the_validation_images_never_meet_training(digits: Images):
    used = np.concatenate([digits.train, digits.holdout])

    assert not set(used.tolist()) & set(digits.val.tolist())
