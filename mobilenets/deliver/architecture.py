"""The report's sections on the architecture: the cost of each row, and the paper's table."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mobilenets.archs import Arch, Cost, Size
from mobilenets.archs.budget import describe
from mobilenets.archs.counts import LayerCost
from mobilenets.archs.rows import Row
from mobilenets.deliver.html_page import Share, details, paragraph, section, table


def costs_section(arch: Arch, costs: Cost) -> str:
    """MACs and parameters of each row, and of each layer to unfold."""
    header = ["#", "operator", "map", "MACs", "params"]
    most = max(layer.macs for layer in costs.layers), max(layer.params for layer in costs.layers)
    layers = [
        [layer.op.name, layer.op.kind, _map(layer.op.in_size, layer.op.out_size),
         _share("macs", layer.macs, most[0]), _share("params", layer.params, most[1])]
        for layer in costs.layers[1:]
    ]  # fmt: skip
    return section(
        "Cost of each row",
        table(header, _row_costs(arch, costs), tight=True),
        details(
            f"Every layer ({len(layers)})",
            table(["layer", "kind", "map", "MACs", "params"], layers, tight=True),
        ),
    )


def _lines(arch: Arch, costs: Cost) -> list[tuple[str, list[LayerCost]]]:
    """The operator and the layers of each row, then of each layer of the head."""
    found = [
        (_operator(row), [layer for layer in costs.layers if layer.op.row == index])
        for index, row in enumerate(arch.rows)
    ]
    head = (layer for layer in costs.layers if layer.op.row == len(arch.rows))
    return [*found, *((layer.op.part, [layer]) for layer in head)]


def _row_costs(arch: Arch, costs: Cost) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for index, (operator, layers) in enumerate(_lines(arch, costs)):
        sums = sum(layer.macs for layer in layers), sum(layer.params for layer in layers)
        sizes = _map(layers[0].op.in_size, layers[-1].op.out_size)
        rows.append([str(index), operator, sizes, *sums])
    macs, params = (max(row[column] for row in rows) for column in (3, 4))
    return [
        [*row[:3], _share("macs", row[3], macs), _share("params", row[4], params)] for row in rows
    ]


def _map(before: Size, after: Size) -> str:
    return _square(before) if before == after else f"{_square(before)} → {_square(after)}"


def _square(size: Size) -> str:
    return f"{size}²" if size.height == size.width else str(size)


def _share(unit: str, value: int, most: int) -> Share:
    return Share(describe(unit, value), value / max(most, 1))


def architecture_section(arch: Arch, costs: Cost) -> str:
    """The rows as the papers print them."""
    header = ["input", "operator", "exp", "out", "SE", "NL", "s"]
    rows = [_row_columns(*line) for line in _lines(arch, costs)]
    text = (
        "Columns as in the papers: exp, channels inside a bottleneck; SE, squeeze-and-excite; NL, "
        "activation; s, stride."
    )
    return section("Architecture", paragraph(text, kind="note"), table(header, rows, tight=True))


def _row_columns(operator: str, layers: Sequence[LayerCost]) -> list[str]:
    """The paper's columns of one row: input, operator, exp, out, SE, NL, s."""
    ours = [layer.op for layer in layers]
    expanded = next((op.in_channels for op in ours if op.role == "project"), None)
    weights = [op for op in ours if op.has_weights]
    strides = prod(op.stride for op in weights)
    return [
        f"{_square(ours[0].in_size)} x {ours[0].in_channels}",
        operator,
        "-" if expanded is None else str(expanded),
        str(ours[-1].out_channels),
        "✓" if any(op.role == "gate" for op in ours) else "-",
        next((op.act for op in weights if op.act), "-"),
        "-" if ours[0].name.startswith("head") else str(strides),
    ]


def _operator(row: Row) -> str:
    kernel = getattr(row, "kernel", None)
    name = type(row).__name__.lower()
    return f"{name} {kernel}x{kernel}" if kernel else name
