"""Arch -> arch: narrower or wider, at another resolution, with a finer last feature map."""

from __future__ import annotations

from dataclasses import replace

from mobilenets.archs.arch import Arch
from mobilenets.archs.checks import check_choice
from mobilenets.archs.op import Resolution, Size
from mobilenets.archs.rows import Row
from mobilenets.archs.width import RULES, Place, Width
from mobilenets.errors import ArchError


def widen(arch: Arch, width: float, rule: str = "paper") -> Arch:
    """The network with every channel count scaled by `width` (the papers' width multiplier), by a
    library's `rule` (`archs.width`).

    Raises `ArchError` for a width that is not a positive number, an unknown rule, or an arch that
    was scaled before: roundings do not compose.
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < 1e6:
        raise ArchError(f"width must be a positive number, got {width!r}")
    check_choice("width rule", rule, RULES)
    if arch.width != 1.0:
        raise ArchError(f"widen takes a network of width 1.0, got {arch.full_name}")
    scale = Width(width, rule, arch.generation)
    rows: list[Row] = []
    c_in, c_in_scaled = arch.in_channels, arch.in_channels
    for index, row in enumerate(arch.rows):
        last = index == len(arch.rows) - 1 and arch.head is not None
        rows.append(row.scaled(scale, Place(c_in, c_in_scaled, index == 0, last)))
        c_in, c_in_scaled = row.out, rows[-1].out
    head = arch.head and arch.head.scaled(scale)
    return replace(arch, rows=tuple(rows), head=head, width=float(width), rule=rule)


def at_resolution(arch: Arch, resolution: Resolution) -> Arch:
    """The same network for images of `resolution` pixels: the side of a square, (height, width) or
    "512x1024"."""
    return replace(arch, size=Size.of(resolution, "resolution"))


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
        if row.stride == 2:
            rows[index] = row.with_columns(stride=1)
            stride //= 2
    if stride != wanted:
        raise ArchError(
            f"{arch.full_name} can have an output stride of {arch.output_stride} divided by a "
            f"power of two, got {output_stride!r}"
        )
    return replace(arch, rows=tuple(rows))
