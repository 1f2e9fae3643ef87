"""torchvision's COCO detector in our network, and the mAP expected of detectors."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torchvision.models import MobileNet_V3_Large_Weights, mobilenet_v3_large
from torchvision.models.detection import (
    SSDLite320_MobileNet_V3_Large_Weights,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.models.detection.ssd import SSD

from mobilenets.archs import Arch, at_resolution, get_arch, widen, with_ssdlite
from mobilenets.archs.published_coco import _OF_TOP1, ExpectedMap, expected_map
from mobilenets.archs.published_weights import PUBLISHED_DETECTORS, find_weights
from mobilenets.errors import ArchError, FileError
from mobilenets.nn.deploy import Deployed
from mobilenets.nn.detection_modules import Decoded
from mobilenets.nn.pretrained import load_weights
from mobilenets.nn.pretrained.load import coco_labels, read_published
from mobilenets.tasks.suppression import detections

(DETECTOR,) = PUBLISHED_DETECTORS


def torchvisions(*, classes: int = 91, whole: bool = False) -> SSD:
    """Random weights and statistics, so that nothing is equal by chance. The tail is whole where
    torchvision is told to load a backbone, whose file need not be ImageNet's."""
    torch.manual_seed(0)
    backbone = mobilenet_v3_large().state_dict()
    with patch.object(MobileNet_V3_Large_Weights, "get_state_dict", lambda *_, **__: backbone):
        model = ssdlite320_mobilenet_v3_large(
            weights=None,
            weights_backbone=MobileNet_V3_Large_Weights.DEFAULT if whole else None,
            num_classes=classes,
        )
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
    return model.eval()


def saved(model: SSD, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def model() -> SSD:
    return torchvisions()


@pytest.fixture(scope="module")
def file(model: SSD, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(model, tmp_path_factory.mktemp("weights") / "detector.pth")


def test_detections_of_torchvisions_weights_are_torchvisions(model: SSD, file: Path):
    checkpoint = read_published(DETECTOR, file)
    image = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        (expected,) = model(list(image))
        deployed = Deployed(checkpoint)(image)
        if deployed["scores"].sum(2).sub(1).abs().max() > 1e-3:  # raw
            deployed = Decoded(checkpoint.arch)(deployed)

    assert (checkpoint.task, checkpoint.arch.classes) == ("detection", 91)
    boxes, labels, chances = detections(*(one[0].numpy() for one in deployed.values()))
    assert len(labels) == 300
    np.testing.assert_allclose(chances, expected["scores"], rtol=1e-3)
    same = labels == expected["labels"].numpy() - 1  # equal scores may be in another order
    assert same.mean() > 0.95
    np.testing.assert_allclose(320 * boxes[same], expected["boxes"][same], atol=0.2)


def test_labels_are_cocos_with_their_gaps(file: Path):
    labels = read_published(DETECTOR, file).labels

    expected = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]
    assert ("__background__", *labels) == tuple(expected)
    assert labels == coco_labels()
    assert (labels[0], labels[11], labels[89], len(labels)) == (
        "person", "N/A", "toothbrush", 90,
    )  # fmt: skip


@pytest.mark.parametrize(("classes", "whole"), [(91, False), (4, False), (4, True)])
def test_a_file_of_its_format_is_known_by_its_shapes(tmp_path: Path, classes: int, whole: bool):
    path = saved(torchvisions(classes=classes, whole=whole), tmp_path / "mine.pth")

    found = load_weights(path)

    large = get_arch("v3_large", resolution=320)
    expected = with_ssdlite(large, classes=classes, variant="torchvision", reduced=not whole)
    assert found.arch == replace(expected, bn_momentum=0.03, rule="torchvision")
    assert (found.task, len(found.labels), found.labels[:2]) == (
        "detection", classes - 1, ("0", "1"),
    )  # fmt: skip
    assert (found.mean, found.std) == ((0.5,) * 3, (0.5,) * 3)


def test_another_number_of_classes_keeps_all_but_the_scores(file: Path):
    whole = load_weights(file)

    few = load_weights(file, classes=6)

    new = {name for name, one in few.weights.items() if not one.equal(whole.weights[name])}
    assert few.arch == whole.arch.with_classes(6)
    assert len(few.labels) == 5
    assert new == {
        f"head.scores.{at}.predict.{leaf}" for at in range(6) for leaf in ("weight", "bias")
    }


def test_a_file_that_is_no_such_detector_is_refused(model: SSD, tmp_path: Path):
    state = dict(model.state_dict())
    del state["head.regression_head.module_list.2.1.bias"]
    torch.save(state, tmp_path / "broken.pth")

    with pytest.raises(FileError, match=r"475 tensors given, .* \(first: head\.boxes\.2"):
        load_weights(tmp_path / "broken.pth")


LIKE_IT = with_ssdlite(
    get_arch("v3_large", resolution=320), classes=7, variant="torchvision", reduced=True
)


@pytest.mark.parametrize(
    ("words", "network"),
    [
        ("torchvision", LIKE_IT),
        ("torchvision:coco_v1", LIKE_IT),
        ("torchvision", at_resolution(LIKE_IT, 224)),
        ("torchvision", "ssdlite320_mobilenet_v3_large"),
        ("torchvision:ssdlite320_mobilenet_v3_large.COCO_V1", None),
    ],
)
def test_words_and_a_detector_find_it(words: str, network: Arch | str | None):
    assert find_weights(words, network) == DETECTOR
    assert DETECTOR.name == "torchvision:ssdlite320_mobilenet_v3_large.COCO_V1"
    assert DETECTOR.arch == replace(LIKE_IT.with_classes(91), bn_momentum=0.03, rule="torchvision")


def test_classifiers_and_other_detectors_do_not_find_it():
    large = get_arch("v3_large", resolution=320)

    for network in ("v3_large", large, with_ssdlite(large)):
        assert find_weights("torchvision", network).model == "mobilenet_v3_large"
    with pytest.raises(ArchError, match="no weights are published as torchvision:coco_v1, only"):
        find_weights("torchvision:coco_v1", "v3_large")


# Expected mAP


def at(name: str, width: float = 1.0, resolution: int = 320) -> Arch:
    return get_arch(name, width=width, resolution=resolution)


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        (at("v1"), 22.2),
        (at("v2"), 22.1),
        (at("v2", 0.5), 16.6),
        (at("v2", 0.35), 13.7),
        (at("v3_large"), 22.0),
        (at("v3_small"), 16.0),
        (with_ssdlite(at("v3_small")), 16.0),
    ],
)
def test_published_map_is_the_papers(arch: Arch, expected: float):
    """arXiv:1905.02244, Table 6."""
    assert expected_map(arch) == ExpectedMap(expected, "published")


def test_the_slope_fits_the_published_points():
    """V2's three widths and V3's two sizes, each with a level of its own."""
    groups = [[(71.8, 22.1), (65.4, 16.6), (60.3, 13.7)], [(75.2, 22.0), (67.5, 16.0)]]
    centred = [np.array([[log(p / (100 - p)) for p in one] for one in group]) for group in groups]
    points = np.concatenate([one - one.mean(axis=0) for one in centred])

    slope, *_ = np.linalg.lstsq(points[:, :1], points[:, 1], rcond=None)

    assert pytest.approx(slope[0], abs=0.005) == _OF_TOP1


def test_between_published_widths_it_lies_between():
    found = expected_map(at("v2", 0.75))

    assert found is not None
    assert 16.6 < found.map50_95 < 22.1
    assert found.source == "interpolated"


def test_more_pixels_gain_what_other_detectors_gain():
    """NanoDet-Plus-m gains 3.4 points from 320 to 416 pixels, PicoDet-S 3.6, both from 27."""
    found = expected_map(at("v2", 1.0, 416))

    assert found is not None
    assert found.source == "extrapolated"
    assert found.map50_95 == pytest.approx(22.1 + 3.0, abs=0.3)


def test_it_rises_with_width_and_resolution():
    widths = [expected_map(at("v3_large", width)).map50_95 for width in (0.35, 0.5, 0.75, 1.0)]
    sides = [expected_map(at("v3_small", 1.0, side)).map50_95 for side in (128, 192, 256, 320)]

    assert widths == sorted(widths)
    assert sides == sorted(sides)
    assert 1 < sides[0] < 8


def test_families_without_detectors_have_the_others_level():
    small = expected_map(at("mobilenet_v4_conv_small"))

    assert small is not None
    assert small.source == "extrapolated"
    assert 20 < small.map50_95 < 25
    assert expected_map(replace(widen(at("v2"), 1.0), name="mine")) is None
