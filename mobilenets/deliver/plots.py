"""The report's plots, as HTML with SVG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

from mobilenets.archs import Budget
from mobilenets.archs.budget import describe
from mobilenets.archs.published import FAMILIES, family_name, kin
from mobilenets.choosing.candidate import Candidate
from mobilenets.deliver.html_page import heat_map
from mobilenets.deliver.svg import (
    Axis,
    Panel,
    by_epoch,
    figure,
    legend,
    linear,
    logarithmic,
)
from mobilenets.tasks import Task
from mobilenets.text import counted

# A colour and a mark for each family, over and over.
_MARKS = (
    ("orange", "square"),
    ("sky", "diamond"),
    ("blue", "circle"),
    ("green", "triangle-up"),
    ("pink", "cross"),
    ("soft", "hexagon"),
    ("good", "triangle-down"),
    ("bad", "square"),
)
_KINDS = tuple(dict.fromkeys(map(kin, FAMILIES)))  # the EfficientNet-Lites are one
# A limit's field in `Budget` -> the key of a candidate's record, and the axis' title.
_AXES = {
    "latency_ms": ("p50_ms", "latency, p50 in ms"),
    "macs": ("macs", "MACs"),
    "params": ("params", "parameters"),
    "size_bytes": ("size_bytes", "the artifact's file, estimated"),
    "memory_bytes": ("peak_activation_bytes", "peak activations, fp32"),
}
_EXPECTED = "expected ImageNet top-1, %"
_HEIGHT = 440
_LABEL = 14  # characters of a class's name on an axis
_MARKED = 60  # epochs of which each has its mark


def priced_by(budget: Budget) -> str:
    """The limit that the trade-off is drawn against: latency where it is limited, or else the
    first limit, or else MACs."""
    return next((name for name in _AXES if name in budget.limits()), "macs")


def price_of(one: dict[str, Any], limit: str) -> float | None:
    """What a candidate's record says that it spends on a limit: of latency the p50 measured, or
    else predicted."""
    if limit == "latency_ms":
        return one["latency"]["p50_ms"] if one["latency"] else one["predicted_ms"]
    return one[_AXES[limit][0]]


class _Priced(NamedTuple):
    """A candidate's record with its place in the plot."""

    x: float
    y: float
    record: dict[str, Any]

    @property
    def place(self) -> tuple[float, float]:
        return self.x, self.y


def tradeoff(candidates: list[dict[str, Any]], chosen: tuple[str, str], budget: Budget) -> str:
    """Expected ImageNet top-1 of every candidate against what `priced_by` says; `chosen` is a
    network's full name and its runtime."""
    axis = priced_by(budget)
    priced = [
        _Priced(price, one["expected_imagenet_top1"], one)
        for one in candidates
        if (price := price_of(one, axis)) is not None
    ]
    limit = budget.limits().get(axis)
    prices = [*(one.x for one in priced), *([] if limit is None else [limit])]
    panel = Panel(_log_axis(axis, prices), linear(_EXPECTED, [one.y for one in priced]))
    keys, faint, marks = [], [], []
    for kind, (colour, shape) in zip(_KINDS, cycle(_MARKS), strict=False):
        found = [one for one in priced if kin(one.record["name"]) == kind]
        if not found:
            continue
        keys.append((_label(kind), shape, colour))
        guessed = [one.place for one in found if one.record["latency"] is None]
        faint.append(panel.dots(guessed, colour, opacity=0.4))
        known = [one for one in found if one.record["latency"] is not None]
        marks += [panel.mark(*one.place, shape, colour, words=_note(one, axis)) for one in known]
    stars = [one for one in priced if (one.record["full_name"], one.record["runtime"]) == chosen]
    marks += [panel.mark(*one.place, "star", "red", words=_note(one, axis)) for one in stars[:1]]
    rules = [] if limit is None else [panel.rule(limit, "red", "7 5")]
    keys.append(("chosen", "star", "red"))
    return figure(legend(keys), panel.draw([*faint, *rules, *marks], height=_HEIGHT))


def _label(kind: str) -> str:
    """V3-Large, EfficientNet-Lite."""
    return family_name(kind).removeprefix("MobileNet")


def _note(one: _Priced, axis: str) -> str:
    how = "measured" if one.record["latency"] else "predicted"
    how = f" {how}" if axis == "latency_ms" else ""
    return (
        f"{one.record['full_name']} in {one.record['runtime']}\n{describe(axis, one.x)}{how}\n"
        f"{one.y:.1f} % expected on ImageNet"
    )


def training(rows: list[dict[str, float]], task: Task) -> str:
    """Losses above, the holdout images' metric below, by epoch, and which epoch was kept."""
    kept = min(rows, key=lambda row: row["holdout_loss"])["epoch"] + 1 if rows else None
    losses = [("train_loss", "training loss", "dashes", "sky")]
    losses.append(("holdout_loss", "held-out loss", "line", "blue"))
    metric = [(f"holdout_{task.metric}", f"held-out {task.title}, %", "line", "red")]
    keys = [(label, how, colour) for _, label, how, colour in [*losses, *metric]]
    values = [row[column] for row in rows for column, *_ in losses]
    percents = [row[metric[0][0]] for row in rows]
    return figure(
        legend(keys),
        _curves(rows, losses, linear("loss", values, zero=True), kept, height=240),
        _curves(rows, metric, linear(f"{task.title}, %", percents), kept, height=200),
    )


def _curves(
    rows: list[dict[str, float]],
    columns: Sequence[tuple[str, str, str, str]],
    y: Axis,
    kept: float | None,
    *,
    height: int,
) -> str:
    """A panel of these columns (key, label, line or dashes, colour) by epoch."""
    panel = Panel(by_epoch(len(rows)), y)
    parts = [] if kept is None else [panel.rule(kept, "soft", "2 4")]
    for column, label, how, colour in columns:
        points = [(row["epoch"] + 1, row[column]) for row in rows]
        parts.append(panel.line(points, colour, dashed=how == "dashes"))
        if len(rows) <= _MARKED:
            parts += [
                panel.mark(x, y, "dot", colour, words=f"epoch {x:.0f}\n{label} {y:.4g}")
                for x, y in points
            ]
    return panel.draw(parts, height=height)


def confusion(classes: list[str], matrix: list[list[int]]) -> str:
    """Counts as a heat map: rows are the true classes, columns the predictions."""
    cells = [
        [
            (str(count or ""), f"is {true}, predicted {said}: {counted(count, 'image')}",
             _heat(row, count))
            for said, count in zip(classes, row, strict=True)
        ]
        for true, row in zip(classes, matrix, strict=True)
    ]  # fmt: skip
    return heat_map([_short(name) for name in classes], cells)


def precisions(curves: Sequence[dict[str, Any]]) -> str:
    """Precision by recall, a line for each label's `points`."""
    panel = Panel(linear("recall", [0, 1], zero=True), linear("precision", [0, 1], zero=True))
    drawn = list(zip(curves, cycle(_RUNTIME_COLOURS)))
    return figure(
        legend((one["label"], "line", colour) for one, colour in drawn),
        panel.draw([panel.line(one["points"], colour) for one, colour in drawn], height=300),
    )


def _heat(row: list[int], count: int) -> float:
    """The root of the share of a class's images, so that few mistakes show beside many images."""
    return (count / max(sum(row), 1)) ** 0.5


def _short(name: str) -> str:
    """A class's name cut to what a phone has room for."""
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"


_RUNTIME_COLOURS = ("blue", "orange", "green", "red", "pink", "sky", "ink")


def fronts(runtimes: Sequence[tuple[str, Sequence[Candidate], Sequence[Candidate]]]) -> str:
    """Expected ImageNet top-1 against predicted latency: for each runtime's name all candidates as
    faint dots, and the line of those that nothing beats."""
    pools = [_places(pool) for _, pool, _ in runtimes]
    everything = [place for pool in pools for place in pool]
    panel = Panel(
        _log_axis("latency_ms", [x for x, _ in everything]),
        linear(_EXPECTED, [y for _, y in everything]),
    )
    keys, faint, marks = [], [], []
    for (name, _, front), pool, colour in zip(runtimes, pools, cycle(_RUNTIME_COLOURS)):
        keys.append((name, "line", colour))
        faint.append(panel.dots(pool, colour, opacity=0.2))
        marks.append(panel.line(_places(front), colour))
        marks += [
            panel.mark(x, y, "dot", colour,
                       words=f"{one.arch.full_name}, {name}\n{x:.3g} ms, {y:.1f} %")
            for one in front for x, y in _places([one])
        ]  # fmt: skip
    return figure(legend(keys), panel.draw([*faint, *marks], height=_HEIGHT))


def _places(candidates: Sequence[Candidate]) -> list[tuple[float, float]]:
    return [
        (one.predicted_ms, one.expected.top1) for one in candidates if one.predicted_ms is not None
    ]


# How a series of `family` is drawn -> its mark and its colour.
_DRAWN = {
    "line": ("dot", "blue"), "dashes": ("dot", "soft"), "dots": ("circle", "green"),
    "star": ("star", "red"),
}  # fmt: skip


def family(
    limit: str, series: Sequence[tuple[str, str, Sequence[tuple[str, float, float]]]]
) -> str:
    """Held-out accuracy against the price by `limit`: for each label how it is drawn (line, dashes,
    dots, star) and its points (name, price, accuracy in percent)."""
    points = [point for _, _, some in series for point in some]
    panel = Panel(
        _log_axis(limit, [price for _, price, _ in points]),
        linear("accuracy on held-out training images, %", [accuracy for *_, accuracy in points]),
    )
    keys, parts = [], []
    for label, how, some in series:
        shape, colour = _DRAWN[how]
        joined = how in ("line", "dashes")
        keys.append((label, how if joined else shape, colour))
        if joined:
            places = [(price, accuracy) for _, price, accuracy in some]
            parts.append(panel.line(places, colour, dashed=how == "dashes"))
        parts += [
            panel.mark(price, accuracy, shape, colour,
                       words=f"{name}\n{describe(limit, price)}, {accuracy:.2f} %")
            for name, price, accuracy in some
        ]  # fmt: skip
    return figure(legend(keys), panel.draw(parts, height=_HEIGHT))


def _log_axis(limit: str, prices: Sequence[float]) -> Axis:
    return logarithmic(
        f"{_AXES[limit][1]} (log scale)",
        prices,
        lambda value: describe(limit, value).removesuffix(" ms"),
    )
