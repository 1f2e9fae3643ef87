"""Squeeze-and-excite taken away: its mean gates stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import mean

import pytest
import torch
from torch import Tensor
from torch.nn.functional import hardsigmoid

from mobilenets.archs import get_arch, without_row, without_se
from mobilenets.nn import Checkpoint, surgery
from mobilenets.nn.blocks import InvertedResidual, SqueezeExcite
from mobilenets.nn.gates import mean_gates, with_constant_gates
from tests.test_surgery import checkpoint, images

ARCH = get_arch("mobilenet_v3_small_0.5_64", classes=10)
GATED = [row for row, one in enumerate(ARCH.rows) if getattr(one, "se", False)]


def logits(given: Checkpoint) -> Tensor:
    with torch.no_grad():
        return given.network().double()(images(64))["logits"]


def gates_by_hand(given: Checkpoint, row: int) -> Tensor:
    """From the weights of the gate, and what the block's own layers hand to it."""
    network, x = given.network().double(), images(64)
    with torch.no_grad():
        for block in network.rows[:row]:
            x = block(x)
        block = network.rows[row]
        assert isinstance(block, InvertedResidual)
        means = block.depthwise(block.expand(x)).mean((2, 3))
        part = {name: given.weights[f"rows.{row}.se.{name}"] for name in GATE}
        squeezed = (means @ part["reduce.weight"][..., 0, 0].T + part["reduce.bias"]).relu()
        return hardsigmoid(squeezed @ part["gate.weight"][..., 0, 0].T + part["gate.bias"]).mean(0)


GATE = ("reduce.weight", "reduce.bias", "gate.weight", "gate.bias")


def test_gates_are_means_over_all_images_of_all_batches():
    given = checkpoint(ARCH)
    batches = [images(64)[:1], images(64)[1:]]

    found = mean_gates(given.network().double(), batches)

    assert list(found) == GATED
    for row, gates in found.items():
        torch.testing.assert_close(gates, gates_by_hand(given, row))
        assert gates.std() > 0.01  # not what any gate would give


@pytest.mark.parametrize("row", GATED)
def test_gates_that_never_move_can_go_without_a_trace(row: int):
    given = checkpoint(ARCH)
    still = f"rows.{row}.se.gate.weight"
    given = replace(given, weights={**given.weights, still: torch.zeros_like(given.weights[still])})
    gates = mean_gates(given.network().double(), [images(64)])
    to = without_se(ARCH, row)

    found = surgery(with_constant_gates(given, to, gates), to)

    se = [one for one in found.network().modules() if isinstance(one, SqueezeExcite)]
    assert len(se) == len(GATED) - 1
    # `network()` is of float32: the folded weights are rounded to it.
    assert (logits(found) - logits(given)).norm() < 1e-6 * logits(given).norm()


def test_gates_that_move_are_nearer_to_their_mean_than_to_one():
    given = checkpoint(ARCH)
    gates = mean_gates(given.network().double(), [images(64)])

    def off(row: int, *, folded: bool) -> float:
        to = without_se(ARCH, row)
        cut = surgery(with_constant_gates(given, to, gates) if folded else given, to)
        return float((logits(cut) - logits(given)).norm() / logits(given).norm())

    assert mean(off(row, folded=True) for row in GATED) < 0.5 * mean(
        off(row, folded=False) for row in GATED
    )


def test_without_squeeze_and_excite_no_image_is_looked_at():
    def batches() -> Iterator[Tensor]:
        raise AssertionError
        yield

    arch = get_arch("mobilenet_v2_0.35_64", classes=10)

    assert mean_gates(checkpoint(arch).network(), batches()) == {}


def test_where_no_gate_goes_nothing_changes():
    given = checkpoint(ARCH)
    gates = mean_gates(given.network().double(), [images(64)])

    for to in (ARCH, without_row(ARCH, 3)):
        assert with_constant_gates(given, to, gates).weights == given.weights
