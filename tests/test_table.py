"""Latency tables: pieces that make up networks, a file that survives, an error that is stated."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
import torch

from mobilenets.archs import (
    Arch,
    at_resolution,
    cost,
    get_arch,
    keep_resolution,
    ops,
    to_json,
    widen,
)
from mobilenets.archs.parts import pieces
from mobilenets.choosing import candidate as candidates
from mobilenets.choosing import latency_table as tables
from mobilenets.choosing import table_build as build
from mobilenets.choosing.latency_table import (
    CALIBRATION_NETWORKS,
    EMPTY,
    HELD_OUT_NETWORKS,
    Table,
    load_tables,
    read_table,
    table_path,
)
from mobilenets.choosing.regress import fit_prices
from mobilenets.choosing.space import random_networks
from mobilenets.choosing.table_build import build_table
from mobilenets.errors import (
    ConnectionLost,
    ConversionError,
    FileError,
    MeasureError,
    RuntimeMissing,
)
from mobilenets.measuring import bursts as timing
from mobilenets.measuring.device import measuring_on
from mobilenets.measuring.loop import Turn
from mobilenets.measuring.machine import this_machine
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.runtimes import DEFAULT, Engine, isolated
from tests.fake_ssh import Stub

NAMES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")


# Pieces


@pytest.mark.parametrize("name", NAMES)
def test_the_pieces_in_a_row_compute_what_the_network_computes(name: str):
    arch = at_resolution(widen(get_arch(name, classes=7), 0.5), 64)
    checkpoint = Checkpoint.fresh(arch)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    x = image
    taken = 0
    for piece in pieces(arch):
        network = MobileNet(piece).eval()
        ours, its = ("head.", "head.") if piece.head else (f"rows.{taken}.", "rows.0.")
        network.load_state_dict(
            {
                key.replace(ours, its, 1): tensor
                for key, tensor in checkpoint.weights.items()
                if key.startswith(ours)
            }
        )
        network.rows.apply(lambda module: set_eps_(module, arch.bn_eps))
        assert tuple(x.shape[1:]) == (piece.in_channels, *piece.size)
        with torch.inference_mode():
            (x,) = network(x).values()
        taken += len(piece.rows)

    with torch.inference_mode():
        expected = checkpoint.network()(image)["logits"]
    assert taken == len(arch.rows)
    assert float((x - expected).abs().max() / expected.abs().max()) < 1e-5


def set_eps_(module: torch.nn.Module, eps: float) -> None:
    if isinstance(module, torch.nn.BatchNorm2d):
        module.eps = eps


def test_the_pieces_cost_what_the_network_costs():
    for arch in random_networks(30, seed=5):
        assert sum(cost(piece).macs for piece in pieces(arch)) == cost(arch).macs
        assert sum(cost(piece).params for piece in pieces(arch)) == cost(arch).params


def test_equal_rows_on_equal_inputs_are_one_piece_whatever_their_network():
    enlarged = at_resolution(get_arch("mobilenet_v3_small"), 112)
    kept = keep_resolution(at_resolution(get_arch("mobilenet_v3_small"), 56), 16)
    other = replace(kept, name="mine", bn_eps=1e-5, width=0.5, head=replace(kept.head, dropout=0.5))

    assert pieces(enlarged)[0] != pieces(kept)[0]  # the stem's stride differs
    assert pieces(enlarged)[1:] == pieces(kept)[1:]
    assert pieces(other) == pieces(kept)


def test_only_strided_pieces_depend_on_the_padding():
    symmetric = get_arch("mobilenet_v2")
    same = replace(symmetric, padding="same")

    differing = [a for a, b in zip(pieces(symmetric), pieces(same), strict=True) if a != b]

    assert [piece.rows[0].stride for piece in differing] == [2] * 5


# Random networks


def test_random_networks_are_the_same_for_the_same_seed_and_valid():
    first, second = random_networks(40, seed=2), random_networks(40, seed=2)

    assert first == second
    assert first != random_networks(40, seed=1)
    assert {arch.name for arch in first} == set(NAMES)
    assert {arch.classes for arch in first} == {10, 100, 1000}
    assert len({arch.resolution for arch in first}) > 5
    assert all(MobileNet(arch) for arch in first[:5])


def test_random_networks_are_as_small_and_as_large_as_those_that_a_table_prices():
    archs = random_networks(CALIBRATION_NETWORKS, 1)
    sides = {arch.resolution for arch in archs}
    weights = [cost(arch).params for arch in archs]

    assert min(sides) <= 28
    assert max(sides) >= 224
    assert sum(some < 1e6 for some in weights) > len(weights) / 8
    assert sum(some > 3e6 for some in weights) > len(weights) / 8


def test_random_networks_leave_the_space_of_candidates():
    space = {piece for one in candidates.candidates(1000) for piece in pieces(one.arch)}

    edited = [arch for arch in random_networks(40, 2) if not set(pieces(arch)) <= space]

    assert len(edited) > 20


# A machine on which the pieces' sums tell all


def piece_ms(piece: Arch) -> float:
    """Fifty million MACs a millisecond, and the maps carried in and out."""
    carried = ops(piece)[0].out_channels * ops(piece)[0].out_size.area
    carried += ops(piece)[-1].out_channels * ops(piece)[-1].out_size.area
    return 0.002 + cost(piece).macs / 50e6 + carried / 1e7


def network_ms(arch: Arch) -> float:
    """The pieces without their calls and what is carried between them, 3 % faster than alone; more
    for the weights that a piece alone finds in a cache of half a million, where those of the whole
    network do not fit, or not all; 0.005 for each squeeze-and-excite; and a start."""
    firsts = [ops(one)[0] for one in pieces(arch)[1:]]
    maps = [16 * math.ceil(op.out_channels / 16) * op.out_size.area for op in firsts]
    between = sum(maps) + 2 * sum(max(values - 150_000, 0) for values in maps)
    alone = sum(piece_ms(piece) - piece_ms(EMPTY) for piece in pieces(arch))
    found_alone = sum(min(cost(piece).params, 5e5) for piece in pieces(arch))
    fetched = found_alone * min(max(cost(arch).params - 5e5, 0) / 5e5, 1)
    calls = 0.0002 * len(pieces(arch))
    squeezed = sum(getattr(row, "se", False) for row in arch.rows)
    less = calls + 1.5 * between / 1e7
    return 0.04 + 0.97 * alone - less + 0.5 * fetched / 1e7 + 0.005 * squeezed


def conditions(**changes: Any) -> dict[str, Any]:
    return tables.conditions_of(DEFAULT, 1) | changes


def known_table(*, held_out_factor: float = 1.0) -> Table:
    table = Table(conditions(), {EMPTY: piece_ms(EMPTY)})
    for seed, count, factor in (
        (1, CALIBRATION_NETWORKS, 1.0),
        (6, HELD_OUT_NETWORKS, held_out_factor),
    ):
        for arch in random_networks(count, seed):
            table.networks[arch] = factor * network_ms(arch)
            table.pieces |= {piece: piece_ms(piece) for piece in pieces(arch)}
    return table


def test_calibration_finds_the_prices_that_made_the_times_and_those_of_other_networks():
    table = known_table()

    assert table.calibration.kept_weights == 5e5
    prices = table.calibration.prices(table.calibration.terms[0])
    assert prices == pytest.approx([0.04, 0.97, 0.02, 1.5, 3.0, 0.5, 0.5], rel=1e-3)
    for arch in random_networks(HELD_OUT_NETWORKS, 6):
        assert table.predict_ms(arch) == pytest.approx(network_ms(arch), rel=1e-3)


def test_networks_that_take_about_as_long_count_most():
    """On a machine where those that take more than a millisecond take twice as long."""
    table = known_table()
    slow = [arch for arch in table.networks if network_ms(arch) > 1]
    for arch in slow:
        table.networks[arch] *= 2

    slowest, fastest = (which(table.networks, key=network_ms) for which in (max, min))

    assert table.predict_ms(slowest) == pytest.approx(2 * network_ms(slowest), rel=0.1)
    assert table.predict_ms(fastest) == pytest.approx(network_ms(fastest), rel=0.1)


def test_the_stated_error_is_that_of_networks_kept_out_of_the_calibration():
    error = known_table(held_out_factor=1.25).held_out()

    # Predictions stay at 1, the held-out networks take 1.25: 20 % too little, in the right order.
    assert error.networks == HELD_OUT_NETWORKS
    assert error.median_error_pct == pytest.approx(20, rel=1e-3)
    assert error.worst_error_pct == pytest.approx(20, rel=1e-2)
    assert error.kendall_tau == pytest.approx(1.0)


def test_held_out_networks_are_not_those_of_the_calibration():
    assert not set(random_networks(CALIBRATION_NETWORKS, 1)) & set(random_networks(40, 6))


def test_what_was_measured_only_in_noise_is_noisy_and_counts_no_more_after_quiet_ones(
    tmp_path: Path,
):
    path = write(tmp_path / "t.jsonl", Table(conditions()))
    piece = pieces(get_arch("mobilenet_v2"))[3]

    def read() -> tuple[list[Arch], int, float]:
        table = read_table(path, DEFAULT, 1)
        assert table is not None
        return table.noisy, table.quiet[piece], table.pieces[piece]

    add(path, line("piece", piece, 99.0, noisy=True))
    assert read() == ([piece], 0, 99.0)
    add(path, line("piece", piece, 1.5))
    assert read() == ([], 1, 1.5)
    add(path, line("piece", piece, 2.5) + line("piece", piece, 1.0))
    assert read() == ([], 3, 1.5)  # the median of three


def add(path: Path, lines: str) -> None:
    path.write_text(path.read_text() + lines)


def test_a_piece_that_was_not_measured_counts_by_the_arithmetic_of_its_kind():
    table = known_table()
    arch = random_networks(HELD_OUT_NETWORKS, 6)[0]
    whole = table.predict_ms(arch)
    missing = pieces(arch)[5]

    del table.pieces[missing]

    assert table.predict_ms(arch) == pytest.approx(whole, rel=0.05)
    assert table.predict_ms(arch) != whole


def test_prices_by_arithmetic_are_those_that_made_the_times():
    some = dict.fromkeys(piece for arch in random_networks(20, 3) for piece in pieces(arch))
    prices = fit_prices({piece: cost(piece).macs / 1e8 for piece in some})

    piece = pieces(get_arch("mobilenet_v2"))[4]
    assert prices.price(piece) == pytest.approx(cost(piece).macs / 1e8, rel=0.02)


def test_an_unfinished_table_says_how_to_finish_it():
    table = known_table()
    table.networks.clear()

    with pytest.raises(
        MeasureError,
        match="onnxruntime is unfinished; finish it with: mobilenets table --runtime onnxruntime",
    ):
        table.predict_ms(get_arch("mobilenet_v2"))


# The file


def write(path: Path, table: Table) -> Path:
    lines = [json.dumps(table.conditions) + "\n"]
    lines += [line("piece", piece, ms) for piece, ms in table.pieces.items()]
    lines += [line("network", arch, ms) for arch, ms in table.networks.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return path


def line(
    kind: str, arch: Arch, ms: float, *, reference_ms: float = 1.0, noisy: bool = False
) -> str:
    record = {kind: to_json(arch), "ms": ms, "reference_ms": reference_ms, "noisy": noisy}
    return json.dumps(record | {"seconds": 0.5}) + "\n"


def test_a_table_is_read_back(tmp_path: Path):
    table = known_table()

    again = read_table(write(tmp_path / "t.jsonl", table), DEFAULT, 1)

    assert again is not None
    assert (again.pieces, again.networks) == (table.pieces, table.networks)
    assert again.build_s == 0.5 * (len(table.pieces) + len(table.networks))


def test_times_count_by_the_pace_of_the_machine_when_they_were_taken(tmp_path: Path):
    path = write(tmp_path / "t.jsonl", Table(conditions()))
    slow, usual, fast = pieces(get_arch("mobilenet_v2"))[1:4]
    add(path, line("piece", slow, 3.0, reference_ms=1.5))
    add(path, line("piece", usual, 3.0, reference_ms=1.2))
    add(path, line("piece", fast, 3.0, reference_ms=0.8))

    table = read_table(path, DEFAULT, 1)

    assert table is not None  # the median pace is 1.2
    assert table.pieces == pytest.approx({slow: 2.4, usual: 3.0, fast: 4.5})


def test_no_file_is_no_table(tmp_path: Path):
    assert read_table(tmp_path / "t.jsonl", DEFAULT, 1) is None


def test_a_line_cut_short_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    table = known_table()
    path = write(tmp_path / "t.jsonl", table)
    path.write_text(path.read_text()[:-10])

    again = read_table(path, DEFAULT, 1)

    assert again is not None
    assert again.pieces == table.pieces
    assert len(again.networks) == len(table.networks) - 1
    assert "1 of" in caplog.text
    assert "lines cannot be read and are left out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fingerprint": "0000"}, "table of fingerprint 0000, and this is"),
        ({"threads": 4}, "table of threads 4, and this is 1"),
        ({"runtime_version": "0.1"}, "table of runtime_version 0.1, and this is"),
    ],
)
def test_a_table_of_other_conditions_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
):
    path = write(tmp_path / "t.jsonl", Table(conditions(**changes)))

    with pytest.raises(FileError, match=reason):
        read_table(path, DEFAULT, 1)


@pytest.mark.parametrize("content", ["", "no JSON\n", "[1]\n", "{}\n", '{"table": 1}\n', "\x00\n"])
def test_a_file_that_is_no_table_is_refused_and_left_alone(tmp_path: Path, content: str):
    path = tmp_path / "t.jsonl"
    path.write_text(content)

    with pytest.raises(FileError, match="is not a latency table, or its first line is broken"):
        read_table(path, DEFAULT, 1)
    assert path.read_text() == content


def test_tables_that_cannot_be_used_are_named_and_the_choice_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))
    write(table_path(DEFAULT, 1), known_table())
    table_path(Engine("torch"), 1).write_text("broken")
    write(table_path(DEFAULT, 2), Table(conditions(threads=2)))

    assert set(load_tables([DEFAULT, Engine("torch"), Engine("torch-compile")], 1)) == {DEFAULT}
    assert "is not a latency table" in caplog.text
    assert load_tables([DEFAULT], 2) == {}
    assert "is unfinished" in caplog.text


def test_the_file_is_named_by_what_it_depends_on(tmp_path: Path):
    name = table_path(Engine("torch"), 2, tmp_path).name

    version, here = torch.__version__.split("+")[0], this_machine()["fingerprint"]
    assert name == f"torch-{version}-2t-{here}-v6.jsonl"


def test_another_device_has_a_table_of_its_own(tmp_path: Path):
    with measuring_on(Stub("pi")):
        name = table_path(DEFAULT, 1, tmp_path).name
        device = tables.conditions_of(DEFAULT, 1)["device"]

    assert name == f"onnxruntime-1.2-1t-pi-{this_machine()['fingerprint']}-v6.jsonl"
    assert device.startswith("pi: Cortex-A76, ")


@pytest.mark.parametrize(
    ("paces", "part"),
    [
        ([10.0] * 9, 0.0),  # one session
        ([10.0, 10.1, 9.9, 10.0, 10.2, 10.1, 11.8, 11.9], 0.18),
        ([10.0, 10.1, 10.0, 14.0, 14.1, 14.0, 10.1, 10.0], 0.0),  # a co-tenant that went
        ([12.0, 11.0, 10.0, 9.0], 0.0),
    ],
)
def test_a_device_that_slows_for_good_is_told_by_its_references(paces: list[float], part: float):
    assert tables.slowed(paces) == pytest.approx(part, abs=0.005)


def test_heat_during_a_table_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    some = [build.Item("piece", piece) for piece in pieces(get_arch("mobilenet_v2"))[:8]]
    timed = [(item, timing.Timing(1.0, 10.0 + at / 3.5, False)) for at, item in enumerate(some)]
    monkeypatch.setattr(build, "wanted_items", lambda size: some)
    monkeypatch.setattr(build, "_measure", lambda *_: timed)

    with measuring_on(Stub("pi")):
        build_table(DEFAULT, folder=tmp_path)

    assert re.search(r"pi slowed by 17 % during the table \(heat\?\), .* move .*jsonl", caplog.text)


def test_a_table_of_an_unknown_runtime_is_refused():
    with pytest.raises(RuntimeMissing, match="unknown runtime 'tensorrt'"):
        build_table("tensorrt")


# Building, in onnxruntime

_BUILD = """
import sys
from pathlib import Path
from tests import test_table
test_table.shrink()
from mobilenets.choosing.table_build import build_table
build_table("onnxruntime", folder=Path(sys.argv[1]))
"""


def shrink() -> None:
    """A space of two networks, three networks to calibrate on and three to test on."""

    def small(width: float) -> Arch:
        return at_resolution(widen(get_arch("mobilenet_v1"), width), 32)

    class One:
        def __init__(self, arch: Arch):
            self.arch = arch

    build.candidates = lambda classes, size: [One(small(0.25)), One(small(0.5))]
    tables.CALIBRATION_NETWORKS = tables.HELD_OUT_NETWORKS = 3
    tables.random_networks = lambda count, seed: [
        small(0.25 * seed + 0.0625 * at) for at in range(count)
    ]
    build._CHUNK = 4


@pytest.mark.slow
@pytest.mark.full
def test_killed_while_building_it_goes_on_and_measures_nothing_twice(tmp_path: Path):
    with start_building(tmp_path) as process:
        path = wait_for_lines(tmp_path, process)
        os.killpg(process.pid, signal.SIGKILL)
    before = records(path)

    with start_building(tmp_path) as process:
        assert process.wait() == 0

    after = records(path)
    assert after[: len(before) - 1] == before[:-1]  # the last may have been cut short
    kept = [one for one in after if one.get("noisy") is False]
    keys = Counter(json.dumps(one.get("piece") or one["network"]) for one in kept)
    assert max(keys.values()) <= 4  # only what was measured in noise is measured again
    table = read_table(path, DEFAULT, 1)
    assert table is not None
    assert len(table.networks) == 6
    assert all(0 < ms < 1000 for ms in [*table.pieces.values(), *table.networks.values()])


def start_building(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _BUILD, str(folder)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for_lines(folder: Path, process: subprocess.Popen[bytes]) -> Path:
    while process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)  # looking all the time would take one of its cores
        for path in folder.glob("*.jsonl"):
            if len(path.read_bytes().splitlines()) > 10:
                return path
    raise AssertionError("the building process ended before it was killed")


def records(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def test_of_a_piece_the_least_burst_counts_that_others_left_alone():
    turns = iter([(9.0, 0), (5.0, 0), (2.0, 50), (6.0, 0)])

    class Target:
        def warm_up(self, seconds: float) -> float:
            return 1.0

        def turn(self, settle: int, burst: int) -> Turn:
            ms, waited = next(turns)
            return Turn([round(ms * 1e6)] * burst, 100, waited, 1)

    burst = timing._Bursts(Target(), timing._SPANS["piece"], timing._Core())  # type: ignore[arg-type]
    for _ in range(4):
        burst.take()

    assert timing._p50_ms(burst.least()) == 5.0


class Slowed:
    """Takes 1 ms, or 1.6 beside a guest, who is there in the turns that `slow` tells."""

    def __init__(self, slow: Iterator[bool]):
        self._slow = slow

    def warm_up(self, seconds: float) -> float:
        return 1.0

    def turn(self, settle: int, burst: int) -> Turn:
        factor = 1.6 if next(self._slow) else 1.0
        return Turn([round(1e6 * factor)] * burst, 100, 0, round(20_000 * factor))


@pytest.mark.parametrize(
    ("slow", "expected", "turns"),
    [
        pytest.param(chain(repeat(True, 3), repeat(False)), (1.0, False), 4, id="till the fourth"),
        pytest.param(chain(repeat(True, 8), repeat(False)), (1.0, False), 9, id="till the ninth"),
        pytest.param(repeat(True), (1.6, True), 34, id="for good"),
    ],
)
def test_what_a_guest_slows_in_every_burst_is_timed_again(
    monkeypatch: pytest.MonkeyPatch,
    slow: Iterator[bool],
    expected: tuple[float, bool],
    turns: int,
):
    waits: list[float] = []
    monkeypatch.setattr(timing.time, "sleep", waits.append)
    core = timing._Core()
    targets = [Slowed(slow), *(Slowed(repeat(False)) for _ in range(9))]
    bursts = [timing._Bursts(one, timing._SPANS["piece"], core) for one in targets]  # type: ignore[arg-type]

    timed: Counter[int] = Counter()
    for round_ in timing._rounds(bursts):
        for at in round_:
            bursts[at].take()
            timed[at] += 1

    first, *others = bursts
    assert (timing._p50_ms(first.least()), first.disturbed()) == expected
    assert not any(one.disturbed() for one in others)
    assert timed == {0: turns} | dict.fromkeys(range(1, 10), 4)
    assert len(waits) == turns - 4


def test_where_all_is_slowed_there_are_as_many_bursts_again_at_most(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(timing.time, "sleep", lambda _: None)
    core = timing._Core()
    core.see_(Turn([1], 1, 0, 20_000))
    bursts = [
        timing._Bursts(Slowed(repeat(True)), timing._SPANS["piece"], core)  # type: ignore[arg-type]
        for _ in range(5)
    ]

    taken = 0
    for round_ in timing._rounds(bursts):
        for at in round_:
            bursts[at].take()
            taken += 1

    assert taken == 2 * 4 * 5
    assert all(one.disturbed() for one in bursts)


class FlakyTarget:
    """Takes a millisecond; "tires" can be timed twice only."""

    def __init__(self, path: Path):
        self._left = 2 if path.name == "tires" else 100

    def warm_up(self, seconds: float) -> float:
        return 1.0

    def turn(self, settle: int, burst: int) -> Turn:
        self._left -= 1
        if self._left < 0:
            raise MeasureError("tires failed")
        return Turn([1_000_000] * burst, 100, 0, 1)


class FlakyBench:
    """A process that crashes when "gone" is loaded."""

    def __init__(self, engine: Engine, threads: int): ...

    def __enter__(self) -> FlakyBench:
        return self

    def __exit__(self, *_: object) -> None: ...

    def load(self, path: Path) -> FlakyTarget:
        if path.name == "gone":
            raise MeasureError("gone failed")
        return FlakyTarget(path)


def test_a_piece_at_which_the_process_crashes_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """At loading or in a later burst: the others are timed by another process."""
    monkeypatch.setattr(timing, "Bench", FlakyBench)
    one, two, three, four = pieces(get_arch("mobilenet_v2"))[:4]
    names = {one: "fine", two: "gone", three: "tires", four: "also fine"}

    files = [
        timing.File(build.Item("piece", piece), "piece", Path(name))
        for piece, name in names.items()
    ]
    timed = list(timing.time_files(files, [Path("a"), Path("b")], DEFAULT, 1))

    # The two references take a millisecond each.
    expected = [
        (build.Item("piece", piece), timing.Timing(1.0, 2.0, False)) for piece in (one, four)
    ]
    assert timed == expected
    assert caplog.messages == ["gone failed", "tires failed"]


def test_a_lost_connection_is_no_fault_of_a_piece(monkeypatch: pytest.MonkeyPatch):
    class LostBench(FlakyBench):
        def load(self, path: Path) -> FlakyTarget:
            raise ConnectionLost("the connection to pi was lost")

    monkeypatch.setattr(timing, "Bench", LostBench)

    with pytest.raises(ConnectionLost, match="the connection to pi was lost"):
        list(timing.time_files([timing.File(0, "piece", Path("a"))], [], DEFAULT, 1))


class Writer:
    """A process that converts."""

    def __init__(self, module: str, *, core: int | None = None):
        self._core = core

    def close(self) -> None: ...

    def ask(self, request: dict[str, str], *, timeout: float) -> None:
        Path(request["path"]).write_text(str(self._core))


@pytest.mark.parametrize(("threads", "cores"), [(1, {"0", "1"}), (2, {"0"}), (3, {"None"})])
def test_what_is_converted_ahead_of_its_chunk_is_kept_for_it(
    threads: int, cores: set[str], monkeypatch: pytest.MonkeyPatch
):
    """Chunks of four pieces, on the cores that do not measure, or on any where all do."""
    loaded = []

    class Reader(FlakyBench):
        def load(self, path: Path) -> FlakyTarget:
            loaded.append((path.parent.name == "references", path.read_text()))
            return super().load(path)

    monkeypatch.setattr(isolated, "Child", Writer)
    for module in (build, isolated):
        monkeypatch.setattr(module, "usable_cores", lambda: [0, 1, 2])
    monkeypatch.setattr(isolated, "_WORTH_A_CHILD", 2)
    monkeypatch.setattr(timing, "Bench", Reader)
    monkeypatch.setattr(build, "_CHUNK", 4)
    some = [build.Item("piece", piece) for piece in pieces(get_arch("mobilenet_v2"))[:10]]

    timed = [item for item, _ in build._measure(some, DEFAULT, threads)]

    assert timed == some
    assert len(loaded) == 10 + 3 * 3  # three references a chunk
    assert {core for is_reference, core in loaded if not is_reference} == cores


def test_a_whole_network_that_cannot_be_converted_ends_the_building(
    monkeypatch: pytest.MonkeyPatch,
):
    class Failing(Writer):
        def ask(self, request: dict[str, Any], *, timeout: float) -> None:
            if request["arch"]["head"]["head"] == "classify":
                raise ConversionError("broke")
            super().ask(request, timeout=timeout)

    monkeypatch.setattr(isolated, "Child", Failing)
    monkeypatch.setattr(timing, "Bench", FlakyBench)
    network = build.Item("network", get_arch("mobilenet_v2"))

    with pytest.raises(ConversionError, match=r"mobilenet_v2_1\.0_224: its converter broke"):
        list(build._measure([network], DEFAULT, 1))


def test_no_more_is_taken_ahead_than_was_asked_for():
    taken = []

    def items() -> Generator[int, None, None]:
        try:
            for number in range(10):
                taken.append(number)
                yield number
        finally:
            taken.append(-1)

    ahead = build._ahead(items(), 3)

    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()
    assert taken[-1] == -1  # closed
    assert max(taken) <= 4
    assert list(build._ahead(iter_of(5), 3)) == [0, 1, 2, 3, 4]


def iter_of(count: int) -> Generator[int, None, None]:
    yield from range(count)


def test_the_references_have_weights_that_stay_in_the_caches():
    """Networks with many are slowed when others fill them, and pieces are not."""
    assert all(cost(arch).params < 200_000 for arch in build.REFERENCES)
    assert all(cost(arch).macs > 3e6 for arch in build.REFERENCES)
