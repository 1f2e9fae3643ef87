"""The report's plots, as plotly figures in HTML fragments."""

from __future__ import annotations

from html import escape
from typing import Any

import plotly.graph_objects as go
import plotly.io

from mobilenets.archs import Budget

# Okabe and Ito's palette, told apart with any colour vision.
_COLOURS = {
    "mobilenet_v1": "#e69f00",
    "mobilenet_v2": "#56b4e9",
    "mobilenet_v3_large": "#0072b2",
    "mobilenet_v3_small": "#009e73",
}
_CHOSEN = "#d55e00"
_LABEL = 14  # characters of a class's name on an axis


def html(figure: go.Figure, *, height: int = 440) -> str:
    """The figure as a fragment; the page brings plotly.js."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 56, "r": 12, "t": 12, "b": 48},
        legend={
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
        },
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    return plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        config={"responsive": True, "displayModeBar": False},
    )


def tradeoff(candidates: list[dict[str, Any]], chosen: str, budget: Budget) -> str:
    """Expected ImageNet top-1 against latency, or against MACs where latency has no limit."""
    by_latency = budget.latency_ms is not None
    price = _price_ms if by_latency else _price_macs
    figure = go.Figure()
    for family, colour in _COLOURS.items():
        of_family = [one for one in candidates if one["name"] == family and price(one)]
        guessed = [one for one in of_family if one["latency"] is None]
        known = [one for one in of_family if one["latency"] is not None]
        label = family.removeprefix("mobilenet_").replace("_", "-").title()
        faint = {"color": colour, "size": 4, "opacity": 0.3}
        marks = {"color": colour, "size": 9, "line": {"width": 1, "color": "#1c2733"}}
        faint_only = not known  # then the faint dots explain the colour
        figure.add_trace(_dots(guessed, price, label, faint).update(showlegend=faint_only))
        figure.add_trace(_dots(known, price, label, marks))
    star = {"color": _CHOSEN, "size": 17, "symbol": "star", "line": {"width": 1, "color": "#000"}}
    figure.add_trace(
        _dots([one for one in candidates if one["full_name"] == chosen], price, "chosen", star)
    )
    limit = budget.latency_ms if by_latency else budget.macs
    if limit is not None:
        figure.add_vline(x=limit, line={"color": _CHOSEN, "dash": "dash"})
    figure.update_layout(legend={"itemsizing": "constant"})
    unit = "latency, ms (log scale)" if by_latency else "million MACs (log scale)"
    ticks = [digit * 10**power for power in range(-3, 5) for digit in (1, 2, 5)]
    figure.update_xaxes(type="log", title=unit, tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
    figure.update_yaxes(title="expected ImageNet top-1, %")
    return html(figure, height=520)


def _dots(
    found: list[dict[str, Any]], price: Any, label: str, marker: dict[str, Any]
) -> go.Scatter:
    return go.Scatter(
        x=[price(one) for one in found],
        y=[one["expected_imagenet_top1"] for one in found],
        text=[escape(one["full_name"]) for one in found],
        mode="markers",
        name=label,
        marker=marker,
        hovertemplate="%{text}<br>%{x:.3g}, %{y:.1f} %<extra></extra>",
    )


def _price_ms(one: dict[str, Any]) -> float | None:
    return one["latency"]["p50_ms"] if one["latency"] else one["predicted_ms"]


def _price_macs(one: dict[str, Any]) -> float:
    return one["macs"] / 1e6


def training(rows: list[dict[str, float]]) -> str:
    """Losses to the left, holdout top-1 to the right, by epoch."""
    epochs = [row["epoch"] + 1 for row in rows]
    figure = go.Figure()
    for column, label, colour in (
        ("train_loss", "training loss", "#56b4e9"),
        ("holdout_loss", "holdout loss", "#0072b2"),
    ):
        y = [row[column] for row in rows]
        figure.add_scatter(x=epochs, y=y, name=label, line={"color": colour})
    y = [row["holdout_top1"] for row in rows]
    line = {"color": _CHOSEN, "dash": "dot"}
    figure.add_scatter(x=epochs, y=y, name="holdout top-1, %", yaxis="y2", line=line)
    figure.update_layout(
        yaxis={"title": "loss", "rangemode": "tozero"},
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "range": [0, 100],
            "dtick": 20,
            "showgrid": False,
            "tickmode": "linear",
            "title": "top-1, %",
        },
    )
    figure.update_xaxes(title="epoch", tick0=1, dtick=max(1, len(rows) // 10))
    return html(figure)


def layers(names: list[str], macs: list[int], params: list[int]) -> str:
    """Each row's share of all MACs and of all parameters."""
    figure = go.Figure()
    for values, label, colour in (
        (params, "parameters", "#e69f00"),
        (macs, "MACs", "#0072b2"),
    ):
        share = [100 * value / max(sum(values), 1) for value in values]
        figure.add_bar(y=names, x=share, name=label, orientation="h", marker={"color": colour})
    figure.update_yaxes(autorange="reversed", automargin=True, tickfont={"size": 11})
    figure.update_xaxes(title="share of the whole network, %")
    return html(figure, height=max(320, 26 * len(names) + 110))


def confusion(classes: list[str], matrix: list[list[int]]) -> str:
    """Counts as a heat map: rows are the true classes, columns what the network says."""
    share = [[count / max(sum(row), 1) for count in row] for row in matrix]
    names = [escape(name) for name in classes]
    notes = [
        [
            f"is {true}<br>said {said}<br>{count} images"
            for said, count in zip(names, row, strict=True)
        ]
        for true, row in zip(names, matrix, strict=True)
    ]
    heat = go.Heatmap(
        z=share,
        text=matrix,
        texttemplate="%{text}",  # plotly leaves out what does not fit a cell
        hovertext=notes,
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale="Blues",
        showscale=False,
    )
    # Places by number: two names may look alike once they are cut.
    labels = {
        "tickvals": list(range(len(classes))),
        "ticktext": [_short(name) for name in classes],
        "automargin": True,
        "showgrid": False,
    }
    figure = go.Figure(heat)
    upright = 90 if len(classes) > 10 else None  # slanted, the last would leave the plot
    figure.update_xaxes(title="said", tickangle=upright, **labels)
    figure.update_yaxes(title="is", autorange="reversed", **labels)
    plot = html(figure, height=max(360, 28 * len(classes) + 180))
    width = 120 + 22 * len(classes)  # below this the names run into each other
    return f'<div class="scroll"><div style="min-width:{width}px">{plot}</div></div>'


def _short(name: str) -> str:
    """A class's name cut to what a phone has room for."""
    return escape(name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…")
