"""Same weights, same logits as torchvision and timm.

Batch norm's statistics are randomised: a fresh V3 gives logits near 1e-5, and with mean 0 and
variance 1 a wrong epsilon or a wrong order of layers can hide.
"""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from mobilenets.archs import Arch, get_arch
from mobilenets.errors import FileError
from mobilenets.nn import MobileNet
from mobilenets.nn.pretrained import timm as ours_timm
from mobilenets.nn.pretrained import torchvision as ours_torchvision


def randomise_batch_norm(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return model.eval()


def logits(model: nn.Module, resolution: int) -> torch.Tensor:
    images = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = model.double()(images.double())
    return found["logits"] if isinstance(found, dict) else found


def ours(arch: Arch, weights: dict[str, torch.Tensor]) -> nn.Module:
    model = MobileNet(arch)
    model.load_state_dict(weights)
    return model.eval()


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    assert theirs.std() > 1e-3  # not logits so small that anything passes


@pytest.mark.parametrize("resolution", [224, 97])
@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("mobilenet_v2", 0.5),
        ("mobilenet_v2", 1.0),
        ("mobilenet_v2", 1.4),
        ("mobilenet_v3_large", 0.75),
        ("mobilenet_v3_large", 1.0),
        ("mobilenet_v3_small", 0.75),
        ("mobilenet_v3_small", 1.0),
    ],
)
def test_torchvisions_weights_give_torchvisions_logits(name: str, width: float, resolution: int):
    theirs = randomise_batch_norm(getattr(torchvision.models, name)(width_mult=width))
    arch = ours_torchvision.convention(get_arch(name, width=width, rule="torchvision"))

    weights = ours_torchvision.from_torchvision(arch, theirs.state_dict())

    assert_same(logits(ours(arch, weights), resolution), logits(theirs, resolution))


@pytest.mark.parametrize("resolution", [224, 97])
@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv1_100",
        "mobilenetv1_125",
        "mobilenetv2_050",
        "mobilenetv2_140",
        "mobilenetv3_small_050",
        "mobilenetv3_small_075",
        "mobilenetv3_large_075",
        "mobilenetv3_large_100",
        "tf_mobilenetv3_large_minimal_100",
        "tf_mobilenetv3_small_minimal_100",
        "tf_mobilenetv3_small_075",
        "tf_mobilenetv3_large_100",
    ],
)
def test_timms_weights_give_timms_logits(name: str, resolution: int):
    theirs = randomise_batch_norm(timm.create_model(name))
    arch = ours_timm.convention(get_arch(name, rule="timm"))

    weights = ours_timm.from_timm(arch, theirs.state_dict())

    assert_same(logits(ours(arch, weights), resolution), logits(theirs, resolution))


def test_the_padding_of_tensorflow_changes_the_logits():
    theirs = randomise_batch_norm(timm.create_model("tf_mobilenetv3_small_075"))
    arch = ours_timm.convention(get_arch("mobilenetv3_small_075", rule="timm"))

    weights = ours_timm.from_timm(arch, theirs.state_dict())

    difference = logits(ours(arch, weights), 224) - logits(theirs, 224)
    assert difference.abs().max() > 1e-2


def test_weights_of_another_network_are_refused():
    state = torchvision.models.mobilenet_v2(width_mult=0.5).state_dict()

    with pytest.raises(FileError, match=r"not torchvision's mobilenet_v2_1.0_224_torchvision"):
        ours_torchvision.from_torchvision(get_arch("mobilenet_v2", rule="torchvision"), state)


def test_left_over_weights_are_refused():
    theirs = torchvision.models.mobilenet_v2()
    state = {**theirs.state_dict(), "features.99.weight": torch.zeros(1)}

    with pytest.raises(FileError, match="315 tensors given, 314 needed"):
        ours_torchvision.from_torchvision(get_arch("mobilenet_v2", rule="torchvision"), state)
