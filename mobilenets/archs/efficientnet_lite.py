"""EfficientNet-Lite: V2's bottlenecks by EfficientNet's table (arXiv:1905.11946), without
squeeze-and-excite and with ReLU6. tensorflow/tpu, models/official/efficientnet/lite.

Lite1 to Lite4 are Lite0 scaled in width, depth and resolution at once; its stem, first block's
input and last convolution stay, and the first and the last stage are not repeated. Images are
padded as TensorFlow does.
"""

from __future__ import annotations

from math import ceil

from mobilenets.archs.arch import Arch
from mobilenets.archs.heads import Classify
from mobilenets.archs.op import Size, make_divisible
from mobilenets.archs.rows import Bottleneck, Conv

# arXiv:1905.11946, Table 1, as EfficientNet-Lite has it.
# fmt: off
_TABLE_1 = (
    # k  t    c  n  s     input
    (3, 1,  16, 1, 1),  # 112 x 112 x 32
    (3, 6,  24, 2, 2),  # 112 x 112 x 16
    (5, 6,  40, 2, 2),  # 56 x 56 x 24
    (3, 6,  80, 3, 2),  # 28 x 28 x 40
    (5, 6, 112, 3, 1),  # 14 x 14 x 80
    (5, 6, 192, 4, 2),  # 14 x 14 x 112
    (3, 6, 320, 1, 1),  # 7 x 7 x 192
)
# fmt: on


def _lite(number: int, *, width: float, depth: float, resolution: int, dropout: float) -> Arch:
    """EfficientNet-Lite `number` (efficientnet_lite_builder.py, efficientnet_lite_params)."""
    rows = []
    c_in = 32
    for stage, (k, t, c, n, s) in enumerate(_TABLE_1):
        ends = stage in (0, len(_TABLE_1) - 1)
        out = make_divisible(c * width)
        for repeat in range(n if ends else ceil(n * depth)):
            stride = s if repeat == 0 else 1
            rows.append(Bottleneck(k, t * c_in, out, se=False, act="relu6", stride=stride))
            c_in = out
    return Arch(
        f"efficientnet_lite{number}",
        2,  # widths follow V2's rule
        (Conv(3, 32, "relu6", 2), *rows, Conv(1, 1280, "relu6")),
        Classify(dropout=dropout),
        Size(resolution, resolution),
        padding="same",
    )


EFFICIENTNET_LITE = (
    _lite(0, width=1.0, depth=1.0, resolution=224, dropout=0.2),
    _lite(1, width=1.0, depth=1.1, resolution=240, dropout=0.2),
    _lite(2, width=1.1, depth=1.2, resolution=260, dropout=0.3),
    _lite(3, width=1.2, depth=1.4, resolution=280, dropout=0.3),
    _lite(4, width=1.4, depth=1.8, resolution=300, dropout=0.3),
)
