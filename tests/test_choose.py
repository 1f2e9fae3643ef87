from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from mobilenets.archs import Arch, Budget, cost, get_arch
from mobilenets.archs.published import FAMILIES
from mobilenets.choosing.candidate import candidates, price
from mobilenets.choosing.choice import (
    HEADROOM,
    MAX_MEASURED,
    choose,
    measured_whole,
    shortlist,
)
from mobilenets.errors import ArchError, BudgetError, ConversionError, NoFitError
from mobilenets.measuring import target
from mobilenets.measuring.journal import journalled
from mobilenets.measuring.latency import Latency
from mobilenets.measuring.quiet import in_quiet
from mobilenets.runtimes import DEFAULT, Engine
from mobilenets.runtimes.isolated import Job

FAST, SLOW, BROKEN = Engine("openvino"), Engine("litert"), Engine("ncnn")
FLOAT, INT8 = DEFAULT, Engine("onnxruntime", "int8")


class FakeDevice:
    """A machine on which a network takes 1 ms per 50 million MACs and 2 us a layer, in the fast
    runtime and in 8-bit integers half and in the slow one three times as long. The broken one
    converts nothing."""

    def __init__(self) -> None:
        self.measured: list[Arch] = []
        self.asked: list[tuple[Arch, str]] = []

    def ms(self, arch: Arch, engine: Engine = DEFAULT) -> float:
        costs = cost(arch)
        factor = {FAST: 0.5, SLOW: 3.0, INT8: 0.5}.get(engine, 1.0)
        return factor * (costs.macs / 50e6 + 0.002 * len(costs.layers))

    def __call__(self, archs: Sequence[Arch], engine: Engine) -> list[Latency]:
        if engine == BROKEN:
            raise ConversionError(f"{engine} could not convert {archs[0].full_name}")
        self.measured += archs
        self.asked += [(arch, engine) for arch in archs]
        return [
            Latency((self.ms(arch, engine),) * 10, 1, engine.runtime, "1", 1, "fp32", 1, "fake")
            for arch in archs
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


# Several runtimes


@pytest.mark.parametrize("runtimes", [(FLOAT, FAST, SLOW), (SLOW, FLOAT, FAST)])
def test_the_runtime_in_which_more_fits_is_chosen(runtimes: tuple[Engine, ...]):
    device = FakeDevice()

    choice = choose(Budget(latency_ms=1.5), classes=10, runtimes=runtimes, measure=device)

    limit = 1.5 * (1 - HEADROOM)
    fitting = [one for one in candidates(10) if device.ms(one.arch, FAST) <= limit]
    best = max(fitting, key=lambda one: one.expected.top1)
    assert choice.chosen.engine == FAST
    assert choice.chosen.expected.top1 == pytest.approx(best.expected.top1, abs=0.5)


def test_where_accuracy_does_not_tell_the_faster_runtime_is_chosen():
    runtimes = (FLOAT, SLOW, FAST)

    choice = choose(Budget(macs=20e6), classes=10, runtimes=runtimes, measure=FakeDevice())

    assert choice.chosen.engine == FAST


def test_a_later_runtime_is_asked_little():
    device = FakeDevice()

    choose(Budget(latency_ms=2), classes=10, runtimes=(FLOAT, SLOW), measure=device)

    # One network of each family; none of them can promise what the first runtime found.
    assert len([arch for arch, engine in device.asked if engine == SLOW]) <= len(FAMILIES)


def test_a_choice_counts_networks_and_keeps_what_was_measured_elsewhere():
    runtimes = (FLOAT, FAST)
    budget = Budget(latency_ms=2, macs=100e6)
    choice = choose(budget, classes=10, runtimes=runtimes, measure=FakeDevice())

    networks = {one.arch for one in candidates(10)}
    assert choice.considered == len(networks)
    assert {one.arch for one in choice.candidates if one.engine == FAST} == networks
    assert all(one.latency for one in choice.candidates if one.engine == FLOAT)
    assert {one.engine for one in choice.shortlist()} == {FLOAT, FAST}
    assert json.loads(json.dumps(choice.to_json()))["considered"] == len(networks)


def test_a_runtime_that_cannot_convert_is_left_out_and_said(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "mobilenets"):
        choice = choose(
            Budget(latency_ms=2), classes=10, runtimes=(BROKEN, FAST), measure=FakeDevice()
        )

    assert choice.chosen.engine == FAST
    assert "ncnn could not convert" in caplog.text
    assert "the choice goes on without ncnn" in caplog.text


def test_where_no_runtime_converts_the_reason_is_raised():
    with pytest.raises(ConversionError, match="ncnn could not convert"):
        choose(Budget(latency_ms=2), classes=10, runtimes=(BROKEN,), measure=FakeDevice())


# The candidates


def test_integers_are_chosen_where_a_larger_network_fits_by_more_than_they_lose():
    device, budget = FakeDevice(), Budget(latency_ms=2)
    [in_float, in_both] = [
        choose(budget, classes=10, measure=device, runtimes=runtimes).chosen
        for runtimes in ([FLOAT], [FLOAT, INT8])
    ]

    assert in_both.engine == INT8
    assert device.ms(in_both.arch, INT8) <= 2 * (1 - HEADROOM)
    assert in_both.expected.top1 > in_float.expected.top1 + 1


def test_where_everything_fits_nothing_is_chosen_in_integers():
    budget = Budget(latency_ms=1000)

    choice = choose(budget, classes=10, measure=FakeDevice(), runtimes=[INT8, FLOAT])

    assert choice.chosen.engine == FLOAT


@pytest.mark.parametrize(
    ("name", "in_float", "in_int8"),
    [
        ("mobilenet_v2", 71.87, 71.38),
        ("mobilenet_v3_large", 74.05, 73.5),
        ("mobilenet_v3_small", 67.66, 66.8),
    ],
)
def test_less_is_expected_in_integers_by_as_much_as_was_published(
    name: str, in_float: float, in_int8: float
):
    candidate = price(get_arch(name))

    lost = candidate.expected.top1 - candidate.in_engine(INT8).expected.top1
    assert lost == pytest.approx(in_float - in_int8)


def test_a_file_too_small_for_float_is_filled_in_integers():
    budget = Budget(size_bytes=1e6, latency_ms=50)

    choice = choose(budget, classes=10, measure=FakeDevice(), runtimes=[FLOAT, INT8])

    assert choice.chosen.engine == INT8
    assert choice.chosen.params < 1e6 < 4 * choice.chosen.params
    assert choice.binding_limit == "size"


def test_what_was_measured_for_another_precision_must_fit_in_this_one():
    """Float networks are measured that only an int8 file has room for: predictions need them."""

    class SlowInIntegers(FakeDevice):
        def ms(self, arch: Arch, engine: Engine = FLOAT) -> float:
            return super().ms(arch, FLOAT) * (100 if engine == INT8 else 1)

    device, budget = SlowInIntegers(), Budget(size_bytes=1e6, latency_ms=20)

    choice = choose(budget, classes=10, measure=device, runtimes=[FLOAT, INT8])

    assert choice.chosen.engine == FLOAT
    assert choice.chosen.file_bytes <= 1e6
    assert any(price(arch).file_bytes > 1e6 for arch, asked in device.asked if asked == FLOAT)


def test_a_runtime_whose_files_are_all_too_large_is_not_asked():
    device = FakeDevice()

    choice = choose(
        Budget(size_bytes=400e3, latency_ms=50), classes=10, measure=device, runtimes=[FLOAT, INT8]
    )

    assert {engine for _, engine in device.asked} == {INT8}
    assert choice.chosen.engine == INT8


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


# The journal


def here(engine: Engine) -> str:
    return f"here, {engine}"


def elsewhere(engine: Engine) -> str:
    return f"another device, {engine}"


def test_what_was_measured_is_not_measured_again(tmp_path: Path):
    path, device = tmp_path / "latency.jsonl", FakeDevice()
    archs = [get_arch("mobilenet_v2", resolution=96), get_arch("mobilenet_v1", resolution=96)]
    journalled(path, here, device)(archs[:1], FLOAT)

    latencies = journalled(path, here, device)(archs, FLOAT)

    assert device.measured == archs
    assert [latency.p50_ms for latency in latencies] == [device.ms(arch) for arch in archs]


@pytest.mark.parametrize(("noisy", "expected"), [(1, 2.0), (2, 3.0), (3, 1.0)])
def test_what_was_measured_in_noise_is_measured_again(noisy: int, expected: float):
    """Of 1, 2, 3 ms the first that is not noisy counts; of three noisy ones the lowest."""
    archs = [get_arch("mobilenet_v2", resolution=96), get_arch("mobilenet_v1", resolution=96)]
    asked: list[list[Arch]] = []

    def measure(some: Sequence[Arch]) -> list[Latency]:
        asked.append(list(some))
        p50, waited = (1.0, 2.0, 3.0)[len(asked) - 1], 0.5 * (len(asked) <= noisy)
        return [
            Latency(
                (p50,) * 10,
                1,
                "onnxruntime",
                "1",
                1,
                "fp32",
                1,
                "fake",
                waited=0.0 if index else waited,
            )
            for index, _ in enumerate(some)
        ]

    first, second = in_quiet(measure)(archs)

    assert (first.p50_ms, second.p50_ms) == (expected, 1.0)
    assert asked == [archs, *[archs[:1]] * min(noisy, 2)]


def test_what_was_measured_on_a_slowed_core_is_measured_again():
    """Whether it was slowed, only an earlier call tells, in which it was not."""
    archs = [get_arch("mobilenet_v2", resolution=96)]
    probes = iter([20, 32, 22])
    took = {20: 1.0, 32: 1.6, 22: 1.1}

    def measure(some: Sequence[Arch]) -> list[Latency]:
        probe = next(probes)
        times = (took[probe],) * 10
        return [
            Latency(times, 1, "onnxruntime", "1", 1, "fp32", 1, "fake", probes_ns=(probe,) * 10)
        ]

    quiet = in_quiet(measure)

    assert [quiet(archs)[0].p50_ms for _ in range(2)] == [1.0, 1.1]


def test_what_is_measured_again_is_not_converted_again(monkeypatch: pytest.MonkeyPatch):
    archs = [get_arch("mobilenet_v2", resolution=96), get_arch("mobilenet_v1", resolution=96)]
    converted: list[Job] = []
    measured: list[list[str]] = []

    def export(jobs: Sequence[Job], engine: Engine) -> None:
        converted.extend(jobs)
        for job in jobs:
            job.path.write_text(job.name)

    def measure(
        paths: Sequence[Path], *, runtime: list[Engine], threads: int, seconds: float
    ) -> list[Latency]:
        measured.append([path.read_text() for path in paths])
        return [
            Latency((1.0,) * 10, 1, runtime[0].runtime, "1", threads, "fp32", 1, "fake", waited=0.5)
            for _ in paths
        ]

    monkeypatch.setattr(target, "measure", measure)

    measured_whole(1, export)(archs, FLOAT)

    assert measured == [["mobilenet_v2_1.0_96", "mobilenet_v1_1.0_96"]] * 3
    assert [job.network for job in converted] == archs
    assert not any(job.path.exists() for job in converted)


def test_what_was_measured_in_another_runtime_is_measured_again_and_both_are_kept(tmp_path: Path):
    path, device = tmp_path / "latency.jsonl", FakeDevice()
    arch = get_arch("mobilenet_v2", resolution=96)
    measure = journalled(path, here, device)

    found = [measure([arch], engine)[0].p50_ms for engine in (FLOAT, FAST) * 2]

    assert device.asked == [(arch, FLOAT), (arch, FAST)]
    assert found == [device.ms(arch), device.ms(arch, FAST)] * 2


def test_what_was_measured_elsewhere_or_is_broken_is_measured_again(tmp_path: Path):
    path, device = tmp_path / "latency.jsonl", FakeDevice()
    arch = get_arch("mobilenet_v2", resolution=96)
    journalled(path, elsewhere, device)([arch], FLOAT)
    path.write_text(path.read_text() + '{"arch": 1\n')

    journalled(path, here, device)([arch], FLOAT)

    assert device.measured == [arch, arch]
    assert "another device" in path.read_text()


def test_the_contenders_are_the_best_at_half_the_macs_and_at_half_of_that():
    device, budget = FakeDevice(), Budget(latency_ms=1, params=2e6)
    choice = choose(budget, classes=10, image_size=28, measure=device)

    found = shortlist(choice, budget, device, 4)

    fitting = [
        one
        for one in candidates(10, 28)
        if one.params <= 2e6 and device.ms(one.arch) <= 1 - HEADROOM
    ]
    assert found[0] == choice.chosen
    assert len(found) == 4
    for halvings, one in enumerate(found):
        small = [other for other in fitting if other.macs <= choice.chosen.macs / 2**halvings]
        assert one.macs <= choice.chosen.macs / 2**halvings
        assert one.expected.top1 == max(other.expected.top1 for other in small)
        assert one.latency is not None


def test_what_turns_out_too_slow_does_not_contend():
    device, budget = FakeDevice(), Budget(latency_ms=1)
    choice = choose(budget, classes=10, image_size=28, measure=device)

    def slower(archs: Sequence[Arch], engine: Engine) -> list[Latency]:
        return [Latency((1.0,) * 10, 1, engine.runtime, "1", 1, "fp32", 1, "fake") for _ in archs]

    assert [one.arch for one in shortlist(choice, budget, slower, 3)] == [choice.chosen.arch]


def test_where_nothing_is_smaller_one_contends_alone():
    device, budget = FakeDevice(), Budget(macs=0.6e6)
    choice = choose(budget, classes=10, image_size=28, measure=device)

    assert shortlist(choice, budget, device, 8) == [choice.chosen]
