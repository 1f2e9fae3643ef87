"""Depthwise convolutions as they are trained, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilenets.archs import get_arch
from mobilenets.nn import MobileNet
from mobilenets.train import from_scratch
from mobilenets.train.depthwise import Depthwise, quicken_
from mobilenets.train.module import Learner


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_pixel_is_convolved_as_torch_does(kernel: int, stride: int, side: int):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    x, upstream = torch.randn(4, 6, side, side), torch.randn(4, 6, 1, 1)
    wanted = _there_and_back(conv, x, upstream)
    quicken_(conv)
    assert type(conv) is Depthwise
    torch.testing.assert_close(_there_and_back(conv, x, upstream), wanted)


def _there_and_back(conv: nn.Conv2d, x: torch.Tensor, upstream: torch.Tensor):
    x = x.clone().requires_grad_()
    conv.weight.grad = None
    y = conv(x)
    (y * upstream).sum().backward()
    return y.detach(), x.grad, conv.weight.grad


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"])
def test_what_learns_is_the_network_given(family: str):
    """Its filters are the same parameters under the same names, and all else stays as it was."""
    network = MobileNet(get_arch(family, width=0.25, resolution=32, classes=10))
    before = dict(network.named_parameters())
    kinds = {name: type(module) for name, module in network.named_modules()}
    Learner(network, from_scratch(flip=False), seed=0, total_steps=1)
    after = dict(network.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    swapped = {
        name for name, module in network.named_modules() if type(module) is not kinds[name]
    } - {name for name, kind in kinds.items() if kind is nn.Dropout}
    depthwise = {name for name, one in network.named_modules() if getattr(one, "groups", 1) > 1}
    assert swapped == depthwise
    assert depthwise


def test_only_depthwise_convolutions_without_a_bias_are_quickened():
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 8, 3, groups=2),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, groups=8),
    )
    quicken_(network)
    assert [type(one) for one in network] == [nn.Conv2d] * 4
