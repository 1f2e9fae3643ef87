"""The latency that a verdict rests on, by sessions of given times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mobilenets.archs import Budget
from mobilenets.deliver.verdict import time_artefact, too_noisy
from mobilenets.measuring import Latency

QUIET, SLOWED = 20_000, 33_000  # what a probe takes


def session(ms: float, probe: int = QUIET, waited: float = 0.0) -> Latency:
    return Latency(
        (ms,) * 50, 5, "onnxruntime", "1", 1, "fp32", 1, "a laptop", waited, (probe,) * 10
    )


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Sequence[Latency], int]]:
    """What counts of these sessions for a limit of 1 ms, and how many were needed."""

    def run(*sessions: Latency, budget: Budget | None = None) -> tuple[Sequence[Latency], int]:
        left = list(sessions)

        def measure(paths: Sequence[Path], **options: object) -> list[Latency]:
            assert paths == [Path("a.onnx")]
            return [left.pop(0)]

        monkeypatch.setattr(sys.modules["mobilenets.deliver.verdict"], "measure", measure)
        found = time_artefact(Path("a.onnx"), budget or Budget(latency_ms=1.0))
        return found, len(sessions) - len(left)

    return run


def test_a_latency_far_below_its_limit_is_measured_once(
    timed: Callable[..., tuple[Sequence[Latency], int]],
):
    found, sessions = timed(session(0.9), session(2.0))

    assert (found[-1].p50_ms, sessions) == (0.9, 1)


def test_without_a_limit_it_is_measured_once(timed: Callable[..., tuple[Sequence[Latency], int]]):
    found, sessions = timed(session(9.0), session(2.0), budget=Budget(macs=1))

    assert (found[-1].p50_ms, sessions) == (9.0, 1)


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        pytest.param((session(0.95), session(0.97), session(0.96)), 0.97, id="close below"),
        pytest.param((session(1.05), session(0.98), session(0.97)), 1.05, id="close above"),
        pytest.param((session(1.6), session(1.5), session(1.7)), 1.7, id="far above"),
        pytest.param(
            (session(1.4, SLOWED), session(0.8), session(0.81)), 0.81, id="slowed at first"
        ),
        pytest.param(
            (session(0.91), session(1.4, SLOWED), session(1.5, SLOWED)), 0.91, id="slowed then"
        ),
        pytest.param((session(1.4, SLOWED),) * 3, 1.4, id="slow for good"),
    ],
)
def test_of_three_sessions_the_slowest_counts_in_which_the_core_was_not_slowed(
    timed: Callable[..., tuple[Sequence[Latency], int]],
    sessions: tuple[Latency, ...],
    expected: float,
):
    found, needed = timed(*sessions)

    assert (found[-1].p50_ms, needed) == (expected, 3)


def test_a_noisy_session_leaves_a_close_limit_undecided(
    timed: Callable[..., tuple[Sequence[Latency], int]],
):
    found, _ = timed(session(0.95), session(0.94, waited=0.5), session(0.96))

    assert (found[-1].p50_ms, too_noisy(found, 1.0)) == (0.96, True)


@pytest.mark.parametrize(
    ("sessions", "undecided"),
    [
        pytest.param((1.4, 0.8, 0.81), True, id="one over"),
        pytest.param((1.001, 0.999, 0.999), True, id="one just over"),
        pytest.param((0.97, 0.98, 1.0), False, id="none over"),
        pytest.param((1.4, 1.1, 1.01), False, id="all over"),
    ],
)
def test_sessions_that_disagree_leave_a_limit_undecided(
    timed: Callable[..., tuple[Sequence[Latency], int]],
    sessions: tuple[float, ...],
    undecided: bool,
):
    found, _ = timed(*map(session, sessions))

    assert too_noisy(found, 1.0) is undecided


def test_noise_makes_no_network_faster():
    noisy = [session(0.89, waited=0.5)]

    assert not too_noisy(noisy, 1.0)
    assert too_noisy(noisy, 0.95)
