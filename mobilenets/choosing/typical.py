"""What usual networks cost: what a user who has no limit yet may pick one from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mobilenets.archs import cost, expected_top1, get_arch
from mobilenets.files import cache_folder
from mobilenets.runtimes import Engine

if TYPE_CHECKING:
    from mobilenets.choosing.latency_table import Table

# From the smallest to the most accurate.
_USUAL = (
    ("mobilenet_v3_small", 0.5),
    ("mobilenet_v3_small", 1.0),
    ("mobilenet_v3_large", 1.0),
    ("mobilenet_v4_conv_medium", 1.0),
)


class Typical(NamedTuple):
    """A network at 224 pixels for 1000 classes. `latency_ms` is predicted by the device's latency
    table, None without one; `size_bytes` is of the weights in fp32."""

    name: str
    latency_ms: float | None
    macs: int
    params: int
    size_bytes: int
    top1: float


def typical(engine: Engine, threads: int) -> list[Typical]:
    """Nothing is measured for it."""
    table = _table(engine, threads)
    found = []
    for name, width in _USUAL:
        arch = get_arch(name, width=width)
        costs, expected = cost(arch), expected_top1(arch)
        found.append(
            Typical(
                name=arch.full_name,
                latency_ms=None if table is None else table.predict_ms(arch),
                macs=costs.macs,
                params=costs.params,
                size_bytes=costs.size_bytes.fp32,
                top1=expected.top1 if expected else 0.0,
            )
        )
    return found


def _table(engine: Engine, threads: int) -> Table | None:
    """The device's, where there is one. What reads it takes seconds to import: only then."""
    if not any((cache_folder() / "tables").glob(f"{engine}-*-{threads}t-*")):
        return None
    from mobilenets.choosing.latency_table import load_tables

    return load_tables([engine], threads).get(engine)
