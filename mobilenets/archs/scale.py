"""Arch -> arch: narrower or wider, at another resolution, with a finer last feature map.

"Width 0.75" means different networks in different libraries. `paper` is the default; the others
exist to load their weights. V3-Large at 0.75 has 3,993,528 parameters by the paper's rule, which
is the published 4.0M, and 3,377,576 by torchvision's.

| rule        | stem             | expanded channels     | V3's 960 / 576 | last 1280 / 1024     |
|-------------|------------------|-----------------------|----------------|----------------------|
| paper       | x width          | follow scaled input   | x width        | never thinned (1)    |
| timm        | V3 < 0.75: fixed | follow scaled input   | x width        | as paper             |
| keras       | V3: fixed        | follow scaled input   | 6 x last block | never thinned        |
| torchvision | x width          | V3: x width alone     | 6 x last block | V3: x width          |

(1) V2's grows above width 1, V3's is fixed (V3 paper, Table 9).
V2 and V3 round channels to a multiple of 8; V1 truncates (timm and torchvision: rounds to 8).
"""

from __future__ import annotations

from dataclasses import replace

from mobilenets.archs.rows import (
    RULES,
    Arch,
    Bottleneck,
    Conv,
    Dense,
    Pool,
    Row,
    Separable,
    check_choice,
)
from mobilenets.errors import ArchError


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Channels rounded to the nearest multiple of `divisor`, never more than a tenth below
    (tensorflow/models, research/slim/nets/mobilenet/mobilenet.py)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def widen(arch: Arch, width: float, rule: str = "paper") -> Arch:
    """The network with every channel count scaled by `width` (the papers' width multiplier).

    Raises `ArchError` for a width that is not a positive number, an unknown rule, or an arch that
    was scaled before: roundings do not compose.
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < 1e6:
        raise ArchError(f"width must be a positive number, got {width!r}")
    check_choice("width rule", rule, RULES)
    if arch.width != 1.0:
        raise ArchError(f"widen takes a network of width 1.0, got {arch.full_name}")
    rows: list[Row] = []
    c_in, c_in_scaled = arch.in_channels, arch.in_channels
    for index, row in enumerate(arch.rows):
        scaled = _scale_row(arch, index, c_in, c_in_scaled, width, rule)
        c_in, c_in_scaled = getattr(row, "out", c_in), getattr(scaled, "out", c_in_scaled)
        rows.append(scaled)
    return replace(arch, rows=tuple(rows), width=float(width), rule=rule)


def _scale_row(arch: Arch, index: int, c_in: int, c_in_scaled: int, width: float, rule: str) -> Row:
    row = arch.rows[index]
    if isinstance(row, Bottleneck):
        follows_input = arch.generation < 3 or rule != "torchvision"
        expand = c_in_scaled * row.expand / c_in if follows_input else row.expand * width
        return replace(row, expand=make_divisible(expand), out=make_divisible(row.out * width))
    if isinstance(row, Dense):
        return replace(row, out=_head_channels(row.out, width, rule))
    if isinstance(row, Conv | Separable):
        if index == 0:
            return replace(row, out=_stem_channels(arch, row.out, width, rule))
        if isinstance(row, Conv) and isinstance(arch.rows[index + 1], Pool):
            return replace(row, out=_last_conv_channels(arch, index, c_in_scaled, width, rule))
        return replace(row, out=_channels(arch, row.out, width, rule))
    return row


def _channels(arch: Arch, channels: int, width: float, rule: str) -> int:
    if arch.generation > 1 or rule in ("timm", "torchvision"):
        return make_divisible(channels * width)
    return max(int(channels * width), 8 if rule == "paper" else 1)


def _stem_channels(arch: Arch, channels: int, width: float, rule: str) -> int:
    fixed = rule == "keras" or (rule == "timm" and width < 0.75)
    return channels if arch.generation == 3 and fixed else _channels(arch, channels, width, rule)


def _last_conv_channels(arch: Arch, index: int, c_in_scaled: int, width: float, rule: str) -> int:
    """The 1x1 convolution before the pool: V2's 1280, V3's 960 or 576."""
    row, block = arch.rows[index], arch.rows[index - 1]
    if arch.generation == 2:
        return max(row.out, make_divisible(row.out * width))  # type: ignore[union-attr]
    if arch.generation == 3 and rule in ("keras", "torchvision"):
        return make_divisible(c_in_scaled * row.out / block.out)  # type: ignore[union-attr]
    return _channels(arch, row.out, width, rule)  # type: ignore[union-attr]


def _head_channels(channels: int, width: float, rule: str) -> int:
    """V3's layer after the pool, 1280 or 1024."""
    if rule == "torchvision" or (rule == "keras" and width > 1):
        return make_divisible(channels * width)
    return channels


def at_resolution(arch: Arch, resolution: int) -> Arch:
    """The same network for square images of `resolution` pixels a side."""
    return replace(arch, resolution=resolution)


def keep_resolution(arch: Arch, output_stride: int) -> Arch:
    """The network for small images: its first strides of 2 become 1, until one pixel of the last
    feature map stands for `output_stride` input pixels. Parameters do not change.

    Raises `ArchError` unless `output_stride` is the arch's own divided by a power of two.
    """
    rows = list(arch.rows)
    stride = arch.output_stride
    wanted = output_stride if type(output_stride) is int else 0
    for index, row in enumerate(rows):
        if stride <= wanted:
            break
        if isinstance(row, Conv | Separable | Bottleneck) and row.stride == 2:
            rows[index] = replace(row, stride=1)
            stride //= 2
    if stride != wanted:
        raise ArchError(
            f"{arch.full_name} can have an output stride of {arch.output_stride} divided by a "
            f"power of two, got {output_stride!r}"
        )
    return replace(arch, rows=tuple(rows))
