"""Random networks, to calibrate and to test a latency table on."""

from __future__ import annotations

import random
from dataclasses import replace

from mobilenets.archs import Arch, at_resolution, get_arch, ops, widen
from mobilenets.archs.published import WIDTHS
from mobilenets.archs.rows import Row
from mobilenets.choosing.candidate import RESOLUTIONS

# Later ones are not among them: tables are calibrated on these networks, drawn by their seeds.
_FAMILIES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
_CLASSES = (10, 100, 1000)
_MOST_EDITS = 4


def random_networks(count: int, seed: int) -> list[Arch]:
    """`count` networks of random family, width, resolution and number of classes, up to four rows
    of each edited."""
    numbers = random.Random(seed)
    return [_random_network(numbers) for _ in range(count)]


def _random_network(numbers: random.Random) -> Arch:
    name = numbers.choice(_FAMILIES)
    widths = WIDTHS[name]
    narrower = range(2 * widths.step, widths.start, widths.step)  # of few weights, as adapted ones
    width = numbers.choice([*narrower, *widths]) / 100
    arch = widen(get_arch(name, classes=numbers.choice(_CLASSES)), width)
    arch = at_resolution(arch, numbers.choice(RESOLUTIONS))
    rows = list(arch.rows)
    blocks = sorted({op.row for op in ops(arch) if op.is_depthwise})
    for at in numbers.sample(blocks, numbers.randint(0, _MOST_EDITS)):
        rows[at] = _edited(rows[at], numbers)
    return replace(arch, rows=tuple(rows))


def _edited(row: Row, numbers: random.Random) -> Row:
    """Other channels, another kernel, or squeeze-and-excite put in or taken out."""
    column = numbers.choice(("expand", "out", "kernel", "se"))
    now = getattr(row, column, None)
    if now is None:
        column, now = "out", row.out
    if column == "se":
        return row.with_columns(se=not now)
    if column == "kernel":
        return row.with_columns(kernel=8 - now)  # 3 <-> 5
    return row.with_columns(**{column: _other(now, numbers)})


def _other(channels: int, numbers: random.Random) -> int:
    """Half to one and a half times as many, a multiple of 8."""
    return max(8, round(channels * numbers.uniform(0.5, 1.5) / 8) * 8)
