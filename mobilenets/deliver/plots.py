"""The report's plots, as plotly figures in HTML fragments."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from mobilenets.archs import Budget
from mobilenets.archs.budget import describe
from mobilenets.archs.published import FAMILIES
from mobilenets.choosing.candidate import Candidate
from mobilenets.deliver.html_page import PALETTE, plot
from mobilenets.tasks import Task
from mobilenets.text import counted

# The colours of the day; the page's script puts those of the night in their place.
_DAY = {name: shades[0] for name, shades in PALETTE.items()}
# A colour and a mark for each family, over and over.
_MARKS = (
    ("orange", "square"),
    ("sky", "diamond"),
    ("blue", "circle"),
    ("green", "triangle-up"),
    ("pink", "cross"),
    ("soft", "hexagon"),
    ("good", "triangle-down"),
)
# A limit's field in `Budget` -> the key of a candidate's record, and the axis' title.
_AXES = {
    "latency_ms": ("p50_ms", "latency, p50 in ms"),
    "macs": ("macs", "MACs"),
    "params": ("params", "parameters"),
    "size_bytes": ("size_bytes", "the artifact's file, estimated"),
    "memory_bytes": ("peak_activation_bytes", "peak activations, fp32"),
}
_LABEL = 14  # characters of a class's name on an axis


def _html(figure: go.Figure, *, height: int, min_width: int = 0) -> str:
    """The figure in the page's colours. Nothing zooms: a finger on a plot scrolls the page."""
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 52, "r": 12, "t": 12, "b": 48},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        font={"family": "system-ui, sans-serif", "size": 13, "color": _DAY["ink"]},
        hoverlabel={"bgcolor": _DAY["panel"], "font": {"color": _DAY["ink"]}},
        dragmode=False,
    )
    axis = {"fixedrange": True, "gridcolor": _DAY["line"], "zeroline": False, "automargin": True}
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
    return plot(figure.to_json(), height=height, min_width=min_width)


def priced_by(budget: Budget) -> str:
    """The limit that the trade-off is drawn against: latency where it is limited, or else the
    first limit, or else MACs."""
    return next((name for name in _AXES if name in budget.limits()), "macs")


def tradeoff(candidates: list[dict[str, Any]], chosen: tuple[str, str], budget: Budget) -> str:
    """Expected ImageNet top-1 of every candidate against what `priced_by` says; `chosen` is a
    network's full name and its runtime."""
    axis = priced_by(budget)
    priced = [one for one in candidates if _price(one, axis) is not None]
    figure = go.Figure()
    for family, mark in zip(FAMILIES, cycle(_MARKS), strict=False):
        _add_family_(figure, [one for one in priced if one["name"] == family], axis, mark)
    outline = {"width": 1, "color": _DAY["ink"]}
    star = {"color": _DAY["red"], "size": 18, "symbol": "star", "line": outline}
    stars = [one for one in priced if (one["full_name"], one["runtime"]) == chosen]
    figure.add_trace(_dots(stars, axis, "chosen", star))
    limit = budget.limits().get(axis)
    if limit is not None:
        figure.add_vline(x=limit, line={"color": _DAY["red"], "dash": "dash", "width": 2})
    _log_axis_(figure, axis)
    figure.update_yaxes(title="expected ImageNet top-1, %")
    figure.update_layout(legend={"itemsizing": "constant"})
    return _html(figure, height=520)


def _add_family_(
    figure: go.Figure, found: list[dict[str, Any]], axis: str, mark: tuple[str, str]
) -> None:
    """Faint dots, and solid marks for what was measured; one of them explains the colour."""
    if not found:
        return
    colour, symbol = mark
    label = "-".join(word.title() for word in found[0]["name"].split("_")[1:])  # V3-Large
    guessed = [one for one in found if one["latency"] is None]
    known = [one for one in found if one["latency"] is not None]
    faint = {"color": _DAY[colour], "size": 4, "opacity": 0.35}
    outline = {"width": 1, "color": _DAY["ink"]}
    solid = {"color": _DAY[colour], "size": 10, "symbol": symbol, "line": outline}
    figure.add_trace(_dots(guessed, axis, label, faint).update(showlegend=not known))
    figure.add_trace(_dots(known, axis, label, solid))


def _dots(found: list[dict[str, Any]], axis: str, label: str, marker: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=[_price(one, axis) for one in found],
        y=[one["expected_imagenet_top1"] for one in found],
        text=[_note(one, axis) for one in found],
        mode="markers",
        name=label,
        marker=marker,
        hovertemplate="%{text}<extra></extra>",
    )


def _price(one: dict[str, Any], axis: str) -> float | None:
    if axis == "latency_ms":
        return one["latency"]["p50_ms"] if one["latency"] else one["predicted_ms"]
    return one[_AXES[axis][0]]


def _note(one: dict[str, Any], axis: str) -> str:
    price = _price(one, axis)
    how = "measured" if one["latency"] else "predicted"
    how = f" {how}" if axis == "latency_ms" else ""
    return (
        f"{escape(one['full_name'])} in {escape(one['runtime'])}<br>"
        f"{describe(axis, price or 0)}{how}<br>"
        f"{one['expected_imagenet_top1']:.1f} % expected on ImageNet"
    )


def training(rows: list[dict[str, float]], task: Task) -> str:
    """Losses above, the holdout images' metric below, by epoch, and which epoch was kept."""
    epochs = [row["epoch"] + 1 for row in rows]
    mode = "lines+markers" if len(rows) <= 30 else "lines"
    figure = go.Figure()
    for column, label, colour, dash, axis in (
        ("train_loss", "training loss", "sky", "solid", "y"),
        ("holdout_loss", "holdout loss", "blue", "dash", "y"),
        (f"holdout_{task.metric}", f"holdout {task.title}, %", "red", "solid", "y2"),
    ):
        line = {"color": _DAY[colour], "dash": dash, "width": 2}
        y = [row[column] for row in rows]
        hover = f"epoch %{{x}}<br>{label} %{{y:.4g}}<extra></extra>"
        figure.add_scatter(
            x=epochs, y=y, name=label, mode=mode, line=line, yaxis=axis, hovertemplate=hover
        )
    figure.update_layout(
        yaxis={"title": "loss", "rangemode": "tozero", "domain": [0.46, 1]},
        yaxis2={"title": f"{task.title}, %", "domain": [0, 0.38], "anchor": "x"},
        xaxis={"title": "epoch", "anchor": "y2", "tick0": 1, "dtick": -(-len(rows) // 8) or 1},
    )
    if rows:
        kept = min(rows, key=lambda row: row["holdout_loss"])["epoch"] + 1
        figure.add_vline(x=kept, line={"color": _DAY["soft"], "dash": "dot", "width": 1.5})
    return _html(figure, height=480)


def confusion(classes: list[str], matrix: list[list[int]]) -> str:
    """Counts as a heat map: rows are the true classes, columns what the network says; blue where
    it is right, red where it is wrong."""
    names = [escape(name) for name in classes]
    heat = go.Heatmap(
        z=[[_heat(row, at, said) for said in range(len(row))] for at, row in enumerate(matrix)],
        text=[[str(count or "") for count in row] for row in matrix],
        texttemplate="%{text}",
        hovertext=[
            [
                f"is {true}<br>said {said}<br>{counted(n, 'image')}"
                for said, n in zip(names, row, strict=True)
            ]
            for true, row in zip(names, matrix, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale=[[0, _DAY["red"]], [0.5, _DAY["ground"]], [1, _DAY["blue"]]],
        zmin=-1,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
    )
    # Places by number: two names may look alike once they are cut.
    labels = {
        "tickvals": list(range(len(classes))),
        "ticktext": [_short(name) for name in classes],
        "showgrid": False,
        "ticks": "",
    }
    figure = go.Figure(heat)
    figure.update_xaxes(**labels)
    figure.update_yaxes(autorange="reversed", **labels)
    digits = len(str(max((max(row) for row in matrix), default=0)))
    cell = max(20, 7 * digits + 4)  # pixels that the largest count needs
    height = max(320, 28 * len(classes) + 150)
    return _html(figure, height=height, min_width=cell * len(classes) + 110)


def _heat(row: list[int], true: int, said: int) -> float:
    """The share of a class's images, below 0 for the wrong ones. Its root, so that few mistakes
    show beside many images."""
    share = (row[said] / max(sum(row), 1)) ** 0.5
    return round(share if said == true else -share, 4)


def _short(name: str) -> str:
    """A class's name cut to what a phone has room for."""
    return escape(name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…")


_RUNTIME_COLOURS = ("blue", "orange", "green", "red", "pink", "sky", "ink")


def fronts(runtimes: Sequence[tuple[str, Sequence[Candidate], Sequence[Candidate]]]) -> str:
    """Expected ImageNet top-1 against predicted latency: for each runtime's name all candidates as
    faint dots, and the line of those that nothing beats."""
    figure = go.Figure()
    for (name, pool, front), colour in zip(runtimes, cycle(_RUNTIME_COLOURS), strict=False):
        for some, mode, opacity in ((pool, "markers", 0.15), (front, "lines+markers", 1.0)):
            figure.add_trace(
                go.Scatter(
                    x=[one.predicted_ms for one in some],
                    y=[one.expected.top1 for one in some],
                    text=[f"{one.arch.full_name}, {escape(name)}" for one in some],
                    hovertemplate="%{text}<br>%{x:.3g} ms, %{y:.1f} %<extra></extra>",
                    name=name,
                    legendgroup=name,
                    showlegend=mode != "markers",
                    mode=mode,
                    opacity=opacity,
                    marker={"size": 5, "color": _DAY[colour]},
                    line={"width": 2, "color": _DAY[colour]},
                )
            )
    _log_axis_(figure, "latency_ms")
    figure.update_yaxes(title="expected ImageNet top-1, %")
    return _html(figure, height=520)


_DRAWN: dict[str, dict[str, Any]] = {
    "line": {"mode": "lines+markers", "line": {"color": _DAY["blue"], "width": 2}},
    "dashes": {"mode": "lines+markers", "line": {"color": _DAY["soft"], "dash": "dash"}},
    "dots": {"mode": "markers", "marker": {"color": _DAY["green"], "size": 10}},
    "star": {
        "mode": "markers",
        "marker": {
            "color": _DAY["red"],
            "size": 16,
            "symbol": "star",
            "line": {"width": 1, "color": _DAY["ink"]},
        },
    },
}


def family(
    limit: str, series: Sequence[tuple[str, str, Sequence[tuple[str, float, float]]]]
) -> str:
    """Held-out accuracy against the price by `limit`: for each label how it is drawn (line, dashes,
    dots, star) and its points (name, price, accuracy in percent)."""
    figure = go.Figure()
    for label, how, points in series:
        figure.add_scatter(
            x=[price for _, price, _ in points],
            y=[accuracy for _, _, accuracy in points],
            name=label,
            text=[
                f"{escape(name)}<br>{describe(limit, price)}, {accuracy:.2f} %"
                for name, price, accuracy in points
            ],
            hovertemplate="%{text}<extra></extra>",
            **_DRAWN[how],
        )
    _log_axis_(figure, limit)
    figure.update_yaxes(title="accuracy on held-out training images, %")
    return _html(figure, height=520)


def _log_axis_(figure: go.Figure, limit: str) -> None:
    ticks = [digit * 10.0**power for power in range(-3, 11) for digit in (1, 2, 5)]
    figure.update_xaxes(
        type="log",
        title=f"{_AXES[limit][1]} (log scale)",
        tickvals=ticks,
        ticktext=[describe(limit, tick).removesuffix(" ms") for tick in ticks],
        tickangle=0,
        tickfont={"size": 11},
    )
