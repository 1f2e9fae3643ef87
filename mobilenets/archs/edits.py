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

from mobilenets.archs.arch import Arch, ops
from mobilenets.archs.checks import check_choice
from mobilenets.archs.groups import Group, channel_groups
from mobilenets.archs.heads import Head
from mobilenets.archs.op import Op
from mobilenets.archs.rows import Row
from mobilenets.errors import ArchError

EDITS = ("expand", "width", "kernel", "se", "row")


class WidthGroup(NamedTuple):
    """The rows whose outputs are one group of channels: a chain joined by additions, or one row.
    The head counts as the row behind the last (`Arch.parts`)."""

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
    _part(arch, row)
    outputs = _outputs(arch)
    groups = (group for group in channel_groups(arch) if row in _rows_made(group, outputs))
    group = next(groups, None)
    if group is None:
        raise ArchError(f"row {row} of {arch.full_name} has no width of its own")
    parts = dict(enumerate(arch.parts))
    for maker in group.makers:
        parts[maker.row] = parts[maker.row].with_channels(maker.part, channels)
    edited = _same_additions(arch, arch.with_parts(parts))
    return _same_layers(arch, edited, f"row {row} of {arch.full_name} with {channels} channels")


def with_expand(arch: Arch, row: int, channels: int) -> Arch:
    """`arch` with another number of expanded channels in the block `row`.

    Raises `ArchError` for a row without expansion layer, and for the count at which it would
    vanish: that of the block's input.
    """
    block = _part(arch, row)
    if not _layers(arch, row, "expand"):
        raise ArchError(
            f"row {row} of {arch.full_name} has no expansion layer; its width is for `with_width`"
        )
    edited = arch.with_part(row, block.with_channels("expand", channels))
    return _same_layers(arch, edited, f"row {row} of {arch.full_name} expanded to {channels}")


def with_kernel(arch: Arch, row: int, kernel: int) -> Arch:
    """`arch` with another kernel, in pixels a side, in `row`: of its depthwise convolution, or of
    the full one."""
    part = _part(arch, row)
    if not isinstance(part, Row) or not getattr(part, "kernel", None):
        raise ArchError(f"row {row} of {arch.full_name} has no kernel")
    edited = arch.with_part(row, part.with_columns(kernel=kernel))
    return _same_layers(arch, edited, f"row {row} of {arch.full_name} with a kernel of {kernel!r}")


def without_se(arch: Arch, row: int) -> Arch:
    """`arch` without squeeze-and-excite in the block `row`."""
    part = _part(arch, row)
    if not isinstance(part, Row) or not _layers(arch, row, "gate"):
        raise ArchError(f"row {row} of {arch.full_name} has no squeeze-and-excite")
    return arch.with_part(row, part.with_columns(se=False))


def without_row(arch: Arch, row: int) -> Arch:
    """`arch` without the block `row`, which must add its input: without the block, the input
    remains. What the head taps stays."""
    _part(arch, row)
    if not _has_addition(arch, row):
        raise ArchError(
            f"row {row} of {arch.full_name} does not add its input, so nothing can stand for it"
        )
    taps = () if arch.head is None else arch.head.taps
    if row in (tap.row for tap in taps):
        raise ArchError(f"the head of {arch.full_name} taps row {row}, which must stay")
    head = arch.head and arch.head.without_row(row)
    return replace(arch, rows=arch.rows[:row] + arch.rows[row + 1 :], head=head)


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

    def size_in(self, arch: Arch) -> int:
        """What `at` sets, as `arch` has it: channels or kernel pixels."""
        if self.kind == "width":
            return next(one.channels for one in width_groups(arch) if one.rows == self.rows)
        layers = _layers(arch, self.rows[0], "expand" if self.kind == "expand" else "depthwise")
        return layers[-1].out_channels if self.kind == "expand" else layers[-1].kernel

    def _sizes(self) -> range:
        if self.kind in ("se", "row"):
            return range(1)
        now = self.size_in(self.arch)
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
    walk = ops(arch)
    for index, row in enumerate(arch.rows):
        layers = [op for op in walk if op.row == index]
        roles = {op.role for op in layers}
        if "expand" in roles:
            yield Family(arch, "expand", (index,), multiple)
        if "depthwise" in roles and getattr(row, "kernel", None):
            yield Family(arch, "kernel", (index,))
        if "gate" in roles:
            yield Family(arch, "se", (index,))
        if any(op.kind == "add" for op in layers):
            yield Family(arch, "row", (index,))


def _part(arch: Arch, row: int) -> Row | Head:
    if type(row) is not int or not 0 <= row < len(arch.parts):
        raise ArchError(f"{arch.full_name} has rows 0 to {len(arch.parts) - 1}, got row {row!r}")
    return arch.parts[row]


def _layers(arch: Arch, row: int, role: str) -> list[Op]:
    """The row's layers of this role."""
    return [op for op in ops(arch) if op.row == row and op.role == role]


def _has_addition(arch: Arch, row: int) -> bool:
    return any(op.row == row and op.kind == "add" for op in ops(arch))


def _outputs(arch: Arch) -> frozenset[Op]:
    """The layer of each row that makes its output, and those of the head that others of it read;
    what the network gives has no width to choose."""
    walk = [op for op in ops(arch) if op.has_weights]
    last = {op.row: op for op in walk if op.row < len(arch.rows)}
    inner = (op for op in walk if op.row == len(arch.rows) and op.role == "dense")
    return frozenset((*last.values(), *inner))


def _rows_made(group: Group, outputs: frozenset[Op]) -> tuple[int, ...]:
    """The rows whose output is this group."""
    return tuple(maker.row for maker in group.makers if maker in outputs)


def _same_additions(arch: Arch, edited: Arch) -> Arch:
    before, after = ({op.row for op in ops(a) if op.kind == "add"} for a in (arch, edited))
    for index in after - before:
        edited = edited.with_part(index, edited.rows[index].with_columns(skip=False))
    return edited


def _same_layers(arch: Arch, edited: Arch, what: str) -> Arch:
    before, after = ({op.name for op in ops(a)} for a in (arch, edited))
    for change, names in (("gain", after - before), ("lose", before - after)):
        if names:
            _, row, part = min(names).split(".", 2)
            part = {"add": "addition", "expand": "expansion layer"}.get(part, part)
            raise ArchError(f"{what} would make row {row} {change} its {part}: take another count")
    return edited
