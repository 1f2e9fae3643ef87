"""Heads put on the papers' backbones: which tensors they tap, and what they change behind them.

C4 is the block of the last stride of 2: row 13 of V3-Large, 9 of Small, 14 of V2, 12 of V1. Widths
are applied before: `with_ssdlite(widen(arch, 0.5))`.

The variant "paper" is what the papers' authors released: research/object_detection and
research/deeplab of tensorflow/models. "torchvision" is `ssdlite320_mobilenet_v3_large` (without
published backbone weights it is `reduced`) and `lraspp_mobilenet_v3_large`. Nobody published V1
with a segmentation head: that one is ours, by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

from mobilenets.archs.arch import Arch, ops
from mobilenets.archs.checks import check_choice
from mobilenets.archs.heads import Tap
from mobilenets.archs.op import make_divisible
from mobilenets.archs.rows import Row
from mobilenets.archs.segmentation import LRASPP, RASPP
from mobilenets.archs.ssdlite import SSDLite
from mobilenets.archs.width import Width
from mobilenets.errors import ArchError

VARIANTS = ("paper", "torchvision")


def with_ssdlite(
    arch: Arch, *, classes: int = 91, variant: str = "paper", reduced: bool = False
) -> Arch:
    """`arch` with SSDLite on the expansion of C4 and on its last map (arXiv:1801.04381, 6.2;
    arXiv:1905.02244, 6.3); of V1, which expands nothing, on the row before.

    `reduced` halves the channels behind C4's depthwise, the V3 paper's dagger. A pixel of the first
    map has 3 default boxes in the paper's variant, 6 in torchvision's; of the others 6. In
    detection V2's last convolution is thinned, too, below width 1.
    """
    check_choice("variant", variant, VARIANTS)
    rows = reduced_tail(arch).rows if reduced else arch.rows
    if arch.generation == 2 and arch.width < 1:
        rows = (*rows[:-1], _with_out(rows[-1], arch.width))
    anchors = (3 if variant == "paper" else 6, 6, 6, 6, 6, 6)
    head = SSDLite(classes, (_c4_tap(arch), Tap()), anchors)
    width = Width(arch.width, arch.rule, arch.generation)
    return replace(arch, rows=rows, head=head.scaled(width))


def with_lraspp(
    arch: Arch,
    *,
    classes: int = 19,
    channels: int = 128,
    variant: str = "paper",
    reduced: bool = True,
    output_stride: int = 16,
) -> Arch:
    """`arch` with LR-ASPP on its last map and on one of stride 8 (arXiv:1905.02244, 6.4).

    The finer map is, in the paper's variant, the depthwise output of the last block of stride 8;
    in torchvision's, which is never `reduced` (RF2: the channels from C4's expansion on halved),
    the output of the first. Without an expansion (V1), the output of the last.
    """
    check_choice("variant", variant, VARIANTS)
    paper = variant == "paper"
    finer = [at for at in range(len(arch.rows)) if prod(r.stride for r in arch.rows[: at + 1]) == 8]
    if not finer:
        raise ArchError(f"LR-ASPP reads a map of stride 8, and {arch.full_name} has none")
    low = Tap(finer[-1], _inside(arch, finer[-1])) if paper else Tap(finer[0])
    head = LRASPP(classes, (Tap(), low), channels, gate_bias=paper)
    arch = reduced_tail(arch, expansion=True) if reduced and paper else arch
    return replace(_for_pixels(arch, output_stride, at_once=not paper), head=head)


def with_raspp(
    arch: Arch,
    *,
    classes: int = 19,
    channels: int = 256,
    rates: tuple[int, ...] = (),
    reduced: bool = False,
    output_stride: int = 16,
) -> Arch:
    """`arch` with R-ASPP on its last map (arXiv:1905.02244, table 7); with `rates` DeepLabV3's
    ASPP: (6, 12, 18) at output stride 16, twice that at 8 (arXiv:1801.04381, table 7)."""
    arch = reduced_tail(arch, expansion=True) if reduced else arch
    head = RASPP(classes, channels, rates)
    return replace(_for_pixels(arch, output_stride), head=head)


def with_head(arch: Arch, head: str, classes: int | None = None) -> Arch:
    """`arch` with one of `HEADS` as its paper has it: SSDLite with the whole tail, LR-ASPP with the
    reduced one and 128 channels, R-ASPP with the whole and 256. Without `classes` 91 (COCO), 19
    (Cityscapes); of classify, those that `arch` has."""
    check_choice("head", head, HEADS)
    if head != "classify":
        arch = _ATTACH[head](arch)
    return arch if classes is None else arch.with_classes(classes)


_ATTACH: dict[str, Callable[[Arch], Arch]] = {
    "ssdlite": with_ssdlite,
    "lraspp": with_lraspp,
    "raspp": with_raspp,
}
HEADS = ("classify", *_ATTACH)


def reduced_tail(arch: Arch, *, expansion: bool = False) -> Arch:
    """`arch` with half the channels behind C4's depthwise, and with `expansion` in it, too."""
    c4 = _c4(arch)
    halved = (
        _halved(row, expansion=index > c4 or expansion)
        for index, row in enumerate(arch.rows[c4:], c4)
    )
    return replace(arch, rows=(*arch.rows[:c4], *halved))


def with_output_stride(arch: Arch, output_stride: int, *, at_once: bool = False) -> Arch:
    """`arch` whose strides beyond `output_stride` are 1, and whose windows behind are spread in
    their place (atrous convolution); `at_once` from the block itself on, as torchvision does.

    Raises `ArchError` unless it is the arch's own divided by a power of two.
    """
    rows: list[Row] = []
    stride, dilation = 1, 1
    windows = {op.row for op in ops(arch) if op.kernel > 1}
    for index, row in enumerate(arch.rows):
        dense = row.stride > 1 and stride >= output_stride
        spread = dilation * 2 if dense else dilation
        now = spread if at_once else dilation
        row = row.with_columns(stride=1) if dense else row
        spreads = now > 1 and index in windows
        if spreads and not hasattr(row, "dilation"):
            raise ArchError(
                f"row {index} of {arch.full_name} has no dilation, which an output stride of "
                f"{output_stride} needs; take {arch.output_stride}"
            )
        rows.append(row.with_columns(dilation=now) if spreads else row)
        stride, dilation = stride * row.stride, spread
    if stride != output_stride:
        raise ArchError(
            f"{arch.full_name} can have an output stride of {arch.output_stride} divided by a "
            f"power of two, got {output_stride!r}"
        )
    return replace(arch, rows=tuple(rows))


def _for_pixels(arch: Arch, output_stride: int, *, at_once: bool = False) -> Arch:
    """The backbone that segmentation heads read: V2's last convolution is left out."""
    rows = arch.rows[:-1] if arch.generation == 2 else arch.rows
    return with_output_stride(replace(arch, rows=rows), output_stride, at_once=at_once)


def _c4(arch: Arch) -> int:
    strided = [index for index, row in enumerate(arch.rows) if index and row.stride > 1]
    if not strided:
        raise ArchError(f"{arch.full_name} has no block of stride 2, behind which is its tail")
    return strided[-1]


def _c4_tap(arch: Arch) -> Tap:
    """C4's expansion, where it is as fine as what the block reads; else that."""
    c4 = _c4(arch)
    size = {op.part: op.out_size for op in ops(arch) if op.row == c4}
    read = [op.out_size for op in ops(arch) if op.row == c4 - 1][-1]
    return Tap(c4, "expand") if size.get("expand") == read else Tap(c4 - 1)


def _inside(arch: Arch, row: int) -> str:
    """The depthwise of a block that expands; else what the row gives out."""
    parts = {op.part for op in ops(arch) if op.row == row}
    return "depthwise" if {"expand", "depthwise"} <= parts else "out"


def _halved(row: Row, *, expansion: bool) -> Row:
    row = _with_out(row, 0.5)
    if not expansion or not hasattr(row, "expand"):
        return row
    return row.with_columns(expand=make_divisible(row.expand / 2))


def _with_out(row: Row, factor: float) -> Row:
    return row.with_columns(out=make_divisible(row.out * factor))
