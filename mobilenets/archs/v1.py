"""MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications.

arXiv:1704.04861. The activation is ReLU6, as in every released implementation (the paper prints
ReLU); the last depthwise has stride 1 (the paper's 2 is an erratum: its output is 7x7 already).
"""

from __future__ import annotations

from dataclasses import replace

from mobilenets.archs.arch import Arch
from mobilenets.archs.heads import Classify
from mobilenets.archs.rows import Conv, Separable

RE6 = "relu6"

# Table 1. A Separable row is the paper's pair "Conv dw / s", "Conv / s1"; behind it come the pool
# and the classifier, 7 x 7 x 1024.
# fmt: off
#         kernel out  act  stride       input
_STEM = Conv(  3,  32, RE6, 2)   # 224 x 224 x 3
_BLOCKS = (
    Separable(3,  64, RE6, 1),   # 112 x 112 x 32
    Separable(3, 128, RE6, 2),   # 112 x 112 x 64
    Separable(3, 128, RE6, 1),   # 56 x 56 x 128
    Separable(3, 256, RE6, 2),   # 56 x 56 x 128
    Separable(3, 256, RE6, 1),   # 28 x 28 x 256
    Separable(3, 512, RE6, 2),   # 28 x 28 x 256
    Separable(3, 512, RE6, 1),   # 14 x 14 x 512, five times
    Separable(3, 512, RE6, 1),
    Separable(3, 512, RE6, 1),
    Separable(3, 512, RE6, 1),
    Separable(3, 512, RE6, 1),
    Separable(3, 1024, RE6, 2),  # 14 x 14 x 512
    Separable(3, 1024, RE6, 1),  # 7 x 7 x 1024
)
# fmt: on

MOBILENET_V1 = Arch("mobilenet_v1", 1, (_STEM, *_BLOCKS), Classify(dropout=0.001))


# Table 4, "Conv MobileNet": full convolutions in place of depthwise separable ones.
MOBILENET_V1_CONV = replace(
    MOBILENET_V1,
    name="mobilenet_v1_conv",
    rows=(_STEM, *(Conv(row.kernel, row.out, row.act, row.stride) for row in _BLOCKS)),
)

# Table 5, "Shallow MobileNet": the five layers of 14 x 14 x 512 removed.
MOBILENET_V1_SHALLOW = replace(
    MOBILENET_V1, name="mobilenet_v1_shallow", rows=(_STEM, *_BLOCKS[:6], *_BLOCKS[11:])
)
