"""MobileNetV2: Inverted Residuals and Linear Bottlenecks. arXiv:1801.04381."""

from __future__ import annotations

from mobilenets.archs.arch import Arch
from mobilenets.archs.rows import Bottleneck, Conv

# Table 2: expansion factor t, output channels c, repeated n times, stride s of the first.
# fmt: off
_TABLE_2 = (
    # t   c  n  s     input
    (1,  16, 1, 1),  # 112 x 112 x 32
    (6,  24, 2, 2),  # 112 x 112 x 16
    (6,  32, 3, 2),  # 56 x 56 x 24
    (6,  64, 4, 2),  # 28 x 28 x 32
    (6,  96, 3, 1),  # 14 x 14 x 64
    (6, 160, 3, 2),  # 14 x 14 x 96
    (6, 320, 1, 1),  # 7 x 7 x 160
)
# fmt: on


def _bottlenecks(c_in: int) -> tuple[Bottleneck, ...]:
    """Table 2 with one row per block, its expansion in channels."""
    rows = []
    for t, c, n, s in _TABLE_2:
        for repeat in range(n):
            stride = s if repeat == 0 else 1
            rows.append(Bottleneck(3, t * c_in, c, se=False, act="relu6", stride=stride))
            c_in = c
    return tuple(rows)


MOBILENET_V2 = Arch(
    "mobilenet_v2",
    2,
    (
        Conv(3, 32, "relu6", 2),
        *_bottlenecks(32),
        Conv(1, 1280, "relu6"),
    ),
)
