"""A network cut into the pieces whose latencies add up: one row each, and the head.

The piece is the whole block with its activations, squeeze-and-excite and addition, because that is
what runtimes fuse: sums over single convolutions were 35 % off, sums over blocks 4 %.
"""

from __future__ import annotations

from mobilenets.archs.arch import Arch, backbone, tapped
from mobilenets.archs.heads import Head
from mobilenets.archs.op import FeatureMap
from mobilenets.archs.rows import Row


def pieces(arch: Arch) -> tuple[Arch, ...]:
    """The pieces of `arch` in order, each an arch of its own.

    What does not change a piece's latency (name, width, batch norm) is the same in all, so that
    equal rows on equal inputs are equal pieces, whatever network they come from.
    """
    walk = backbone(arch)
    at, found = walk[0].output, []
    for index, row in enumerate(arch.rows):
        found.append(_piece((row,), None, at, arch.padding if row.stride > 1 else "symmetric"))
        at = next(op for op in reversed(walk) if op.row == index).output
    if arch.head is not None:
        heads = arch.head.pieces(tapped(arch, walk))
        found += [_piece((), head, at, "symmetric") for head, at in heads]
    return tuple(found)


def _piece(rows: tuple[Row, ...], head: Head | None, at: FeatureMap, padding: str) -> Arch:
    return Arch("piece", 1, rows, head, at.size, in_channels=at.channels, padding=padding)
