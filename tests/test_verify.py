"""The latency that a verdict rests on, by sessions of given times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from mobilenets.archs import Budget
from mobilenets.measuring import Latency
from mobilenets.measuring.sessions import time_artifact, too_noisy

QUIET, SLOWED = 20_000, 33_000  # what a probe takes


def session(ms: float, probe: int = QUIET, waited: float = 0.0) -> Latency:
    return Latency(
        (ms,) * 50, 5, "onnxruntime", "1", 1, "fp32", 1, "a laptop", waited, (probe,) * 10
    )


class Timed(NamedTuple):
    """The sessions that count, how many were needed, and the pauses after the third."""

    found: Sequence[Latency]
    sessions: int
    pauses: list[float]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Timed]:
    """These sessions for a limit of 1 ms; the last of them again and again."""

    def run(*sessions: Latency, budget: Budget | None = None) -> Timed:
        asked, pauses = list[Path](), list[float]()

        def measure(paths: Sequence[Path], **options: object) -> list[Latency]:
            asked.extend(paths)
            return [sessions[min(len(asked), len(sessions)) - 1]]

        monkeypatch.setattr(sys.modules["mobilenets.measuring.sessions"], "measure", measure)
        limits = budget or Budget(latency_ms=1.0)
        found = time_artifact(Path("a.onnx"), limits, pause=pauses.append)
        assert set(asked) == {Path("a.onnx")}
        return Timed(found, len(asked), pauses)

    return run


def test_a_latency_far_below_its_limit_is_measured_once(
    timed: Callable[..., Timed],
):
    found, sessions, _ = timed(session(0.9), session(2.0))

    assert (found[-1].p50_ms, sessions) == (0.9, 1)


def test_without_a_limit_it_is_measured_once(timed: Callable[..., Timed]):
    found, sessions, _ = timed(session(9.0), session(2.0), budget=Budget(macs=1))

    assert (found[-1].p50_ms, sessions) == (9.0, 1)


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        pytest.param((session(0.95), session(0.97), session(0.96)), 0.97, id="close below"),
        pytest.param((session(1.05), session(1.02), session(1.03)), 1.05, id="close above"),
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
    timed: Callable[..., Timed],
    sessions: tuple[Latency, ...],
    expected: float,
):
    found, needed, pauses = timed(*sessions)

    assert (found[-1].p50_ms, needed, pauses) == (expected, 3, [])


NOISY = session(0.95, waited=0.5)


@pytest.mark.parametrize(
    ("sessions", "expected", "needed"),
    [
        pytest.param((NOISY,) * 3 + (session(0.89, waited=0.5),), 0.89, 4, id="far below at last"),
        pytest.param((NOISY,) * 3 + (session(0.95),), 0.95, 6, id="three quiet ones within"),
        pytest.param((NOISY,) * 3 + (session(1.05),), 1.05, 6, id="three quiet ones over"),
        pytest.param((session(0.95), NOISY, session(0.96)), 0.96, 4, id="one noisy"),
        pytest.param((session(1.4), session(0.94), session(0.95)), 0.95, 6, id="one of six over"),
        pytest.param((session(0.95), session(1.2), session(1.3)), 1.3, 6, id="one of six within"),
    ],
)
def test_what_three_sessions_do_not_decide_more_of_them_may(
    timed: Callable[..., Timed], sessions: tuple[Latency, ...], expected: float, needed: int
):
    found = timed(*sessions)

    assert (found.found[-1].p50_ms, found.sessions) == (expected, needed)
    assert len(found.pauses) == needed - 3
    assert not too_noisy(found.found, 1.0)


@pytest.mark.parametrize(
    "sessions",
    [
        pytest.param((NOISY,), id="noisy for good"),
        pytest.param((session(1.01), session(0.99)) * 5, id="quiet ones that disagree"),
        pytest.param((session(1.2, waited=0.5),), id="noisy and over"),
    ],
)
def test_a_machine_that_never_decides_is_given_up_after_a_minute(
    timed: Callable[..., Timed], sessions: tuple[Latency, ...]
):
    found = timed(*sessions)

    assert too_noisy(found.found, 1.0)
    assert found.sessions == 9
    assert 40 <= sum(found.pauses) <= 60


@pytest.mark.parametrize(
    ("sessions", "undecided"),
    [
        pytest.param((1.4, 0.8, 0.81), True, id="one over"),
        pytest.param((0.97, 0.98, 1.0), False, id="none over"),
        pytest.param((1.4, 1.1, 1.01), False, id="all over"),
    ],
)
def test_sessions_that_disagree_leave_a_limit_undecided(
    sessions: tuple[float, ...], undecided: bool
):
    assert too_noisy(list(map(session, sessions)), 1.0) is undecided


def test_noise_makes_no_network_faster():
    noisy = [session(0.89, waited=0.5)]

    assert not too_noisy(noisy, 1.0)
    assert too_noisy(noisy, 0.95)
