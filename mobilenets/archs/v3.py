"""Searching for MobileNetV3. arXiv:1905.02244.

Squeeze-and-excite has a quarter of the expanded channels, rounded to 8 (section 5.3). Row 12 of
Small has no squeeze-and-excite: the paper's tick is in no released network.
"""

from __future__ import annotations

from dataclasses import replace

from mobilenets.archs.arch import Arch
from mobilenets.archs.heads import Classify
from mobilenets.archs.rows import Bottleneck, Conv

RE, HS = "relu", "hswish"
SE, NO = True, False

# Table 1
# fmt: off
_LARGE = (
    #       kernel  expand  out  se  act stride     input
    Conv(      3,           16,      HS, 2),    # 224 x 224 x 3
    Bottleneck(3,     16,   16,  NO, RE, 1),    # 112 x 112 x 16
    Bottleneck(3,     64,   24,  NO, RE, 2),    # 112 x 112 x 16
    Bottleneck(3,     72,   24,  NO, RE, 1),    # 56 x 56 x 24
    Bottleneck(5,     72,   40,  SE, RE, 2),    # 56 x 56 x 24
    Bottleneck(5,    120,   40,  SE, RE, 1),    # 28 x 28 x 40
    Bottleneck(5,    120,   40,  SE, RE, 1),    # 28 x 28 x 40
    Bottleneck(3,    240,   80,  NO, HS, 2),    # 28 x 28 x 40
    Bottleneck(3,    200,   80,  NO, HS, 1),    # 14 x 14 x 80
    Bottleneck(3,    184,   80,  NO, HS, 1),    # 14 x 14 x 80
    Bottleneck(3,    184,   80,  NO, HS, 1),    # 14 x 14 x 80
    Bottleneck(3,    480,  112,  SE, HS, 1),    # 14 x 14 x 80
    Bottleneck(3,    672,  112,  SE, HS, 1),    # 14 x 14 x 112
    Bottleneck(5,    672,  160,  SE, HS, 2),    # 14 x 14 x 112
    Bottleneck(5,    960,  160,  SE, HS, 1),    # 7 x 7 x 160
    Bottleneck(5,    960,  160,  SE, HS, 1),    # 7 x 7 x 160
    Conv(      1,          960,      HS),       # 7 x 7 x 160
)
_LARGE_HEAD = Classify(dense=1280, act=HS)      # 7 x 7 x 960, pooled

# Table 2
_SMALL = (
    #       kernel  expand  out  se  act stride     input
    Conv(      3,           16,      HS, 2),    # 224 x 224 x 3
    Bottleneck(3,     16,   16,  SE, RE, 2),    # 112 x 112 x 16
    Bottleneck(3,     72,   24,  NO, RE, 2),    # 56 x 56 x 16
    Bottleneck(3,     88,   24,  NO, RE, 1),    # 28 x 28 x 24
    Bottleneck(5,     96,   40,  SE, HS, 2),    # 28 x 28 x 24
    Bottleneck(5,    240,   40,  SE, HS, 1),    # 14 x 14 x 40
    Bottleneck(5,    240,   40,  SE, HS, 1),    # 14 x 14 x 40
    Bottleneck(5,    120,   48,  SE, HS, 1),    # 14 x 14 x 40
    Bottleneck(5,    144,   48,  SE, HS, 1),    # 14 x 14 x 48
    Bottleneck(5,    288,   96,  SE, HS, 2),    # 14 x 14 x 48
    Bottleneck(5,    576,   96,  SE, HS, 1),    # 7 x 7 x 96
    Bottleneck(5,    576,   96,  SE, HS, 1),    # 7 x 7 x 96
    Conv(      1,          576,      HS),       # 7 x 7 x 96
)
_SMALL_HEAD = Classify(dense=1024, act=HS)      # 7 x 7 x 576, pooled
# fmt: on

MOBILENET_V3_LARGE = Arch("mobilenet_v3_large", 3, _LARGE, _LARGE_HEAD)
MOBILENET_V3_SMALL = Arch("mobilenet_v3_small", 3, _SMALL, _SMALL_HEAD)


def _minimalistic(arch: Arch, head: Classify) -> Arch:
    """The released "minimalistic" variant: same channels, 3x3 kernels, no squeeze-and-excite,
    ReLU everywhere (tensorflow/models, research/slim/nets/mobilenet/README.md)."""
    stem, *blocks, last = (row.with_columns(act=RE) for row in arch.rows)
    plain = (block.with_columns(kernel=3, se=False) for block in blocks)
    return replace(
        arch,
        name=f"{arch.name}_minimalistic",
        rows=(stem, *plain, last),
        head=replace(head, act=RE),
    )


MOBILENET_V3_LARGE_MINIMALISTIC = _minimalistic(MOBILENET_V3_LARGE, _LARGE_HEAD)
MOBILENET_V3_SMALL_MINIMALISTIC = _minimalistic(MOBILENET_V3_SMALL, _SMALL_HEAD)
