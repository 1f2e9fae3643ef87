"""Long work tells how far it is, and the command line draws it: bars on a terminal, else lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from mobilenets.archs import get_arch
from mobilenets.choosing.halving import Trial, successive_halving
from mobilenets.cli.display import Bars, Lines, show_progress
from mobilenets.measuring.loop import Turn, interleave
from mobilenets.progress import PROGRESS, Share, report, staged
from mobilenets.train.callbacks import Reported


@pytest.fixture
def shares(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Share]]:
    """What is told of from now on."""
    caplog.set_level(PROGRESS, "mobilenets")
    return lambda: [one.share for one in caplog.records if hasattr(one, "share")]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The library's, which is afterwards as it was."""
    found = logging.getLogger("mobilenets")
    before = found.handlers, found.level, found.propagate
    yield found
    found.handlers, found.propagate = before[0], before[2]
    found.setLevel(before[1])


def record(share: Share | None, message: str = "") -> logging.LogRecord:
    made = logging.LogRecord("mobilenets", logging.INFO, "", 0, message, None, None)
    made.relativeCreated = 1500.0
    if share:
        made.share = share
    return made


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def bars(clock: Clock) -> tuple[Bars, StringIO]:
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    return Bars(clock, console), out


def test_a_share_in_words():
    assert str(Share("training", 3, 12, "epoch 1 of 4")) == "training: 25 %, epoch 1 of 4"
    assert str(Share("exporting", 0, 0)) == "exporting: 100 %"


def test_a_stage_ends_with_its_block_whatever_happens(shares: Callable[[], list[Share]]):
    def verify() -> None:
        with staged("verifying", 8) as told:
            told(4)
            told(8)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        verify()

    assert [(one.done, one.ended) for one in shares()] == [
        (0, False), (4, False), (7.992, False), (8, True),
    ]  # fmt: skip


def test_nothing_is_told_where_nobody_listens(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "mobilenets")

    report("reading", 1, 2)

    assert caplog.records == []


def test_a_terminal_shows_a_bar_with_the_share_done():
    clock = Clock()
    handler, out = bars(clock)

    handler.emit(record(Share("training", 30, 120, "epoch 1 of 4")))

    assert "training, epoch 1 of 4 " in out.getvalue()
    assert " 25% " in out.getvalue()
    assert " left" in out.getvalue()
    handler.hide()


def test_lines_stand_above_the_bar_and_the_bar_goes_with_its_stage():
    handler, out = bars(Clock())
    handler.emit(record(Share("training", 0, 120)))

    handler.emit(record(None, "epoch 1/4: training loss 2.303"))
    assert "    1.5 s  epoch 1/4: training loss 2.303" in out.getvalue()
    handler.emit(record(Share("training", 120, 120)))

    assert handler._live is None


def test_a_bar_is_drawn_twice_a_second_at_most():
    clock = Clock()
    handler, out = bars(clock)
    handler.emit(record(Share("measuring", 0, 10)))
    before = out.getvalue()

    handler.emit(record(Share("measuring", 5, 10)))
    assert out.getvalue() == before
    clock.now += 0.6
    handler.emit(record(Share("measuring", 7, 10)))

    assert " 70% " in out.getvalue()
    handler.hide()


def test_a_stage_within_another_has_a_bar_of_its_own():
    handler, out = bars(Clock())

    handler.emit(record(Share("trials", 0, 2)))
    handler.emit(record(Share("training", 1, 10)))
    handler.emit(record(Share("training", 10, 10)))

    assert "training" in out.getvalue()
    assert list(handler._tasks) == ["trials"]
    handler.hide()


def test_elsewhere_stages_are_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]):
    clock = Clock()
    handler = Lines(clock)

    for second in range(0, 25, 5):
        clock.now = 100.0 + second
        handler.emit(record(Share("training", second, 25), str(Share("training", second, 25))))

    assert capsys.readouterr().err.splitlines() == [
        "    1.5 s  training: 0 %",
        "    1.5 s  training: 40 %",
        "    1.5 s  training: 80 %",
    ]


@pytest.mark.parametrize(
    ("terminal", "options", "level", "kind"),
    [
        (False, {}, logging.INFO, Lines),
        (True, {}, PROGRESS, Bars),
        (True, {"quiet": True}, logging.WARNING, Lines),
        (False, {"verbose": True}, logging.DEBUG, Lines),
        (True, {"verbose": True}, logging.DEBUG, Bars),
    ],
)
def test_what_is_shown_depends_on_the_terminal_and_the_options(
    terminal: bool, options: dict[str, bool], level: int, kind: type,
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)

    show_progress(**options)

    assert logger.level == level
    assert [type(one) for one in logger.handlers] == [kind]


def test_trials_tell_their_share_of_all_rounds(shares: Callable[[], list[Share]]):
    archs = [get_arch("mobilenet_v2", width=width) for width in (1.0, 0.75, 0.5, 0.35)]

    successive_halving(archs, lambda arch, number, share: Trial("", number, 1, 1, arch.width, 50))

    assert [(one.stage, one.done) for one in shares()] == [
        ("trials", 0), ("trials", 0.25), ("trials", 0.5), ("trials", 0.75), ("trials", 1),
        ("trials", 1.5), ("trials", 1.998), ("trials", 2),
    ]  # fmt: skip


def test_measuring_tells_the_seconds_of_those_it_may_take(shares: Callable[[], list[Share]]):
    class Steady:
        def warm_up(self, seconds: float) -> float:
            return 1.0

        def turn(self, settle: int, burst: int) -> Turn:
            return Turn([1_000_000] * burst, 1, 0, 1)

    ticks = iter(range(0, 10**12, 500_000_000))
    interleave([Steady()], seconds=4.0, min_runs=1, clock=lambda: next(ticks))

    assert shares()[0] == Share("measuring", 0, 4.0)
    assert shares()[1] == Share("measuring", 0.5, 4.0)
    assert shares()[-1].ended


def test_training_tells_epochs_batches_and_the_last_holdout_loss(
    shares: Callable[[], list[Share]],
):
    trainer = SimpleNamespace(
        current_epoch=0, max_epochs=2, num_training_batches=3,
        callback_metrics={"holdout_loss": 0.5},
    )  # fmt: skip
    reported = Reported()

    reported.on_train_batch_end(trainer, None, None, None, 0)
    reported.on_train_epoch_end(trainer, None)
    trainer.current_epoch = 1
    reported.on_train_batch_end(trainer, None, None, None, 2)
    reported.on_train_end(trainer, None)

    assert shares() == [
        Share("training", 1, 6, "epoch 1 of 2"),
        Share("training", 5, 6, "epoch 2 of 2, holdout loss 0.500"),
        Share("training", 1, 1),
    ]
