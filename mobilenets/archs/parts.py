"""A network cut into the pieces whose latencies add up: one row each, the rows after the feature
maps (pool, dense layers, classifier) together.

The piece is the whole block with its activations, squeeze-and-excite and addition, because that is
what runtimes fuse: sums over single convolutions were 35 % off, sums over blocks 4 %.
"""

from __future__ import annotations

from mobilenets.archs.rows import Arch, Pool, Row


def pieces(arch: Arch) -> tuple[Arch, ...]:
    """The pieces of `arch` in order, each an arch of its own.

    What does not change a piece's latency (name, width, batch norm) is the same in all, so that
    equal rows on equal inputs are equal pieces, whatever network they come from.
    """
    found = []
    channels, size = arch.in_channels, arch.resolution
    for index, row in enumerate(arch.rows):
        if isinstance(row, Pool):
            found.append(_piece(arch.rows[index:], channels, size, arch))
            break
        found.append(_piece((row,), channels, size, arch))
        channels = getattr(row, "out", channels)
        size = -(-size // getattr(row, "stride", 1))
    return tuple(found)


def _piece(rows: tuple[Row, ...], channels: int, size: int, arch: Arch) -> Arch:
    strided = any(getattr(row, "stride", 1) > 1 for row in rows)
    return Arch(
        name="piece",
        generation=1,
        rows=rows,
        resolution=size,
        classes=arch.classes if len(rows) > 1 else 1,
        in_channels=channels,
        padding=arch.padding if strided else "symmetric",
        dropout=0.0,
    )
