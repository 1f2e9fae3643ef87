"""Latency by arithmetic: non-negative prices for layers, MACs, values moved and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from mobilenets.archs import Arch, Cost, cost

Floats = NDArray[np.float64]


def features(costs: Cost) -> tuple[float, ...]:
    """Layers, MACs, values moved (the feature maps that layers read and write) and weights, each
    in a unit that takes about as long."""
    ops = [layer.op for layer in costs.layers]
    moved = sum(op.in_channels * op.in_size.area + op.out_channels * op.out_size.area for op in ops)
    weights = costs.size_bytes.fp32 / 4
    return len(ops) / 1e3, costs.macs / 1e8, moved / 1e7, weights / 1e7


def fit(table: Floats, times: Floats, *, weights: Floats | None = None) -> Floats:
    """The non-negative price of each column, for the least relative error of the times, each of
    which counts by its weight (None: alike)."""
    weights = np.ones(len(times)) if weights is None else weights
    prices, _ = nnls(table * (weights / times)[:, None], weights)
    return prices


@dataclass(frozen=True)
class Prices:
    """Prices for each kind of row."""

    by_kind: Mapping[str, Floats]
    overall: Floats

    def price(self, piece: Arch) -> float:
        """Milliseconds, by the prices of the piece's kind, or of all pieces."""
        prices = self.by_kind.get(_kind(piece), self.overall)
        return float(np.array(features(cost(piece))) @ prices)


def fit_prices(times_ms: Mapping[Arch, float]) -> Prices:
    """Prices from measured pieces."""
    groups: dict[str, list[Arch]] = {}
    for piece in times_ms:
        groups.setdefault(_kind(piece), []).append(piece)
    enough = {kind: some for kind, some in groups.items() if len(some) >= _ENOUGH}
    return Prices(
        by_kind={kind: _fit_some(some, times_ms) for kind, some in enough.items()},
        overall=_fit_some(list(times_ms), times_ms),
    )


_ENOUGH = 20


def _kind(piece: Arch) -> str:
    row = piece.parts[0]
    words = (getattr(row, "kernel", ""), getattr(row, "stride", ""), getattr(row, "se", ""))
    return " ".join(map(str, (type(row).__name__, *words)))


def _fit_some(some: list[Arch], times_ms: Mapping[Arch, float]) -> Floats:
    table = np.array([features(cost(piece)) for piece in some])
    return fit(table, np.array([times_ms[piece] for piece in some]))
