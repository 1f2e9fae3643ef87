"""Convolutions as they are trained, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mobilenets.archs import get_arch
from mobilenets.nn import MobileNet
from mobilenets.train import from_scratch, quick
from mobilenets.train.module import Learner
from mobilenets.train.quick import Depthwise, Pointwise, quicken_


@pytest.mark.parametrize("size", [*((side, side) for side in range(1, 10)), (2, 5), (7, 2), (1, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_map_is_filtered_as_torch_does(kernel: int, stride: int, size: tuple[int, int]):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    x = torch.randn(4, 6, *size).contiguous(memory_format=torch.channels_last)
    upstream = torch.randn(conv(x).shape)
    wanted = _there_and_back(conv, x, upstream)
    quicken_(conv)
    assert type(conv) is Depthwise
    torch.testing.assert_close(_there_and_back(conv, x, upstream), wanted)


@pytest.mark.parametrize("given", [{"padding": 0}, {"padding": 3}, {"stride": (1, 2)}])
def test_other_filters_are_left_to_torch(given: dict[str, Any]):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, 5, groups=6, bias=False, **({"padding": 2} | given))
    x = torch.randn(4, 6, 6, 6)
    upstream = torch.randn(conv(x).shape)
    wanted = _there_and_back(conv, x, upstream)
    quicken_(conv)
    torch.testing.assert_close(_there_and_back(conv, x, upstream), wanted)


def test_frozen_filters_get_no_gradient():
    conv = nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False).requires_grad_(False)
    quicken_(conv)
    x = torch.randn(4, 6, 3, 3, requires_grad=True)
    conv(x).sum().backward()
    assert conv.weight.grad is None
    assert x.grad is not None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_channels_are_mixed_as_torch_does(bias: bool, side: int, layout: torch.memory_format):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 10, 1, bias=bias)
    x = torch.randn(4, 6, side, side).contiguous(memory_format=layout)
    upstream = torch.randn(4, 10, side, side)
    wanted = _there_and_back(conv, x, upstream)
    quicken_(conv)
    assert type(conv) is Pointwise
    torch.testing.assert_close(_there_and_back(conv, x, upstream), wanted)


@pytest.mark.parametrize(("batch", "products"), [(4, 1), (5, 0)])
def test_many_pixels_are_left_to_torch(batch: int, products: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quick, "MAX_POSITIONS", 4 * 3 * 3)
    linear, taken = nn.functional.linear, []
    monkeypatch.setattr(quick.functional, "linear", lambda *x: taken.append(x) or linear(*x))
    conv = nn.Conv2d(6, 10, 1)
    quicken_(conv)
    assert conv(torch.zeros(batch, 6, 3, 3)).shape == (batch, 10, 3, 3)
    assert len(taken) == products


def _there_and_back(conv: nn.Conv2d, x: torch.Tensor, upstream: torch.Tensor):
    """The result, and the gradients of input, weight and bias."""
    x = x.clone().requires_grad_()
    conv.zero_grad()
    y = conv(x)
    (y * upstream).sum().backward()
    return y.detach(), x.grad, *(one.grad.clone() for one in conv.parameters())


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
    stem, *others = (name for name, one in network.named_modules() if isinstance(one, nn.Conv2d))
    assert stem.startswith("rows.0")
    assert swapped == set(others)


def test_other_convolutions_are_left_as_they_are():
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 8, 3, groups=2),
        nn.Conv2d(8, 8, 1, stride=2),
        nn.Conv2d(8, 8, 1, padding=1),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 8, 3, groups=8),  # it has a bias
        nn.Conv2d(8, 16, 3, groups=8, bias=False),
    )
    quicken_(network)
    assert {type(one) for one in network} == {nn.Conv2d}
