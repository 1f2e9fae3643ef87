"""Where a training's first weights come from: published, from a file, carried over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from mobilenets.archs import get_arch, keep_resolution
from mobilenets.archs.published_weights import Published
from mobilenets.data import Images, load_images
from mobilenets.errors import ArchError, FileError
from mobilenets.nn import Checkpoint, surgery
from mobilenets.nn.pretrained import load
from mobilenets.train import Recipe, fine_tune, starting_point, train

ARCH = keep_resolution(get_arch("mobilenet_v1", width=0.25, resolution=8, classes=10), 4)


@pytest.fixture(scope="module")
def digits() -> Images:
    images = load_images("digits")
    return replace(images, train=images.train[:160], holdout=images.holdout[:32])


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Published]:
    """Random weights stand in for every published file; which were asked for."""
    asked: list[Published] = []

    def fetch(one: Published) -> Path:
        asked.append(one)
        torch.manual_seed(0)
        if one.source == "torchvision":
            model = getattr(torchvision.models, one.model)()
        else:
            model = timm.create_model(one.model)
        path = tmp_path / "random.safetensors"
        save_file(model.state_dict(), path)
        return path

    monkeypatch.setattr(load, "fetch", fetch)
    return asked


def test_published_weights_of_this_width_are_taken_with_their_conventions(
    published: list[Published],
):
    asked = get_arch("mobilenet_v3_small", width=0.5, resolution=64)

    start = starting_point("timm", asked)

    assert published[0].name == "timm:mobilenetv3_small_050.lamb_in1k"
    assert (start.arch.width, start.arch.rule, start.arch.bn_eps) == (0.5, "timm", 1e-5)
    assert start.arch.resolution == 64
    assert start.labels[0] == "tench"
    assert start.network()(torch.zeros(1, 3, 64, 64))["logits"].shape == (1, 1000)


@pytest.mark.parametrize(
    ("width", "origin"), [(0.6, "mobilenetv3_small_075"), (0.75, "mobilenetv3_small_075"),
                          (0.8, "mobilenetv3_small_100"), (1.25, "mobilenetv3_small_100")],
)  # fmt: skip
def test_a_width_nobody_published_starts_from_the_nearest_wider(
    published: list[Published], width: float, origin: str
):
    asked = get_arch("mobilenet_v3_small", width=width, resolution=64)

    start = starting_point("timm", asked)

    assert published[0].model in (origin, f"tf_{origin}")
    assert start.arch.width == width
    assert start.arch.bn_eps == published[0].bn_eps
    assert start.arch.padding == published[0].padding
    assert ("surgery" in start.training) is (width != published[0].width)
    assert start.network()(torch.zeros(1, 3, 64, 64))["logits"].shape == (1, 1000)


def test_carried_over_the_strongest_filters_stay(published: list[Published]):
    asked = get_arch("mobilenet_v2", width=0.6, resolution=64)

    start = starting_point("torchvision", asked)

    wide = load.read_published(published[0], load.fetch(published[0])).weights
    stem, depthwise = wide["rows.0.conv.weight"], wide["rows.1.depthwise.conv.weight"]
    # A channel of the stem goes with its depthwise filter; make_divisible(32 * 0.6) is 24.
    norms = stem.square().sum((1, 2, 3)) + depthwise.square().sum((1, 2, 3))
    kept = norms.topk(24).indices.sort().values
    torch.testing.assert_close(start.weights["rows.0.conv.weight"], stem[kept], rtol=0, atol=0)


def test_a_file_of_ours_of_another_width_is_carried_over(tmp_path: Path):
    wide = keep_resolution(get_arch("mobilenet_v1", width=0.5, resolution=8, classes=7), 4)
    checkpoint = replace(Checkpoint.fresh(wide, seed=1), mean=(0.1, 0.2, 0.3))
    checkpoint.save(tmp_path / "wide.safetensors")

    start = starting_point(tmp_path / "wide.safetensors", ARCH)

    by_hand = surgery(checkpoint, ARCH.with_classes(7))
    torch.testing.assert_close(dict(start.weights), dict(by_hand.weights), rtol=0, atol=0)
    assert start.mean == (0.1, 0.2, 0.3)
    assert start.arch == by_hand.arch


def test_v3_small_gains_an_addition_at_half_its_width(tmp_path: Path):
    Checkpoint.fresh(get_arch("mobilenet_v3_small", resolution=32)).save(tmp_path / "1.safetensors")
    asked = get_arch("mobilenet_v3_small", width=0.5, resolution=32)

    start = starting_point(tmp_path / "1.safetensors", asked)

    assert start.arch.rows == asked.rows


def test_a_file_of_ours_is_taken_at_another_resolution_and_stride(tmp_path: Path):
    checkpoint = Checkpoint.fresh(ARCH, seed=1)
    checkpoint.save(tmp_path / "ours.safetensors")
    asked = get_arch("mobilenet_v1", width=0.25, resolution=64)

    start = starting_point(tmp_path / "ours.safetensors", asked)

    assert (start.arch.resolution, start.arch.output_stride) == (64, 32)
    assert start.preprocess["resolution"] == 64
    torch.testing.assert_close(dict(start.weights), dict(checkpoint.weights), rtol=0, atol=0)


@pytest.mark.parametrize("width", [0.5, 0.4])
def test_another_librarys_file_is_tried_at_the_widths_it_publishes(tmp_path: Path, width: float):
    save_file(timm.create_model("mobilenetv2_050").state_dict(), tmp_path / "mine.safetensors")

    start = starting_point(tmp_path / "mine.safetensors", get_arch("mobilenet_v2", width=width))

    assert start.arch.width == width
    assert ("surgery" in start.training) is (width != 0.5)


def test_another_network_is_refused(tmp_path: Path):
    Checkpoint.fresh(get_arch("mobilenet_v2", resolution=32)).save(tmp_path / "v2.safetensors")

    with pytest.raises(ArchError, match="holds weights of mobilenet_v2, not of mobilenet_v1"):
        starting_point(tmp_path / "v2.safetensors", ARCH)


def test_a_network_with_other_rows_is_refused(tmp_path: Path):
    other = Checkpoint.fresh(replace(ARCH, rows=ARCH.rows[:5] + ARCH.rows[6:]))
    other.save(tmp_path / "short.safetensors")

    with pytest.raises(ArchError, match="a mobilenet_v1 with 13 rows instead of 14; carry them"):
        starting_point(tmp_path / "short.safetensors", ARCH)


@pytest.mark.parametrize("words", ["nothing.safetensors", "photos.jpg"])
def test_what_is_no_weights_is_refused(words: str):
    with pytest.raises(FileError, match="weights come from torchvision, timm, keras"):
        starting_point(words, ARCH)


def test_weights_that_nobody_published_are_refused():
    with pytest.raises(ArchError, match="no weights are published as torchvision for mobilenet_v1"):
        starting_point("torchvision", ARCH)


def nothing_learns(epochs: int = 1) -> Recipe:
    return replace(
        fine_tune(), epochs=epochs, minutes=None, learning_rate=1e-12, weight_decay=0.0,
        batch_norm="frozen",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_the_classifier_is_kept_where_the_classes_are_the_same(
    digits: Images, tmp_path: Path, same: bool
):
    start = Checkpoint.fresh(ARCH, seed=2)
    if not same:
        start = replace(start, labels=tuple("abcdefghij"))

    found = train(ARCH, digits, nothing_learns(), folder=tmp_path, start=start)

    last = "head.classifier.linear.weight"
    assert torch.allclose(found.weights[last], start.weights[last], rtol=1e-6) is same
    assert found.labels == digits.task.labels


@pytest.mark.slow
def test_the_images_are_normalized_as_the_start_wants_them(digits: Images, tmp_path: Path):
    start = replace(Checkpoint.fresh(ARCH), mean=(0.5, 0.5, 0.5), training={"weights": "timm:x"})

    found = train(ARCH, digits, nothing_learns(), folder=tmp_path, start=start)

    assert found.mean == (0.5, 0.5, 0.5)
    assert found.training["start"] == {"weights": "timm:x"}
