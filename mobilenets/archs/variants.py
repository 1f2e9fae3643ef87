"""Networks that exist only as somebody's checkpoint: edits of the papers' tables.

timm.models.efficientnet and timm.models.mobilenetv3. They load weights; the chooser, which ranks by
the papers' accuracies, does not know them.
"""

from __future__ import annotations

from dataclasses import replace

from mobilenets.archs.arch import Arch, ops
from mobilenets.archs.rows import Conv, Row
from mobilenets.archs.scale import widen
from mobilenets.archs.v1 import MOBILENET_V1
from mobilenets.archs.v2 import MOBILENET_V2
from mobilenets.archs.v3 import MOBILENET_V3_LARGE


def _repeat(arch: Arch, name: str, more: dict[int, int]) -> Arch:
    """`arch` with row `index` run `more[index]` times more; such a row's input has as many channels
    as its output."""
    rows: list[Row] = []
    for index, row in enumerate(arch.rows):
        rows.extend([row] * (1 + more.get(index, 0)))
    return replace(arch, name=name, rows=tuple(rows))


def _fixed_ends(arch: Arch) -> Arch:
    """V2 with the first 32 and the last 1280 channels of width 1.0."""
    stem, first, *blocks, last = arch.rows
    ends = stem.with_columns(out=32), first.with_columns(expand=32), last.with_columns(out=1280)
    return replace(arch, rows=(*ends[:2], *blocks, ends[2]))


def _with_head_conv(arch: Arch, name: str) -> Arch:
    """V1 with a 1x1 convolution before the pool."""
    return replace(arch, name=name, rows=(*arch.rows, Conv(1, 1024, "relu6")))


def _rw(arch: Arch, name: str) -> Arch:
    """V3-Large whose first block has no addition, and with the block's own activation inside its
    squeeze-and-excite."""
    walk = ops(arch)
    gated = {op.row for op in walk if op.role == "gate"}
    acts = {op.row: op.act for op in walk if op.is_depthwise and op.row in gated}
    rows = [
        row.with_columns(se_act=acts[at]) if at in acts else row for at, row in enumerate(arch.rows)
    ]
    rows[1] = rows[1].with_columns(skip=False)
    return replace(arch, name=name, rows=tuple(rows), rule="timm")


# Row numbers of V2: 2-3 have 24 channels, 4-6 32, 7-10 64, 11-13 96, 14-16 160.
_V2_110D = _repeat(
    widen(MOBILENET_V2, 1.1, "timm"), "mobilenet_v2_110d", {3: 1, 6: 1, 10: 1, 13: 1, 16: 1}
)
_V2_120D = _repeat(
    widen(MOBILENET_V2, 1.2, "timm"), "mobilenet_v2_120d", {3: 1, 6: 2, 10: 2, 13: 2, 16: 2}
)
# Of V3-Large: 1 has 16 channels, 3 24, 6 40, 8 the second of 80, 12 112, 15 160, 16 is 960.
_V3_150D = _repeat(
    widen(MOBILENET_V3_LARGE, 1.5, "timm"),
    "mobilenet_v3_large_150d",
    {1: 1, 3: 1, 6: 1, 8: 1, 12: 1, 15: 1, 16: 1},
)

VARIANTS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        _with_head_conv(widen(MOBILENET_V1, 1.0, "timm"), "mobilenet_v1_100h"),
        _fixed_ends(_V2_110D),
        _fixed_ends(_V2_120D),
        _V3_150D,
        _rw(MOBILENET_V3_LARGE, "mobilenet_v3_large_rw"),
    )
}
