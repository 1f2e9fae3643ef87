"""What a network is priced by: any function Arch -> float; those of the budget's limits here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

from mobilenets.archs import Arch, cost
from mobilenets.choosing.candidate import file_bytes
from mobilenets.choosing.latency_table import Table, read_table, table_path
from mobilenets.errors import MeasureError
from mobilenets.measuring.device import current, option, place
from mobilenets.measuring.journal import Measure
from mobilenets.runtimes import DEFAULT, Engine
from mobilenets.text import counted

Price = Callable[[Arch], float]
log = logging.getLogger(__name__)

_ARITHMETIC: dict[str, Price] = {
    "macs": lambda arch: cost(arch).macs,
    "params": lambda arch: cost(arch).params,
    "memory_bytes": lambda arch: cost(arch).peak_activation_bytes.fp32,
}


def arithmetic_price(limit: str, engine: Engine = DEFAULT) -> Price:
    """The price by a limit of `Budget` that needs no measuring: macs, params, size_bytes (an upper
    estimate of the engine's file) or memory_bytes (peak activations, fp32)."""
    if limit == "size_bytes":
        return lambda arch: file_bytes(cost(arch), engine)
    return _ARITHMETIC[limit]


class LatencyPrice:
    """ms that a network takes: as its table predicts, times what the network measured last took of
    its own prediction (1 before any is measured)."""

    def __init__(self, table: Table, measure: Measure):
        self._engine = Engine.parse(table.conditions["runtime"])
        self._predict = cache(table.predict_ms)
        self._measure = measure
        self.factor = 1.0

    def __call__(self, arch: Arch) -> float:
        return self.factor * self._predict(arch)

    def correct_(self, arch: Arch) -> None:
        """Measure `arch` whole, and price all from now on as it turned out."""
        (latency,) = self._measure([arch], self._engine)
        self.factor = latency.p50_ms / self._predict(arch)
        noise = ", on a noisy machine" if latency.noisy else ""
        log.info(f"measured {latency.p50_ms:.3f} ms, {self.factor:.3f} of the table's{noise}")


def latency_price(engine: Engine, threads: int, measure: Measure) -> LatencyPrice:
    """The price by the device's latency table; raises `MeasureError` where there is none."""
    table = read_table(table_path(engine, threads), engine, threads)
    if table is None:
        raise MeasureError(
            f"there is no latency table of {engine} with {counted(threads, 'thread')} on "
            f"{place(current().name)}; build it with: mobilenets table --runtime {engine} "
            f"--threads {threads}{option(current().name)}"
        )
    assert table.calibration  # raises MeasureError for a table that is unfinished
    return LatencyPrice(table, measure)
