"""Random networks, to calibrate and to test a latency table on."""

from __future__ import annotations

import random
from dataclasses import replace

from mobilenets.archs import Arch, at_resolution, get_arch, widen
from mobilenets.archs.rows import Bottleneck, Row, Separable
from mobilenets.choosing.candidate import FAMILIES, RESOLUTIONS, WIDTHS

_CLASSES = (10, 100, 1000)
_MOST_EDITS = 4


def random_networks(count: int, seed: int) -> list[Arch]:
    """`count` networks of random family, width, resolution and number of classes, up to four rows
    of each edited."""
    numbers = random.Random(seed)
    return [_random_network(numbers) for _ in range(count)]


def _random_network(numbers: random.Random) -> Arch:
    name = numbers.choice(FAMILIES)
    widths = WIDTHS[name]
    narrower = range(2 * widths.step, widths.start, widths.step)  # of few weights, as adapted ones
    width = numbers.choice([*narrower, *widths]) / 100
    arch = widen(get_arch(name, classes=numbers.choice(_CLASSES)), width)
    arch = at_resolution(arch, numbers.choice(RESOLUTIONS))
    rows = list(arch.rows)
    blocks = [at for at, row in enumerate(rows) if isinstance(row, Bottleneck | Separable)]
    for at in numbers.sample(blocks, numbers.randint(0, _MOST_EDITS)):
        rows[at] = _edited(rows[at], numbers)
    return replace(arch, rows=tuple(rows))


def _edited(row: Row, numbers: random.Random) -> Row:
    """Other channels, another kernel, or squeeze-and-excite put in or taken out."""
    match row, numbers.choice(("expand", "out", "kernel", "se")):
        case Bottleneck(expand=expand), "expand":
            return replace(row, expand=_other(expand, numbers))
        case Bottleneck(se=se), "se":
            return replace(row, se=not se)
        case Bottleneck(kernel=kernel) | Separable(kernel=kernel), "kernel":
            return replace(row, kernel=8 - kernel)  # 3 <-> 5
        case Bottleneck(out=out) | Separable(out=out), _:
            return replace(row, out=_other(out, numbers))
    return row


def _other(channels: int, numbers: random.Random) -> int:
    """Half to one and a half times as many, a multiple of 8."""
    return max(8, round(channels * numbers.uniform(0.5, 1.5) / 8) * 8)
