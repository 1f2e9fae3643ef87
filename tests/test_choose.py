from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mobilenets.archs import Arch, Budget, cost, get_arch
from mobilenets.errors import ArchError, BudgetError, NoFitError
from mobilenets.measurement.candidates import candidates, price
from mobilenets.measurement.choose import HEADROOM, MAX_MEASURED, choose
from mobilenets.measurement.journal import journalled
from mobilenets.measurement.latency import Latency


class FakeDevice:
    """A machine on which a network takes 1 ms per 50 million MACs and 2 us a layer."""

    def __init__(self) -> None:
        self.measured: list[Arch] = []

    def ms(self, arch: Arch) -> float:
        costs = cost(arch)
        return costs.macs / 50e6 + 0.002 * len(costs.layers)

    def __call__(self, archs: Sequence[Arch]) -> list[Latency]:
        self.measured += archs
        return [
            Latency((self.ms(arch),) * 10, 1, "fake", "1", 1, "fp32", 1, "fake") for arch in archs
        ]


def test_the_choice_is_the_best_expected_network_that_fits():
    device = FakeDevice()

    choice = choose(Budget(latency_ms=4), classes=10, measure=device)

    limit = 4 * (1 - HEADROOM)
    fitting = [one for one in candidates(10) if device.ms(one.arch) <= limit]
    best = max(fitting, key=lambda one: one.expected.top1)
    assert choice.chosen.expected.top1 == pytest.approx(best.expected.top1, abs=0.5)
    assert device.ms(choice.chosen.arch) <= limit
    assert choice.binding_limit == "latency"
    assert len(device.measured) <= MAX_MEASURED


def test_without_a_latency_limit_arithmetic_decides_and_only_the_chosen_is_measured():
    device = FakeDevice()

    choice = choose(Budget(macs=100e6), classes=1000, measure=device)

    best = max(
        (one for one in candidates(1000) if one.macs <= 100e6), key=lambda one: one.expected.top1
    )
    assert choice.chosen.arch == best.arch == device.measured[0]
    assert len(device.measured) == 1


def test_the_limit_that_the_choice_uses_most_is_the_binding_one():
    choice = choose(Budget(latency_ms=1000, params=2e6), classes=10, measure=FakeDevice())

    assert choice.binding_limit == "params"
    assert choice.chosen.params <= 2e6


def test_an_impossible_latency_is_refused_with_the_nearest_network():
    with pytest.raises(NoFitError, match=r"latency binds at 0.001 ms; the nearest, \w+") as refusal:
        choose(Budget(latency_ms=0.001), classes=10, measure=FakeDevice())

    assert refusal.value.binding_limit == "latency"
    assert refusal.value.nearest["latency"]["p50_ms"] > 0.001


def test_of_two_limits_the_one_that_binds_is_named():
    with pytest.raises(NoFitError, match="macs binds at 1 k") as refusal:
        choose(Budget(latency_ms=5, macs=1000), classes=10, measure=FakeDevice())

    assert refusal.value.binding_limit == "macs"


def test_of_two_limits_an_impossible_latency_is_named():
    with pytest.raises(NoFitError, match="latency binds"):
        choose(Budget(latency_ms=0.001, macs=100e6), classes=10, measure=FakeDevice())


def test_a_budget_without_limits_is_refused():
    with pytest.raises(BudgetError, match="a budget needs a limit"):
        choose(Budget(), measure=FakeDevice())


def test_large_images_are_never_enlarged():
    assert {one.arch.output_stride for one in candidates(10, 300)} == {32}
    assert max(one.arch.resolution for one in candidates(10, 240)) == 240


def test_small_images_get_networks_that_keep_their_resolution():
    shapes = {(one.arch.resolution, one.arch.output_stride) for one in candidates(10, 28)}

    assert (28, 8) in shapes  # ends in 4 x 4
    assert (112, 32) in shapes  # enlarged
    assert min(resolution for resolution, _ in shapes) == 28


def test_a_network_without_published_accuracy_cannot_be_a_candidate():
    with pytest.raises(ArchError, match="no accuracy is published for mobilenet_v1_shallow"):
        price(get_arch("mobilenet_v1_shallow"))


def test_what_was_measured_is_not_measured_again(tmp_path: Path):
    path, device = tmp_path / "latency.jsonl", FakeDevice()
    archs = [get_arch("mobilenet_v2", resolution=96), get_arch("mobilenet_v1", resolution=96)]
    journalled(path, "here", device)(archs[:1])

    latencies = journalled(path, "here", device)(archs)

    assert device.measured == archs
    assert [latency.p50_ms for latency in latencies] == [device.ms(arch) for arch in archs]


def test_what_was_measured_elsewhere_or_is_broken_is_measured_again(tmp_path: Path):
    path, device = tmp_path / "latency.jsonl", FakeDevice()
    arch = get_arch("mobilenet_v2", resolution=96)
    journalled(path, "another device", device)([arch])
    path.write_text(path.read_text() + '{"arch": 1\n')

    journalled(path, "here", device)([arch])

    assert device.measured == [arch, arch]
