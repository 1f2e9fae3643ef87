"""MobileNetV4: Universal Models for the Mobile Ecosystem. arXiv:2404.10518.

The three convolutional networks. Behind each stand the pool, a dense layer of 1280 with batch norm,
and the classifier; dropout is Table 10's. Small's two "FusedIB" are plain convolutions, with an
activation behind both and no addition, in the only released weights, timm's
(timm.models.mobilenetv3).
"""

from __future__ import annotations

from mobilenets.archs.arch import Arch
from mobilenets.archs.heads import Classify
from mobilenets.archs.op import Size
from mobilenets.archs.rows import Conv, FusedBottleneck, Row, UniversalBottleneck

RE = "relu"

# fmt: off
# Table 11. K1 is the depthwise kernel before the expansion, K2 the one behind it; 0 is none.
_SMALL = (
    #                   K1 K2  expand  out act stride    input
    Conv(                   3,          32, RE, 2),    # 224 x 224 x 3
    Conv(                   3,          32, RE, 2),    # 112 x 112 x 32, FusedIB
    Conv(                   1,          32, RE, 1),
    Conv(                   3,          96, RE, 2),    # 56 x 56 x 32, FusedIB
    Conv(                   1,          64, RE, 1),
    UniversalBottleneck(5,  5,   192,   96, RE, 2),    # 28 x 28 x 64
    UniversalBottleneck(0,  3,   192,   96, RE, 1),    # 14 x 14 x 96
    UniversalBottleneck(0,  3,   192,   96, RE, 1),
    UniversalBottleneck(0,  3,   192,   96, RE, 1),
    UniversalBottleneck(0,  3,   192,   96, RE, 1),
    UniversalBottleneck(3,  0,   384,   96, RE, 1),
    UniversalBottleneck(3,  3,   576,  128, RE, 2),
    UniversalBottleneck(5,  5,   512,  128, RE, 1),    # 7 x 7 x 128
    UniversalBottleneck(0,  5,   512,  128, RE, 1),
    UniversalBottleneck(0,  5,   384,  128, RE, 1),
    UniversalBottleneck(0,  3,   512,  128, RE, 1),
    UniversalBottleneck(0,  3,   512,  128, RE, 1),
    Conv(                   1,         960, RE, 1),
)

# Table 12
_MEDIUM = (
    #                   K1 K2  expand  out act stride    input
    Conv(                   3,          32, RE, 2),    # 256 x 256 x 3
    FusedBottleneck(        3,   128,   48, RE, 2),    # 128 x 128 x 32
    UniversalBottleneck(3,  5,   192,   80, RE, 2),    # 64 x 64 x 48
    UniversalBottleneck(3,  3,   160,   80, RE, 1),    # 32 x 32 x 80
    UniversalBottleneck(3,  5,   480,  160, RE, 2),
    UniversalBottleneck(3,  3,   640,  160, RE, 1),    # 16 x 16 x 160
    UniversalBottleneck(3,  3,   640,  160, RE, 1),
    UniversalBottleneck(3,  5,   640,  160, RE, 1),
    UniversalBottleneck(3,  3,   640,  160, RE, 1),
    UniversalBottleneck(3,  0,   640,  160, RE, 1),
    UniversalBottleneck(0,  0,   320,  160, RE, 1),
    UniversalBottleneck(3,  0,   640,  160, RE, 1),
    UniversalBottleneck(5,  5,   960,  256, RE, 2),
    UniversalBottleneck(5,  5,  1024,  256, RE, 1),    # 8 x 8 x 256
    UniversalBottleneck(3,  5,  1024,  256, RE, 1),
    UniversalBottleneck(3,  5,  1024,  256, RE, 1),
    UniversalBottleneck(0,  0,  1024,  256, RE, 1),
    UniversalBottleneck(3,  0,  1024,  256, RE, 1),
    UniversalBottleneck(3,  5,   512,  256, RE, 1),
    UniversalBottleneck(5,  5,  1024,  256, RE, 1),
    UniversalBottleneck(0,  0,  1024,  256, RE, 1),
    UniversalBottleneck(0,  0,  1024,  256, RE, 1),
    UniversalBottleneck(5,  0,   512,  256, RE, 1),
    Conv(                   1,         960, RE, 1),
)

# Table 14
_LARGE = (
    #                   K1 K2  expand  out act stride    input
    Conv(                   3,          24, RE, 2),    # 384 x 384 x 3
    FusedBottleneck(        3,    96,   48, RE, 2),    # 192 x 192 x 24
    UniversalBottleneck(3,  5,   192,   96, RE, 2),    # 96 x 96 x 48
    UniversalBottleneck(3,  3,   384,   96, RE, 1),    # 48 x 48 x 96
    UniversalBottleneck(3,  5,   384,  192, RE, 2),
    UniversalBottleneck(3,  3,   768,  192, RE, 1),    # 24 x 24 x 192
    UniversalBottleneck(3,  3,   768,  192, RE, 1),
    UniversalBottleneck(3,  3,   768,  192, RE, 1),
    UniversalBottleneck(3,  5,   768,  192, RE, 1),
    UniversalBottleneck(5,  3,   768,  192, RE, 1),
    UniversalBottleneck(5,  3,   768,  192, RE, 1),
    UniversalBottleneck(5,  3,   768,  192, RE, 1),
    UniversalBottleneck(5,  3,   768,  192, RE, 1),
    UniversalBottleneck(5,  3,   768,  192, RE, 1),
    UniversalBottleneck(3,  0,   768,  192, RE, 1),
    UniversalBottleneck(5,  5,   768,  512, RE, 2),
    UniversalBottleneck(5,  5,  2048,  512, RE, 1),    # 12 x 12 x 512
    UniversalBottleneck(5,  5,  2048,  512, RE, 1),
    UniversalBottleneck(5,  5,  2048,  512, RE, 1),
    UniversalBottleneck(5,  0,  2048,  512, RE, 1),
    UniversalBottleneck(5,  3,  2048,  512, RE, 1),
    UniversalBottleneck(5,  0,  2048,  512, RE, 1),
    UniversalBottleneck(5,  0,  2048,  512, RE, 1),
    UniversalBottleneck(5,  3,  2048,  512, RE, 1),
    UniversalBottleneck(5,  5,  2048,  512, RE, 1),
    UniversalBottleneck(5,  0,  2048,  512, RE, 1),
    UniversalBottleneck(5,  0,  2048,  512, RE, 1),
    UniversalBottleneck(5,  0,  2048,  512, RE, 1),
    Conv(                   1,         960, RE, 1),
)
# fmt: on


def _network(size: str, rows: tuple[Row, ...], *, resolution: int, dropout: float) -> Arch:
    head = Classify(dropout=dropout, dense=1280, act=RE, norm=True)
    return Arch(f"mobilenet_v4_conv_{size}", 4, rows, head, Size(resolution, resolution))


MOBILENET_V4_CONV_SMALL = _network("small", _SMALL, resolution=224, dropout=0.3)
MOBILENET_V4_CONV_MEDIUM = _network("medium", _MEDIUM, resolution=256, dropout=0.2)
MOBILENET_V4_CONV_LARGE = _network("large", _LARGE, resolution=384, dropout=0.2)
