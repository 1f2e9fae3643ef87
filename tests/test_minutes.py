"""Minutes: what a whole fit leaves for its training, and a training that ends in time."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from mobilenets.archs import get_arch
from mobilenets.commands.allowance import Allowance, ending_minutes
from mobilenets.data import Images, MemoryPixels, load_images, whole
from mobilenets.nn import MobileNet
from mobilenets.train import from_scratch, plan, train, trainer
from mobilenets.train.deadline import TimeLeft
from mobilenets.train.module import Learner

ARCH = get_arch("mobilenet_v1", width=0.25, resolution=8, classes=10)


class Hands:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("spent_s", "ending", "left"),
    [
        (0, 0.0, 6.0),
        (48, 0.6, 4.6),
        (240, 1.0, 1.5),  # never less than a quarter
        (900, 1.0, 1.5),
    ],
)
def test_training_has_what_the_rest_leaves(spent_s: float, ending: float, left: float):
    clock = Hands()
    allowance = Allowance(6.0, 0.0, clock)

    clock.seconds = spent_s

    assert allowance.for_training(ending) == pytest.approx(left)


def test_without_minutes_there_is_no_limit(caplog: pytest.LogCaptureFixture):
    allowance = Allowance(None, 0.0, Hands())

    with caplog.at_level(logging.INFO):
        allowance.tell(allowance.for_training(1.0), 1.0)

    assert allowance.for_training(1.0) is None
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("spent_s", "said"),
    [
        (48, "--minutes 6: 0.8 spent so far, 4.6 for training, 0.6 left for export and verif"),
        (300, "0.6 left for export and verification, 1.1 more than asked"),
    ],
)
def test_it_is_said_beforehand_what_is_left(
    caplog: pytest.LogCaptureFixture, spent_s: float, said: str
):
    clock = Hands()
    allowance = Allowance(6.0, 0.0, clock)
    clock.seconds = spent_s

    with caplog.at_level(logging.INFO):
        allowance.tell(allowance.for_training(0.6), 0.6)

    assert said in caplog.text


def test_more_images_and_int8_take_longer_to_verify():
    few = ending_minutes(validation=100, holdout=50, latency_ms=5.0, int8=False)

    assert ending_minutes(validation=10_000, holdout=50, latency_ms=5.0, int8=False) > few + 2
    assert ending_minutes(validation=100, holdout=50, latency_ms=5.0, int8=True) > few + 0.5


@pytest.fixture(scope="module")
def digits() -> Images:
    images = load_images("digits")
    return replace(images, train=images.train[:320], holdout=images.holdout[:64])


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    """The clock of a training whose steps are planned to take a second each."""
    clock = Hands()
    monkeypatch.setattr(trainer, "TimeLeft", lambda seconds: TimeLeft(seconds, clock))
    monkeypatch.setattr(plan, "_seconds", lambda trial, loaders, within: (1.0, 0.0))
    return clock


def steps_take(
    seconds: list[float], hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, float]]:
    """Make each step take so long, the last again and again. The steps, with the learning rate
    that each was taken at."""
    taken: list[tuple[int, float]] = []

    def start(module: Learner, *_: object) -> None:
        rate = module.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        taken.append((module.global_step, rate))
        hands.seconds += seconds[min(len(taken), len(seconds)) - 1]

    monkeypatch.setattr(Learner, "on_train_batch_start", start)
    return taken


@pytest.mark.slow
def test_a_training_that_goes_as_planned_is_not_shortened(
    digits: Images, tmp_path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
):
    taken = steps_take([1.0], hands, monkeypatch)
    given = replace(from_scratch(flip=False), minutes=81 / 60)

    checkpoint = train(ARCH, digits, given, folder=tmp_path)

    assert len(taken) == 80  # four epochs of twenty steps
    assert checkpoint.training["epochs"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "most"),
    [
        pytest.param([1.5], 55, id="slower all along"),
        pytest.param([1.0] * 20 + [3.0], 41, id="slower after an epoch"),
        pytest.param([1.0] * 70 + [10.0], 72, id="slower in the last epoch"),
    ],
)
def test_on_a_machine_that_slows_down_the_training_ends_in_time(
    digits: Images,
    tmp_path: Path,
    hands: Hands,
    monkeypatch: pytest.MonkeyPatch,
    seconds: list[float],
    most: int,
):
    taken = steps_take(seconds, hands, monkeypatch)
    given = replace(from_scratch(flip=False), minutes=81 / 60)

    checkpoint = train(ARCH, digits, given, folder=tmp_path)

    assert most - 8 <= len(taken) <= most
    assert hands.seconds <= 81 + seconds[-1]
    assert checkpoint.training["epochs"] == float(f"{len(taken) / 20:.3g}")


@pytest.mark.slow
def test_a_shortened_training_still_comes_to_the_end_of_its_schedule(
    digits: Images, tmp_path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
):
    taken = steps_take([2.0], hands, monkeypatch)
    given = replace(from_scratch(flip=False), minutes=81 / 60)

    train(ARCH, digits, given, folder=tmp_path)

    peak = max(rate for _, rate in taken)
    assert len(taken) < 45
    assert taken[-1][1] < 0.05 * peak


@pytest.mark.slow
def test_minutes_that_are_left_now_do_not_change_what_a_run_is_known_by(
    digits: Images, tmp_path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
):
    taken = steps_take([1.0], hands, monkeypatch)
    given = replace(from_scratch(flip=False), minutes=81 / 60)

    one = train(ARCH, digits, given, folder=tmp_path, minutes=41 / 60)
    two = train(ARCH, digits, given, folder=tmp_path, minutes=5 / 60)

    assert len(taken) == 40
    assert two.training == one.training


def test_a_schedule_moves_on_faster_from_where_it_is_shortened():
    module = Learner(MobileNet(ARCH), from_scratch(flip=False), seed=0, total_steps=100)

    module.shorten_(40, 30)

    assert [module.position(step) for step in (0, 40, 55, 70)] == [0, 40, 70, 100]
    state: dict[str, object] = {}
    module.on_save_checkpoint(state)
    again = Learner(MobileNet(ARCH), from_scratch(flip=False), seed=0, total_steps=100)
    again.on_load_checkpoint(state)
    assert again.position(55) == 70


@pytest.mark.parametrize(
    ("words", "looked_at"),
    [
        ({}, 18),
        ({"ema": 0.99}, 18 + 158),
        ({"ema": 0.99, "batch_norm": "frozen"}, 18),
    ],
)
def test_an_evaluation_is_planned_by_the_images_there_are(
    words: dict[str, Any], looked_at: int, monkeypatch: pytest.MonkeyPatch
):
    """Of a step of 8 images each costs a third without its backward pass."""
    recipe = replace(from_scratch(), batch_size=8, **words)
    loaders = tuple(
        DataLoader(
            MemoryPixels(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), torch.zeros(count).long()),
            batch_size=8, collate_fn=whole,
        )
        for count in (158, 18)
    )  # fmt: skip
    clock = Hands()
    monkeypatch.setattr(plan.time, "perf_counter", clock)

    def second(*_: object) -> None:
        clock.seconds += 1

    monkeypatch.setattr(plan, "_step_", second)

    learner = Learner(MobileNet(ARCH), recipe, seed=0, total_steps=10)
    step, evaluation = plan._seconds(learner, loaders, within=100)

    assert step == 1
    assert evaluation == pytest.approx(looked_at / 8 / 3)
