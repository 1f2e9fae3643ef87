"""Batch norm's statistics: estimated anew where they lag, left alone where they are to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv2d

from mobilenets.archs import get_arch, keep_resolution
from mobilenets.data import Images, Preprocess, decode, load_images
from mobilenets.nn import Checkpoint, MobileNet, surgery
from mobilenets.train import Recipe, fine_tune, from_scratch, train
from mobilenets.train.norm import lags

ARCH = keep_resolution(get_arch("mobilenet_v1", width=0.25, resolution=8, classes=10), 4)
WIDE = keep_resolution(get_arch("mobilenet_v1", width=0.5, resolution=8, classes=10), 4)
MEAN, VARIANCE = "rows.0.norm.running_mean", "rows.0.norm.running_var"


@pytest.fixture(scope="module")
def digits() -> Images:
    images = load_images("digits")
    return replace(images, train=images.train[:160], holdout=images.holdout[:32])


def short(recipe: Recipe, epochs: int = 1, **changes: object) -> Recipe:
    return replace(recipe, epochs=epochs, minutes=None, **changes)


def first_statistics(checkpoint: Checkpoint, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of what the first convolution gives for all the training images as an
    evaluation sees them: by hand, from the weights that were kept."""
    pixels = decode(images, images.train, Preprocess(checkpoint.arch.resolution)).float() / 255
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (checkpoint.mean, checkpoint.std))
    stride = checkpoint.arch.rows[0].stride
    weight = checkpoint.weights["rows.0.conv.weight"]
    values = conv2d((pixels - mean) / std, weight, stride=stride, padding=1)
    return values.mean((0, 2, 3)), values.var((0, 2, 3))


def assert_estimated(checkpoint: Checkpoint, images: Images) -> None:
    mean, variance = first_statistics(checkpoint, images)
    torch.testing.assert_close(checkpoint.weights[MEAN], mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(checkpoint.weights[VARIANCE], variance, rtol=0.05, atol=1e-5)


@pytest.mark.slow
def test_after_few_steps_they_are_those_of_the_training_images(digits: Images, tmp_path: Path):
    checkpoint = train(ARCH, digits, short(from_scratch(flip=False)), folder=tmp_path)

    assert_estimated(checkpoint, digits)
    assert checkpoint.training["batch_norm"] == {
        "statistics": "train", "reestimated": "few steps", "images": 160,
    }  # fmt: skip


@pytest.mark.slow
def test_averaged_weights_have_their_own(digits: Images, tmp_path: Path):
    """With a momentum of 1 the running ones never lag: only the average makes it needed."""
    given = short(from_scratch(flip=False), epochs=2, ema=0.8, bn_momentum=1.0)

    checkpoint = train(ARCH, digits, given, folder=tmp_path)

    assert_estimated(checkpoint, digits)
    assert checkpoint.training["batch_norm"]["reestimated"] == "averaged weights"


@pytest.mark.slow
def test_running_statistics_that_have_settled_are_kept(digits: Images, tmp_path: Path):
    given = short(from_scratch(flip=False), bn_momentum=1.0)

    checkpoint = train(ARCH, digits, given, folder=tmp_path)

    mean, _ = first_statistics(checkpoint, digits)
    assert (checkpoint.weights[MEAN] - mean).norm() > 0.01 * mean.norm()
    assert checkpoint.training["batch_norm"] == {"statistics": "train"}


@pytest.mark.parametrize(("steps", "momentum", "lagging"), [
    (99, 0.1, True), (100, 0.1, False), (999, 0.01, True), (1000, 0.01, False), (9, 1.0, True),
])  # fmt: skip
def test_they_lag_for_ten_times_the_inverse_momentum(steps: int, momentum: float, lagging: bool):
    assert lags(steps, momentum, MobileNet(ARCH)) is lagging


def test_the_networks_own_momentum_counts_where_the_recipe_has_none():
    assert lags(500, None, MobileNet(replace(ARCH, bn_momentum=0.01)))
    assert not lags(500, None, MobileNet(replace(ARCH, bn_momentum=0.1)))


@pytest.mark.slow
def test_small_batches_leave_those_of_the_start(digits: Images, tmp_path: Path):
    start = Checkpoint.fresh(ARCH, seed=3)

    checkpoint = train(ARCH, digits, short(fine_tune(), 2), folder=tmp_path, start=start)

    names = [name for name in start.weights if "running" in name]
    assert len(names) == 54  # 27 batch norms
    for name in names:
        assert torch.equal(checkpoint.weights[name], start.weights[name])
    assert checkpoint.training["batch_norm"] == {"statistics": "frozen"}
    assert not torch.equal(
        checkpoint.weights["rows.9.pointwise.norm.weight"],
        start.weights["rows.9.pointwise.norm.weight"],
    )


@pytest.mark.slow
def test_of_weights_that_were_carried_over_they_are_estimated_first(digits: Images, tmp_path: Path):
    start = surgery(Checkpoint.fresh(WIDE, seed=3), ARCH)
    still = short(fine_tune(), learning_rate=1e-12, weight_decay=0.0, batch_norm="frozen")

    checkpoint = train(ARCH, digits, still, folder=tmp_path, start=start)

    assert_estimated(checkpoint, digits)
    assert checkpoint.training["batch_norm"] == {
        "statistics": "frozen", "reestimated": "after surgery", "images": 160,
    }  # fmt: skip
