"""Measuring: the loop on a fake clock, the statistics on literal times, one real child process."""

from __future__ import annotations

import gc
import json
import math
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count, cycle, repeat
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from mobilenets import runtimes
from mobilenets.archs import Arch, get_arch
from mobilenets.errors import ArchError, FileError, MeasureError, RuntimeMissing
from mobilenets.measuring import Latency, compare, measure
from mobilenets.measuring import device as device_module
from mobilenets.measuring import latency as latency_module
from mobilenets.measuring import loop as loop_module
from mobilenets.measuring import target as target_module
from mobilenets.measuring import worker as worker_module
from mobilenets.measuring.loop import LocalTarget, half_width, interleave, interval_rank
from mobilenets.measuring.machine import device_name, this_machine, waited_ns
from mobilenets.measuring.target import measure_targets
from mobilenets.measuring.worker import Worker, rest
from mobilenets.processes.child import Child, usable_cores
from mobilenets.runtimes import DEFAULT, Engine
from tests.test_runtimes import write_onnx

NCNN = Engine("ncnn")


@pytest.fixture(autouse=True)
def measured_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users do; all other tests measure briefly (`conftest`)."""
    monkeypatch.setattr(loop_module, "SPAN_S", 2.0)
    monkeypatch.setattr(loop_module, "KNOWN", 0.02)


class FakeMachine:
    """A clock that only runs move; each run of a network takes the next of its times."""

    def __init__(self) -> None:
        self.now = 0
        self.ran: list[str] = []

    def clock(self) -> int:
        return self.now

    def network(self, times_ms: Iterator[float], name: str = "") -> LocalTarget:
        def run() -> None:
            self.now += round(next(times_ms) * 1e6)
            self.ran.append(name)

        return LocalTarget(run, self.clock)


def latency(times_ms: list[float], *, burst: int = 1, waited: float = 0.0) -> Latency:
    return Latency(
        times_ms=tuple(times_ms),
        burst=burst,
        runtime="onnxruntime",
        runtime_version="1.32.0",
        threads=1,
        precision="fp32",
        batch=1,
        device="a laptop",
        waited=waited,
    )


# The loop


def test_the_slow_first_runs_are_not_counted():
    machine = FakeMachine()
    run = machine.network(chain([100.0, 30.0, 5.0], repeat(2.0)))

    (timed,) = interleave([run], seconds=10, min_runs=50, clock=machine.clock)

    assert set(timed.times_ms) == {2.0}


def test_warm_up_goes_on_until_two_windows_of_five_agree():
    machine = FakeMachine()
    run = machine.network(chain([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], repeat(2.0)))

    # The first two windows with like medians are 5, 4, 2, 2, 2 and 2, 2, 2, 2, 2.
    assert run.warm_up(10) == 2.0
    assert len(machine.ran) == 14


@pytest.mark.parametrize(("second_window_ms", "runs"), [(9.6, 10), (10.4, 10), (9.0, 13)])
def test_windows_within_five_percent_agree(second_window_ms: float, runs: int):
    machine = FakeMachine()
    run = machine.network(chain(repeat(10.0, 5), repeat(second_window_ms)))

    run.warm_up(10)

    assert len(machine.ran) == runs


def test_warm_up_gives_up_after_fifty_runs():
    machine = FakeMachine()
    run = machine.network(1.1**n for n in count())

    run.warm_up(1e6)

    assert len(machine.ran) == 50


def test_warm_up_of_a_slow_network_ends_with_the_time_after_five_runs():
    machine = FakeMachine()

    assert machine.network(repeat(3000.0)).warm_up(1) == 3000.0
    assert len(machine.ran) == 5


def test_a_steady_network_is_measured_for_two_seconds_in_bursts_of_twenty_milliseconds():
    machine = FakeMachine()

    (timed,) = interleave(
        [machine.network(repeat(0.1))], seconds=10, min_runs=50, clock=machine.clock
    )

    assert (timed.burst, len(timed.times_ms)) == (200, 20_000)


def test_at_least_the_asked_number_of_runs_is_made():
    machine = FakeMachine()

    (timed,) = interleave(
        [machine.network(repeat(50.0))], seconds=10, min_runs=50, clock=machine.clock
    )

    assert (timed.burst, len(timed.times_ms)) == (1, 50)


def test_an_unsteady_network_is_measured_until_the_time_is_up():
    machine = FakeMachine()
    warm = repeat(25.0, 10)

    (timed,) = interleave(
        [machine.network(chain(warm, cycle([20.0, 30.0])))],
        seconds=10,
        min_runs=50,
        clock=machine.clock,
    )

    assert len(timed.times_ms) == 400
    assert sum(timed.times_ms) == 10_000.0


def test_measuring_ends_when_the_median_is_known():
    machine = FakeMachine()
    # Of twenty turns five are slow, and the interval ends at the sixth.
    times = chain(repeat(100.0, 10), cycle([100.0, 160.0, 100.0, 100.0]))

    (timed,) = interleave([machine.network(times)], seconds=1000, min_runs=10, clock=machine.clock)

    assert len(timed.times_ms) == 20


def test_runs_of_one_burst_do_not_count_as_independent():
    machine = FakeMachine()
    turns = cycle([1.0] * 120 + [1.1] * 80)  # each 20 to settle and a burst of 20

    timed, _ = interleave(
        [machine.network(chain(repeat(1.0, 10), turns)), machine.network(repeat(1.0))],
        seconds=1000,
        min_runs=50,
        clock=machine.clock,
    )

    # Three bursts in five are fast, which ten bursts do not tell; of 83 bursts 32 are slow, and the
    # interval ends at the 33rd.
    assert (timed.burst, len(timed.times_ms)) == (20, 83 * 20)


def test_a_network_slower_than_the_limit_still_gets_ten_runs():
    machine = FakeMachine()

    (timed,) = interleave(
        [machine.network(repeat(5000.0))], seconds=1, min_runs=50, clock=machine.clock
    )

    assert timed.times_ms == (5000.0,) * 10


def test_targets_take_turns_and_settle_untimed_before_each_burst():
    machine = FakeMachine()
    small = machine.network(repeat(10.0), "small")
    large = machine.network(repeat(20.0), "large")

    timed = interleave([small, large], seconds=10, min_runs=10, clock=machine.clock)

    assert [one.burst for one in timed] == [2, 1]
    warm, turn = ["small"] * 10 + ["large"] * 10, ["small"] * 4 + ["large"] * 2
    assert machine.ran == warm + 25 * turn  # which are two seconds
    assert [len(one.times_ms) for one in timed] == [50, 25]


def test_what_the_neighbour_did_to_the_caches_is_not_charged():
    machine = FakeMachine()

    def run() -> None:
        behind = list(reversed(machine.ran[-4:]))
        cold = behind.index("other") if "other" in behind else 4
        machine.now += round([14.5, 13.7, 10.8, 10.2, 10.0][cold] * 1e6)
        machine.ran.append("this")

    other = machine.network(repeat(10.0), "other")
    this = LocalTarget(run, machine.clock)
    timed, _ = interleave([this, other], seconds=10, min_runs=10, clock=machine.clock)

    assert max(timed.times_ms) < 11.0


def test_a_run_shorter_than_the_clock_can_tell_is_measured_all_the_same():
    machine = FakeMachine()
    run = machine.network(chain(repeat(0.0, 10), repeat(1.0)))

    (timed,) = interleave([run], seconds=10, min_runs=50, clock=machine.clock)

    assert timed.burst == 20_000


def test_the_time_that_others_had_the_cores_is_a_part_of_the_turns():
    machine = FakeMachine()
    busy = iter(range(0, 10**12, 4_000_000))  # 4 ms more at each look, two looks a turn

    def run() -> None:
        machine.now += 20_000_000

    (timed,) = interleave(
        [LocalTarget(run, machine.clock, busy.__next__)],
        seconds=10,
        min_runs=10,
        clock=machine.clock,
    )

    assert timed.waited == pytest.approx(4 / 20)


class SharedCore:
    """A core with a guest on its other half now and then: what runs and the probe take 1.6 times as
    long. `slow` tells for each second whether the guest is there."""

    def __init__(self, slow: Iterator[bool]):
        self.machine = FakeMachine()
        self.target = LocalTarget(
            self.run, self.machine.clock, probe=lambda: int(20_000 * self.factor())
        )
        self._slow = slow
        self._seconds: list[bool] = []

    def factor(self) -> float:
        while len(self._seconds) <= self.machine.now // 10**9:
            self._seconds.append(next(self._slow))
        return 1.6 if self._seconds[-1] else 1.0

    def run(self) -> None:
        self.machine.now += round(1e6 * self.factor())

    def measure(self, seconds: float) -> Latency:
        (timed,) = interleave([self.target], seconds=seconds, min_runs=50, clock=self.machine.clock)
        return replace(
            latency([]), times_ms=timed.times_ms, burst=timed.burst, probes_ns=timed.probes_ns
        )


@pytest.mark.parametrize(
    "slow", [(False, True), (True, False), (True, True, False)], ids=["first", "second", "third"]
)
def test_what_a_guest_on_the_core_slows_does_not_count(slow: tuple[bool, ...]):
    found = SharedCore(cycle(slow)).measure(seconds=4)

    assert (found.p50_ms, found.p90_ms, found.min_ms, found.spread) == (1.0, 1.0, 1.0, 0.0)
    assert not found.noisy
    assert 0.3 < found.slowed < 0.95
    assert found.runs == pytest.approx(len(found.times_ms) * (1 - found.slowed))


def test_a_guest_who_comes_or_goes_during_a_burst_slows_it():
    probes = iter([20, 33, 31, 22])
    target = LocalTarget(lambda: None, probe=probes.__next__)

    assert [target.turn(settle=0, burst=1).probe_ns for _ in range(2)] == [33, 31]


def test_a_guest_that_stays_cannot_be_told_from_a_slow_core():
    found = SharedCore(repeat(True)).measure(seconds=4)

    assert (found.p50_ms, found.slowed, found.probe_ns) == (1.6, 0.0, 32_000)


def test_two_turns_of_the_core_alone_are_too_few_to_decide_by():
    found = replace(latency([1.0] * 2 + [1.6] * 48), probes_ns=(20,) * 2 + (32,) * 48)

    assert found.noisy
    assert found.p50_ms == 1.0


def test_a_probe_a_tenth_slower_is_the_core_at_another_frequency():
    found = replace(latency([1.0, 1.1, 1.6, 1.2]), probes_ns=(100, 114, 160, 116))

    assert (found.turns_ms, found.counts) == ((1.0, 1.1, 1.6, 1.2), [True, True, False, False])
    assert (found.p50_ms, found.slowed) == (1.05, 0.5)


# The statistics


def test_the_statistics_of_ten_times():
    ten = latency([float(n) for n in range(1, 11)])

    # numpy.percentile of 1 ... 10: 25 % 3.25, 50 % 5.5, 75 % 7.75, 90 % 9.1
    assert (ten.runs, ten.min_ms, ten.p50_ms) == (10, 1.0, 5.5)
    assert ten.p90_ms == pytest.approx(9.1, rel=1e-12)
    assert ten.spread == pytest.approx(4.5 / 5.5, rel=1e-12)


def test_one_time_has_statistics_but_is_noisy():
    one = latency([2.0])

    assert (one.p50_ms, one.p90_ms, one.spread, one.noisy) == (2.0, 2.0, 0.0, True)


def test_the_turns_are_the_medians_of_bursts():
    assert latency([1.0, 2.0, 9.0, 4.0, 5.0, 6.0], burst=3).turns_ms == (2.0, 5.0)


# Ranks of the 95 % interval of a median: Conover, Practical Nonparametric Statistics, table A3.
@pytest.mark.parametrize(("runs", "rank"), [(5, 0), (6, 1), (10, 2), (20, 6), (50, 18), (100, 40)])
def test_the_interval_of_a_median_has_the_published_ranks(runs: int, rank: int):
    assert interval_rank(runs) == rank


def test_the_interval_covers_the_median_in_95_percent_of_cases():
    def outside(runs: int) -> float:
        return 2 * sum(math.comb(runs, below) for below in range(interval_rank(runs))) / 2**runs

    assert max(outside(runs) for runs in range(6, 400)) <= 0.05


def test_the_half_width_is_relative_to_the_median():
    # Ranks 2 and 9 of ten: 102 and 109 around 105.5.
    assert half_width([float(n) for n in range(110, 100, -1)]) == pytest.approx(3.5 / 105.5)


def test_five_turns_tell_nothing_of_the_median():
    assert half_width([1.0] * 5) == math.inf


@pytest.mark.parametrize(
    ("times_ms", "noisy"),
    [
        pytest.param([1.0] * 50, False, id="steady"),
        pytest.param([1.0] * 45 + [9.0] * 5, False, id="rare outliers"),
        pytest.param([1.0, 1.01] * 25, False, id="one percent apart"),
        pytest.param([1.0, 1.1] * 25, True, id="median known to 5 percent"),
        pytest.param([1.0] * 35 + [1.5] * 15, True, id="runs differ by half"),
        pytest.param([1.0] * 5, True, id="too few turns"),
    ],
)
def test_the_verdict_on_noise(times_ms: list[float], noisy: bool):
    assert latency(times_ms).noisy is noisy


@pytest.mark.parametrize(("waited", "noisy"), [(0.04, False), (0.06, True)])
def test_times_beside_others_who_had_the_cores_are_noisy(waited: float, noisy: bool):
    assert latency([1.0] * 50, waited=waited).noisy is noisy


def test_runs_of_one_burst_are_no_independent_evidence():
    # 200 runs, 120 of them fast; but that is six bursts of ten, which could be chance.
    times_ms = ([1.0] * 60 + [1.1] * 40) * 2

    assert not latency(times_ms, burst=1).noisy
    assert latency(times_ms, burst=20).noisy


def test_ratios_are_taken_turn_by_turn():
    # The machine's speed changes from turn to turn; in the last, only the second was disturbed.
    # The ratio of the medians would be 10 / 3.
    first = latency([2.0, 2.0, 4.0, 4.0, 2.0, 2.0, 6.0, 6.0, 3.0, 3.0], burst=2)
    second = latency([5.0, 10.0, 5.0, 15.0, 20.0])

    assert compare([first, second]) == [1.0, 2.5]


def test_ratios_are_of_turns_in_which_the_core_was_at_its_best_for_both():
    first = replace(latency([2.0, 2.0, 3.2]), probes_ns=(20, 20, 32))
    second = replace(latency([4.0, 7.0, 7.0]), probes_ns=(20, 32, 32))

    assert compare([first, second]) == [1.0, 2.0]


def test_ratios_are_of_all_turns_where_the_core_was_never_at_its_best_for_both():
    first = replace(latency([2.0, 3.0]), probes_ns=(20, 32))
    second = replace(latency([4.0, 4.5]), probes_ns=(32, 20))

    assert compare([first, second]) == [1.0, 1.75]


def test_latencies_of_different_calls_are_not_compared():
    with pytest.raises(MeasureError, match="of 3, 2 turns cannot be compared; measure them in one"):
        compare([latency([1.0] * 3), latency([1.0] * 2)])


def test_the_record_of_a_latency():
    assert latency([1.0, 2.0, 3.0]).to_json() == {
        "p50_ms": 2.0,
        "p90_ms": 2.8,
        "min_ms": 1.0,
        "runs": 3,
        "spread": 0.5,
        "slowed": 0.0,
        "noisy": True,
        "runtime": "onnxruntime",
        "runtime_version": "1.32.0",
        "threads": 1,
        "precision": "fp32",
        "batch": 1,
        "device": "a laptop",
        "waited": 0.0,
    }


def test_a_raw_record_gives_the_latency_back():
    one = replace(latency([1.0, 2.0, 3.0, 4.0], burst=2), probes_ns=(20, 32))

    assert Latency.from_json(json.loads(json.dumps(one.to_json(raw=True)))) == one


def test_a_record_without_times_is_refused():
    with pytest.raises(
        FileError, match=r"lacks times_ms, burst\); write it with to_json\(raw=True"
    ):
        Latency.from_json(latency([1.0]).to_json())


# The device


def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    monkeypatch.setattr(sys.modules["mobilenets.measuring.machine"], "_CPUINFO", path)


def test_the_device_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cpuinfo(tmp_path, monkeypatch, "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags : avx\n")

    here = this_machine()

    assert here["cpu"] == "Some CPU @ 2 GHz"
    assert here["cores"] == len(usable_cores()) >= 1
    assert device_name() == (
        f"Some CPU @ 2 GHz, {here['cores']} cores, {here['machine']} [{here['fingerprint']}]"
    )


def test_two_cpus_of_one_name_have_two_fingerprints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    prints = []
    for flags in ("avx", "avx", "avx avx512_vnni"):
        cpuinfo(tmp_path, monkeypatch, f"model name : Some CPU\nflags : {flags}\ncpu MHz : 2000\n")
        prints.append(this_machine()["fingerprint"])

    assert prints[0] == prints[1] != prints[2]


def test_a_machine_without_cpuinfo_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "none"
    monkeypatch.setattr(sys.modules["mobilenets.measuring.machine"], "_CPUINFO", path)

    assert this_machine()["cpu"]


def test_the_time_waited_for_cores_only_grows():
    before = waited_ns()

    assert 0 <= before <= waited_ns()


# The measuring process


def test_networks_are_measured_in_a_process_of_their_own(tmp_path: Path):
    paths = [write_onnx(tmp_path / "a.onnx"), write_onnx(tmp_path / "b.onnx")]

    first, second = measure(paths, threads=1, seconds=0.1)

    assert min(first.runs, second.runs) >= 50
    assert len(first.turns_ms) == len(second.turns_ms) >= 10
    assert 0 < first.min_ms <= first.p50_ms <= first.p90_ms
    assert first.waited >= 0
    assert (first.runtime, first.runtime_version) == ("onnxruntime", onnxruntime.__version__)
    assert (first.threads, first.precision, first.batch) == (1, "fp32", 1)
    assert first.device == device_name()


def test_no_network_takes_no_time():
    assert measure([]) == []


def test_the_worker_starts_without_torch_and_pins_itself_before_numpy_comes():
    look = "import sys, mobilenets.measuring.worker; print({'torch', 'numpy'} & set(sys.modules))"

    child = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert child.stdout == "set()\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_the_worker_pins_itself_before_it_loads_anything(monkeypatch: pytest.MonkeyPatch):
    happened: list[Any] = []
    monkeypatch.setattr(gc, "disable", lambda: None)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: happened.append(cores))
    monkeypatch.setattr(runtimes, "get_runtime", happened.append)

    monkeypatch.setattr(worker_module, "usable_cores", lambda: [0, 1, 3, 4])

    version = Worker()({"do": "start", "runtime": "onnxruntime", "threads": 2})

    assert happened == [[3, 4], "onnxruntime"]
    assert version == onnxruntime.__version__


def test_a_turn_has_as_many_times_as_asked(tmp_path: Path):
    with latency_module.Bench(DEFAULT, 1) as bench:
        turn = bench.load(write_onnx(tmp_path / "a.onnx")).turn(settle=1, burst=3)

    assert len(turn.times_ns) == 3
    assert turn.wall_ns >= sum(turn.times_ns)
    assert turn.probe_ns > 0


@pytest.mark.parametrize(
    ("spins_s", "waits"), [(0.0, 1), (0.04, 5), (9.0, 200)], ids=["asleep", "spins", "spins on"]
)
def test_the_next_turn_waits_for_threads_that_spin_but_not_for_ever(spins_s: float, waits: int):
    slept: list[float] = []

    rest(lambda: round(1e9 * min(sum(slept), spins_s)), slept.append)

    assert len(slept) == waits


@pytest.mark.parametrize(("threads", "settle", "rests"), [(1, 5, 0), (2, 0, 0), (2, 5, 1)])
def test_threads_rest_after_a_turn_where_another_network_is_next(
    monkeypatch: pytest.MonkeyPatch, threads: int, settle: int, rests: int
):
    rested: list[None] = []
    monkeypatch.setattr(worker_module, "rest", lambda: rested.append(None))
    worker = Worker()
    worker._threads, worker._targets = threads, {"a": LocalTarget(lambda: None)}

    worker({"do": "turn", "path": "a", "settle": settle, "burst": 2})

    assert len(rested) == rests


@pytest.mark.parametrize("threads", [0, 1000])
def test_threads_the_machine_has_not_are_refused(threads: int):
    with pytest.raises(MeasureError, match=rf"threads must be 1 to \d+, .* got {threads}$"):
        measure(["a.onnx"], threads=threads)


def test_a_missing_file_is_reported(tmp_path: Path):
    with pytest.raises(FileError, match=r"there is no file .*none\.onnx"):
        measure([tmp_path / "none.onnx"])


def test_a_corrupt_file_is_reported(tmp_path: Path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no ONNX at all")

    with pytest.raises(FileError, match=r"bad\.onnx is no ONNX file that onnxruntime can load"):
        measure([path])


def test_an_unknown_runtime_is_reported():
    with pytest.raises(RuntimeMissing, match="unknown runtime 'tensorrt'"):
        measure(["a.onnx"], runtime="tensorrt")


def test_a_file_of_no_runtime_is_reported():
    with pytest.raises(FileError, match=r"a\.txt is of no known runtime; give .* \.onnx, \.xml"):
        measure(["a.txt"])


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> str:
    """A module of this program, which children find."""
    (folder / "stand_in_worker.py").write_text(program)
    monkeypatch.syspath_prepend(folder)
    return "stand_in_worker"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (r"import sys; sys.exit('first\nlast words')", "failed with 1: last words"),
        ("import os; os.abort()", r"crashed \(SIGABRT\)"),
    ],
)
def test_a_process_that_dies_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
):
    monkeypatch.setattr(device_module, "_WORKER", stand_in(monkeypatch, tmp_path, program))

    with pytest.raises(
        MeasureError, match=f"measuring in onnxruntime failed: its process {message}$"
    ):
        measure(["a.onnx"])


def test_a_process_that_dies_at_a_file_is_reported_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = """
import os
from mobilenets.processes.child import serve
serve(lambda request: request["do"] == "start" or os.kill(os.getpid(), 9))
"""
    monkeypatch.setattr(device_module, "_WORKER", stand_in(monkeypatch, tmp_path, program))

    with pytest.raises(
        MeasureError,
        match=r"measuring a\.onnx in onnxruntime failed: its process was killed, as happens where",
    ):
        measure(["a.onnx"])


def test_a_process_that_hangs_is_ended_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = "import signal; signal.pause()"
    monkeypatch.setattr(device_module, "_WORKER", stand_in(monkeypatch, tmp_path, program))
    monkeypatch.setattr(latency_module, "_LOAD_SECONDS", 0.5)

    with pytest.raises(MeasureError, match=r"failed: its process took over 0\.5 s$"):
        measure(["a.onnx"])


def test_what_a_childs_libraries_print_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = """
import os
from mobilenets.processes.child import serve

def answer(request):
    print("a library")
    os.system("echo a program")
    return request["number"] + 1

serve(answer)
"""
    with Child(stand_in(monkeypatch, tmp_path, program)) as child:
        answers = [child.ask({"number": number}, timeout=60) for number in (1, 2)]

    assert answers == [2, 3]


# What a user names


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Arch | Path, Engine]]:
    """The networks and engines that are to be measured; nothing is."""
    networks: list[tuple[Arch | Path, Engine]] = []

    def measure_networks(
        them: list[tuple[Arch | Path, Engine]], *, threads: int, seconds: float
    ) -> list[Latency]:
        networks.extend(them)
        return [latency([1.0])] * len(them)

    monkeypatch.setattr(target_module, "measure_networks", measure_networks)
    return networks


def test_names_and_checkpoints_are_measured_in_each_runtime_and_artifacts_in_their_own(
    tmp_path: Path, asked: list[tuple[Arch | Path, Engine]]
):
    checkpoint, artifact = tmp_path / "net.safetensors", tmp_path / "net.tflite"
    checkpoint.touch()
    artifact.touch()

    found = measure_targets(
        ["v2", str(checkpoint), str(artifact)], width=0.5, engines=(DEFAULT, NCNN)
    )

    arch = get_arch("mobilenet_v2", width=0.5)
    assert asked == [
        (arch, DEFAULT),
        (arch, NCNN),
        (checkpoint, DEFAULT),
        (checkpoint, NCNN),
        (artifact, Engine("litert")),
    ]
    assert [name for name, _ in found] == ["v2"] * 2 + [str(checkpoint)] * 2 + [str(artifact)]


@pytest.mark.parametrize("name", ["gone.onnx", "gone.safetensors", "gone.ncnn.param"])
def test_a_target_that_is_not_there_is_named(name: str):
    with pytest.raises(FileError, match=f"there is no file {name}"):
        measure_targets([name])


def test_a_target_nobody_knows_is_named():
    with pytest.raises(ArchError, match="no network is called 'mobilenet_v9'"):
        measure_targets(["v2", "mobilenet_v9"])


def test_a_network_by_name_is_converted_and_measured():
    ((name, found),) = measure_targets(["v1"], width=0.25, resolution=32, seconds=0.1)

    assert (name, found.runtime, found.precision) == ("v1", "onnxruntime", "fp32")
    assert found.p50_ms > 0


# What a child's libraries start


def test_a_child_ends_with_all_that_it_has_started():
    with Child("tests.forking_child") as child:
        grandchild = os.pidfd_open(child.ask({}, timeout=60))
        assert not has_ended(grandchild, seconds=0)

    # It held the pipes: waiting for their end would have hung here.
    assert has_ended(grandchild, seconds=30)
    os.close(grandchild)


def has_ended(process: int, *, seconds: float) -> bool:
    """Whether the process of this descriptor ends within so long: a kill takes a moment."""
    return bool(select.select([process], [], [], seconds)[0])
