"""The trade-off page: the front of each runtime, drawn and listed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from mobilenets.archs import Arch
from mobilenets.choosing.candidate import Candidate, candidates
from mobilenets.choosing.choice import predict_all
from mobilenets.deliver.tradeoff_page import pareto, to_json, write_tradeoff
from mobilenets.measuring.latency import Latency
from mobilenets.runtimes import DEFAULT, Engine
from tests.test_choose import FAST as OPENVINO
from tests.test_choose import FakeDevice
from tests.test_table import known_table, network_ms


def some(*prices: tuple[float, float]) -> list[Candidate]:
    """Candidates of these predicted ms and expected accuracies."""
    pool = candidates(10, 64)[: len(prices)]
    return [
        replace(one, predicted_ms=ms, expected=one.expected._replace(top1=top1))
        for one, (ms, top1) in zip(pool, prices, strict=True)
    ]


def test_the_front_holds_what_nothing_beats():
    pool = some((3, 70), (1, 60), (2, 55), (2, 65), (2, 64), (4, 70), (0.5, 40))

    front = [(one.predicted_ms, one.expected.top1) for one in pareto(pool)]

    assert front == [(0.5, 40), (1, 60), (2, 65), (3, 70)]


class TwoDevices(FakeDevice):
    """In "slow" everything takes three times as long."""

    def __call__(self, archs: Sequence[Arch], engine: Engine) -> list[Latency]:
        factor = 3 if engine.runtime == "openvino" else 1
        return [
            Latency((factor * self.ms(arch),) * 10, 1, engine.runtime, "1", 1, "fp32", 1, "fake")
            for arch in archs
        ]


def test_all_networks_are_priced_in_each_runtime():
    device = TwoDevices()

    pools = predict_all(classes=10, engines=[DEFAULT, OPENVINO], measure=device)

    assert [len(pool) for pool in pools] == [len(candidates(10))] * 2
    for pool, factor in zip(pools, (1, 3), strict=True):
        errors = [one.predicted_ms / (factor * device.ms(one.arch)) - 1 for one in pool]
        assert max(map(abs, errors)) < 0.05


def test_integers_are_a_front_of_their_own_and_no_table_is_promised_for_them(tmp_path: Path):
    engines = [DEFAULT, Engine("onnxruntime", "int8")]
    pools = predict_all(classes=10, engines=engines, measure=FakeDevice())

    page = write_tradeoff(pools, {}, tmp_path / "tradeoff.html", threads=1).read_text()

    assert [one["runtime"] for one in to_json(pools)] == ["onnxruntime", "onnxruntime-int8"]
    assert "1 thread, batch 1, fp32 and int8, on" in page
    assert "mobilenets table --runtime onnxruntime" in page
    assert "mobilenets table --runtime onnxruntime-int8" not in page
    for in_float, in_int8 in zip(*pools, strict=True):
        assert in_int8.expected.top1 < in_float.expected.top1
        assert in_int8.predicted_ms == pytest.approx(0.5 * (in_float.predicted_ms or 0), rel=0.05)


def test_a_table_prices_without_measuring():
    (pool,) = predict_all(tables={DEFAULT: known_table()}, measure=refuse)

    assert all(
        one.predicted_ms == pytest.approx(network_ms(one.arch), rel=0.15) for one in pool[::50]
    )


def refuse(archs: Sequence[Arch], engine: Engine) -> list[Latency]:
    raise AssertionError("nothing is to be measured")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    tables = {DEFAULT: known_table(held_out_factor=1.25)}
    pools = predict_all(engines=[OPENVINO, DEFAULT], measure=TwoDevices(), tables=tables)
    path = tmp_path_factory.mktemp("tradeoff") / "tradeoff.html"
    return write_tradeoff(pools, tables, path, threads=1).read_text()


def test_the_page_draws_dots_and_a_front_for_each_runtime(page: str):
    (text,) = re.findall(r'<figure class="plot">.*?</figure>', page, re.DOTALL)
    figure = fromstring(text)

    assert ["".join(one.itertext()) for one in figure.iter("li")] == ["onnxruntime", "openvino"]
    kinds = [one.attrib.get("class", "").split()[0] for one in figure.findall("svg/svg/path")]
    assert kinds == ["dots", "dots", "line", "line"]


def test_the_page_says_where_its_latencies_come_from_and_how_wrong_they_are(page: str):
    assert ": 20.0 % (median)" in page
    assert "measured networks; its error is not known" in page
    assert "mobilenets table --runtime openvino" in page


def test_the_page_loads_nothing_from_elsewhere(page: str):
    assert "default-src 'none'" in page
    assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="http', page)


def test_the_json_holds_the_front_of_each_runtime():
    pool = some((3, 70), (1, 60), (2, 55))

    (record,) = to_json([pool])

    assert record["runtime"] == "onnxruntime"
    assert [one["expected_imagenet_top1"] for one in record["front"]] == [60, 70]
