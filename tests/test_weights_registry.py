"""The published checkpoints as data, against what the libraries say of themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from math import floor
from pathlib import Path

import pytest
import timm
from torchvision.models import get_model_weights

from mobilenets.archs import at_resolution, cost, from_json, get_arch, keep_resolution, to_json
from mobilenets.archs.published_weights import PUBLISHED_WEIGHTS, Published, find_weights
from mobilenets.archs.variants import VARIANTS
from mobilenets.errors import ArchError


def of(source: str) -> dict[str, Published]:
    return {f"{one.model}.{one.tag}": one for one in PUBLISHED_WEIGHTS if one.source == source}


TORCHVISION = {
    f"{name}.{weights.name}": weights
    for name in ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
    for weights in get_model_weights(name)
}


def test_every_classifier_of_torchvision_is_there():
    assert of("torchvision").keys() == TORCHVISION.keys()


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_checkpoints_are_as_torchvision_says(name: str):
    ours, theirs = of("torchvision")[name], TORCHVISION[name]
    transform = theirs.transforms()
    (file,) = ours.files

    assert file.url == theirs.url
    assert file.checksum == f"sha256:{theirs.url[-12:-4]}"  # as torch.hub reads it from the name
    assert ours.top1 == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert cost(ours.arch).params == theirs.meta["num_params"]
    assert [ours.resolution, ours.short_side] == [*transform.crop_size, *transform.resize_size]
    assert ours.interpolation == transform.interpolation.value
    assert list(ours.mean) == list(transform.mean)
    assert list(ours.std) == list(transform.std)


TIMM = [
    *timm.list_pretrained("*mobilenetv[123]*"),
    *timm.list_pretrained("mobilenetv4_conv_[sml]*"),  # not its hybrids, nor the anti-aliased
    *timm.list_pretrained("*efficientnet_lite*"),
]


def test_every_classifier_of_timm_is_there():
    assert of("timm").keys() == set(TIMM)
    assert len(TIMM) == 41


@pytest.mark.parametrize("name", TIMM)
def test_timms_checkpoints_are_as_timm_says(name: str):
    ours, theirs = of("timm")[name], timm.get_pretrained_cfg(name)
    hub, *release = ours.files
    _, side, _ = theirs.input_size

    assert hub.url == f"https://huggingface.co/{theirs.hf_hub_id}/resolve/main/model.safetensors"
    assert [file.url for file in release] == ([theirs.url] if theirs.url else [])
    assert [file.checksum for file in release] == [f"sha256:{file.url[-12:-4]}" for file in release]
    assert [ours.resolution, ours.short_side] == [side, floor(side / theirs.crop_pct)]
    assert ours.interpolation == theirs.interpolation
    assert [ours.mean, ours.std] == [theirs.mean, theirs.std]
    assert ours.classes == theirs.num_classes


# Parameters in millions as timm publishes them, results/results-imagenet.csv.
@pytest.mark.parametrize(
    ("name", "millions"),
    [("mobilenet_v1_100h", 5.28), ("mobilenet_v2_110d", 4.52), ("mobilenet_v2_120d", 5.83),
     ("mobilenet_v3_large_150d", 14.62), ("mobilenet_v3_large_rw", 5.48)],
)  # fmt: skip
def test_timms_own_networks_have_the_parameters_timm_publishes(name: str, millions: float):
    assert round(cost(VARIANTS[name]).params / 1e6, 2) == millions


def test_a_network_of_timms_own_reads_back():
    for arch in VARIANTS.values():
        assert from_json(to_json(arch)) == arch


def test_keras_has_the_widths_and_sizes_that_are_published():
    grid = {}
    for one in of("keras").values():
        grid.setdefault(one.network, set()).add((one.width, one.resolution))

    assert len(of("keras")) == 44
    assert grid["mobilenet_v1"] == {
        (width, side) for width in (0.25, 0.5, 0.75, 1.0) for side in (128, 160, 192, 224)
    }
    assert grid["mobilenet_v2"] == {(1.3, 224), (1.4, 224)} | {
        (width, side) for width in (0.35, 0.5, 0.75, 1.0) for side in (96, 128, 160, 192, 224)
    }
    assert grid["mobilenet_v3_large"] == grid["mobilenet_v3_small"] == {(0.75, 224), (1.0, 224)}
    assert grid["mobilenet_v3_large_minimalistic"] == {(1.0, 224)}
    assert grid["mobilenet_v3_small_minimalistic"] == {(1.0, 224)}


@pytest.mark.parametrize(("source", "title"), [("timm", "timm"), ("keras", "Keras")])
def test_the_page_counts_them(source: str, title: str):
    path = Path(__file__).parents[1] / "docs" / "reference" / "weights.md"
    page = path.read_text(encoding="utf-8")

    assert f"| {title} | {len(of(source))} | " in page
    assert f"| torchvision | {len(of('torchvision'))} | " in page


def test_every_name_and_every_file_is_one_checkpoints():
    names = [one.name for one in PUBLISHED_WEIGHTS]
    files = [file.name for one in PUBLISHED_WEIGHTS for file in one.files]

    assert len(set(names)) == len(names) == 93
    assert len(set(files)) == len(files)
    assert all(re.fullmatch(r"[\w.-]+", file) for file in files)


@pytest.mark.parametrize("one", PUBLISHED_WEIGHTS, ids=lambda one: one.name)
def test_a_whole_name_finds_its_checkpoint(one: Published):
    assert find_weights(one.name) == one


@pytest.mark.parametrize(
    ("words", "network", "asked", "name"),
    [
        ("torchvision", "mobilenet_v2", {}, "mobilenet_v2.IMAGENET1K_V2"),
        ("torchvision:imagenet1k_v1", "v2", {}, "mobilenet_v2.IMAGENET1K_V1"),
        ("timm", "v3_large", {}, "mobilenetv3_large_100.miil_in21k_ft_in1k"),
        ("timm:lamb_in1k", "mobilenetv3_small_050", {}, "mobilenetv3_small_050.lamb_in1k"),
        ("timm:in1k", "v3_large", {"width": 0.75}, "tf_mobilenetv3_large_075.in1k"),
        ("timm", "tf_mobilenetv3_small_100", {}, "tf_mobilenetv3_small_100.in1k"),
        ("timm", "mobilenetv3_small_100", {}, "mobilenetv3_small_100.lamb_in1k"),
        ("timm", "mobilenet_v3_large_150d", {}, "mobilenetv3_large_150d.ra4_e3600_r256_in1k"),
        ("timm:mobilenetv2_120d", None, {}, "mobilenetv2_120d.ra_in1k"),
        ("keras", "MobileNetV2", {"width": 0.35, "resolution": 96}, "mobilenet_v2.0.35_96"),
        ("keras", "v2", {"width": 0.35, "resolution": 100}, "mobilenet_v2.0.35_96"),
        ("keras", "v2", {"width": 1.4, "resolution": 96}, "mobilenet_v2.1.4_224"),
        ("keras:0.5_160", "v1", {"width": 0.5}, "mobilenet_v1.0.5_160"),
        ("Keras", at_resolution(get_arch("v1"), 128), {}, "mobilenet_v1.1.0_128"),
        ("keras", keep_resolution(get_arch("v1", resolution=32), 8), {}, "mobilenet_v1.1.0_128"),
    ],
)
def test_words_and_a_network_find_a_checkpoint(words: str, network: str, asked: dict, name: str):
    found = find_weights(words, network, **asked)

    assert f"{found.model}.{found.tag}" == name


@pytest.mark.parametrize(
    ("words", "network", "asked", "message"),
    [
        (
            "jax",
            "v2",
            {},
            "weights come from torchvision, timm, keras, package, hf:OWNER/NAME or a",
        ),
        (
            "timm:ra9",
            "v2",
            {},
            "no weights are published as timm:ra9, only for efficientnet_lite0 1, ",
        ),
        ("torchvision", "v1", {}, "published as torchvision for mobilenet_v1, only for mobilenet_"),
        ("timm", "v2", {"width": 0.35}, "of width 0.35, only for mobilenet_v2 0.5, mobilenet_v2 1"),
        ("timm:lamb_in1k", None, {}, "is published for several networks .*: name the network"),
        ("timm", "mobilenet_v9", {}, "no network is called 'mobilenet_v9'"),
    ],
)
def test_what_is_not_published_is_refused(words: str, network: str, asked: dict, message: str):
    with pytest.raises(ArchError, match=message):
        find_weights(words, network, **asked)


def test_the_registry_loads_none_of_its_sources():
    program = (
        "import sys, mobilenets.archs.published_weights as weights;"
        "print([len([one.arch for one in weights.PUBLISHED_WEIGHTS])]);"
        "print({'torch', 'torchvision', 'timm', 'keras', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert run.stderr == ""
    assert run.stdout == "[93]\nset()\n"
