"""Arch -> arch, one cut at a time, as NetAdapt proposes them (arXiv:1804.03230; arXiv:1905.02244,
section 4.2).

An edit keeps the layers that it does not name. Where two widths become equal, the block between
them does not start to add its input: its `skip` is turned off. A block has an expansion layer where
`expand` differs from its input: a count at which some block would gain or lose its own is another
network, and is refused. Name, width and width rule stay as information; the rows are the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from mobilenets.archs.groups import Group, channel_groups, has_weights
from mobilenets.archs.ops import Op, ops
from mobilenets.archs.rows import (
    Arch,
    Bottleneck,
    Classifier,
    Conv,
    Dense,
    Pool,
    Row,
    Separable,
    check_choice,
)
from mobilenets.errors import ArchError

EDITS = ("expand", "width", "kernel", "se", "row")


class WidthGroup(NamedTuple):
    """The rows whose outputs are one group of channels: a chain joined by additions, or one row."""

    rows: tuple[int, ...]
    channels: int


def width_groups(arch: Arch) -> tuple[WidthGroup, ...]:
    """Every group of rows that must share their output's width, from the stem to the last layer
    before the classifier."""
    outputs = _outputs(arch)
    groups = ((_rows_made(group, outputs), group.channels) for group in channel_groups(arch))
    return tuple(WidthGroup(rows, channels) for rows, channels in groups if rows)


def with_width(arch: Arch, row: int, channels: int) -> Arch:
    """`arch` with another number of output channels in `row` and in all rows that share them.

    A block without expansion layer behind them keeps having none: its `expand` follows. Raises
    `ArchError` where a block would gain or lose its expansion layer, or its addition to the input
    of the whole, and for a row without width.
    """
    if isinstance(_row(arch, row), Pool | Classifier):
        raise ArchError(f"row {row} of {arch.full_name} has no width of its own")
    outputs = _outputs(arch)
    group = next(group for group in channel_groups(arch) if row in _rows_made(group, outputs))
    rows = list(arch.rows)
    for maker in group.makers:
        resized = rows[maker.row]
        if maker in outputs:
            assert isinstance(resized, Conv | Separable | Bottleneck | Dense)
            rows[maker.row] = replace(resized, out=channels)
        elif isinstance(resized, Bottleneck):  # its depthwise convolution: it does not expand
            rows[maker.row] = replace(resized, expand=channels)
    edited = _same_additions(arch, replace(arch, rows=tuple(rows)))
    return _same_layers(arch, edited, f"row {row} of {arch.full_name} with {channels} channels")


def with_expand(arch: Arch, row: int, channels: int) -> Arch:
    """`arch` with another number of expanded channels in the block `row`.

    Raises `ArchError` for a row without expansion layer, and for the count at which it would
    vanish: that of the block's input.
    """
    block = _row(arch, row)
    if not isinstance(block, Bottleneck) or not _has(arch, row, "expand"):
        raise ArchError(
            f"row {row} of {arch.full_name} has no expansion layer; its width is for `with_width`"
        )
    edited = _with_row(arch, row, replace(block, expand=channels))
    return _same_layers(arch, edited, f"row {row} of {arch.full_name} expanded to {channels}")


def with_kernel(arch: Arch, row: int, kernel: int) -> Arch:
    """`arch` with another kernel, in pixels a side, in `row`: of its depthwise convolution, or of
    the full one."""
    edited = _row(arch, row)
    if not isinstance(edited, Conv | Separable | Bottleneck):
        raise ArchError(f"row {row} of {arch.full_name} has no kernel")
    return _with_row(arch, row, replace(edited, kernel=kernel))


def without_se(arch: Arch, row: int) -> Arch:
    """`arch` without squeeze-and-excite in the block `row`."""
    block = _row(arch, row)
    if not isinstance(block, Bottleneck) or not block.se:
        raise ArchError(f"row {row} of {arch.full_name} has no squeeze-and-excite")
    return _with_row(arch, row, replace(block, se=False))


def without_row(arch: Arch, row: int) -> Arch:
    """`arch` without the block `row`, which must add its input: without the block, the input
    remains."""
    _row(arch, row)
    if not _has(arch, row, "add"):
        raise ArchError(
            f"row {row} of {arch.full_name} does not add its input, so nothing can stand for it"
        )
    return replace(arch, rows=arch.rows[:row] + arch.rows[row + 1 :])


@dataclass(frozen=True, slots=True)
class Family:
    """One way to shrink `arch`, by degrees: iterating gives ever smaller networks.

    `kind` is expand or width (by `multiple` channels a step), kernel (by 2), se or row (removed).
    `rows` are those that change: all the rows of a width group, else one.
    """

    arch: Arch
    kind: str
    rows: tuple[int, ...]
    multiple: int = 8

    def __iter__(self) -> Iterator[Arch]:
        for size in self._sizes():
            try:
                yield self.at(size)
            except ArchError:  # a count at which an expansion layer comes or goes
                continue

    def at(self, size: int) -> Arch:
        """The network with `size` channels, or kernel pixels; without the part where it is 0."""
        row = self.rows[0]
        match self.kind:
            case "width":
                return with_width(self.arch, row, size)
            case "expand":
                return with_expand(self.arch, row, size)
            case "kernel":
                return with_kernel(self.arch, row, size)
            case "se":
                return without_se(self.arch, row)
            case _:
                return without_row(self.arch, row)

    def _sizes(self) -> range:
        if self.kind in ("se", "row"):
            return range(1)
        column = {"width": "out"}.get(self.kind, self.kind)
        now: int = getattr(self.arch.rows[self.rows[0]], column)
        if self.kind == "kernel":
            return range(now - 2, 2, -2)
        return range((now - 1) // self.multiple * self.multiple, 0, -self.multiple)


def proposals(
    arch: Arch, *, kinds: tuple[str, ...] = ("expand", "width"), multiple: int = 8
) -> Iterator[Family]:
    """Every way to shrink `arch` by one edit of the given `kinds` (`EDITS` names all).

    The default is MobileNetV3's: any expansion layer, or the width that a chain of rows shares.
    Families without a network in them are left out; of equal rows in a chain, one is removed.
    """
    for kind in kinds:
        check_choice("kind of edit", kind, EDITS)
    seen = set()
    for family in _families(arch, multiple):
        if family.kind in kinds:
            first = next(iter(family), None)
            if first is not None and first not in seen:
                seen.add(first)
                yield family


def _families(arch: Arch, multiple: int) -> Iterator[Family]:
    for group in width_groups(arch):
        yield Family(arch, "width", group.rows, multiple)
    parts = {op.name for op in ops(arch)}
    for index, row in enumerate(arch.rows):
        if f"rows.{index}.expand" in parts:
            yield Family(arch, "expand", (index,), multiple)
        if isinstance(row, Separable | Bottleneck):
            yield Family(arch, "kernel", (index,))
        if isinstance(row, Bottleneck) and row.se:
            yield Family(arch, "se", (index,))
        if f"rows.{index}.add" in parts:
            yield Family(arch, "row", (index,))


def _row(arch: Arch, row: int) -> Row:
    if type(row) is not int or not 0 <= row < len(arch.rows):
        raise ArchError(f"{arch.full_name} has rows 0 to {len(arch.rows) - 1}, got row {row!r}")
    return arch.rows[row]


def _with_row(arch: Arch, row: int, edited: Row) -> Arch:
    return replace(arch, rows=(*arch.rows[:row], edited, *arch.rows[row + 1 :]))


def _has(arch: Arch, row: int, part: str) -> bool:
    return any(op.name == f"rows.{row}.{part}" for op in ops(arch))


def _outputs(arch: Arch) -> frozenset[Op]:
    """The layer of each row that makes its output; the logits have no width to choose."""
    last = {op.row: op for op in ops(arch) if has_weights(op)}
    return frozenset(op for row, op in last.items() if not isinstance(arch.rows[row], Classifier))


def _rows_made(group: Group, outputs: frozenset[Op]) -> tuple[int, ...]:
    """The rows whose output is this group."""
    return tuple(maker.row for maker in group.makers if maker in outputs)


def _same_additions(arch: Arch, edited: Arch) -> Arch:
    before, after = ({op.row for op in ops(a) if op.kind == "add"} for a in (arch, edited))
    for index in after - before:
        block = edited.rows[index]
        assert isinstance(block, Bottleneck)
        edited = _with_row(edited, index, replace(block, skip=False))
    return edited


def _same_layers(arch: Arch, edited: Arch, what: str) -> Arch:
    before, after = ({op.name for op in ops(a)} for a in (arch, edited))
    for change, names in (("gain", after - before), ("lose", before - after)):
        if names:
            _, row, part = min(names).split(".", 2)
            part = {"add": "addition", "expand": "expansion layer"}[part]
            raise ArchError(f"{what} would make row {row} {change} its {part}: take another count")
    return edited
