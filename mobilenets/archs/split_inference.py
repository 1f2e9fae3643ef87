"""Split inference: peak memory where a bottleneck's expanded tensor is computed in slices.

arXiv:1801.04381, section 5.1. A bottleneck is F(x) = A(N(B(x))): B expands, N works on each channel
on its own (depthwise, batch norm, activation), A projects and is linear. The expanded tensor is a
concatenation of t slices, so F(x) is the sum over the slices of A_i(N_i(B_i(x))). Only one slice
need exist at a time: |input| + |output| + a slice before the depthwise + a slice behind it.

Conventions, on top of those of `cost`:

- The output is set to zero first and every slice adds to it. A slice has ceil(expand / t) channels,
  the last may have fewer. Without an expansion layer the slice before the depthwise is a part of
  the input and takes no memory of its own.
- A row is cut or computed whole, whichever takes less, so that splits never cost memory, and one
  split is `cost(arch).peak_activation_bytes`.
- Rows with squeeze-and-excite are computed whole. Their gate is a function of the means of all
  expanded channels, and stands before the projection. Slices would need a pass for the means and a
  second one for the product: twice the MACs of expansion and depthwise.
- V1's separable convolutions are computed whole: they expand nothing. So is a depthwise convolution
  that stands before the expansion.

What t splits cost: no MACs. The input is read t times instead of once, the output is read and
written t - 1 times more. Each call of a pointwise convolution has 1/t of the work, which keeps a
processor less busy: the paper finds t between 2 and 5 best.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mobilenets.archs.arch import Arch, ops
from mobilenets.archs.counts import Bytes, LayerCost, cost, memory_by_size
from mobilenets.archs.op import Op
from mobilenets.errors import ArchError

_BOTTLENECKS = (
    ("expand", "depthwise", "project"),
    ("depthwise", "project"),
    ("expand", "project"),
)


def peak_with_splits(arch: Arch, splits: int) -> Bytes:
    """Peak activation memory of `arch` with each bottleneck in at most `splits` slices.

    Raises `ArchError` for less than one split, and for more than the widest bottleneck that can be
    cut has channels: there, every slice is one channel already.
    """
    _check_splits(arch, splits)
    rows = groupby(cost(arch).layers, key=lambda layer: layer.op.row)
    peak = max(_row_peak(tuple(layers), splits) for _, layers in rows)
    return Bytes(4 * peak, 2 * peak, peak)


def split_counts(arch: Arch, most: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to `most`, which is always the last: what a table of splits shows.

    Raises as `peak_with_splits`.
    """
    _check_splits(arch, most)
    powers = (2**power for power in range(most.bit_length()))
    return (*(count for count in powers if count < most), most)


def largest_between_blocks(arch: Arch) -> Bytes:
    """The largest single tensor that stands between two blocks: the "max" row of Table 3 of
    arXiv:1801.04381, which counts fp16.

    Less than any number of splits reaches here: the paper counts one tensor, not a block's input
    and output together, and takes the full convolutions at both ends for computed in slices too.
    """
    values = max(size for _, size in memory_by_size(arch, bytes_per_value=1).values())
    return Bytes(4 * values, 2 * values, values)


def _check_splits(arch: Arch, splits: int) -> None:
    if type(splits) is not int or splits < 1:
        raise ArchError(f"splits must be a whole number of at least 1, got {splits!r}")
    rows = groupby(ops(arch), key=lambda op: op.row)
    widest = max(_sliceable_channels(tuple(layers)) for _, layers in rows)
    if splits > max(widest, 1):
        raise ArchError(f"{arch.full_name} {_limit(widest)}, got {splits}")


def _limit(widest: int) -> str:
    if widest == 0:
        return "has no bottleneck without squeeze-and-excite to split: splits must be 1"
    return (
        f"has {widest} expanded channels in the widest bottleneck to split: splits can be no more"
    )


def _sliceable_channels(row: Sequence[Op]) -> int:
    """Expanded channels of a row that can be computed in slices, 0 for one that cannot."""
    sliced = _sliced(row)
    return sliced[0].out_channels if sliced else 0


def _sliced(row: Sequence[Op]) -> Sequence[Op]:
    """The layers of a row that can be computed in slices, the projection last; none of most."""
    layers = [op for op in row if op.has_weights]
    first = next((at for at, op in enumerate(layers) if op.role == "expand"), 0)
    return layers[first:] if tuple(op.role for op in layers[first:]) in _BOTTLENECKS else ()


def _row_peak(layers: Sequence[LayerCost], splits: int) -> int:
    """The most values alive while one row runs."""
    live = [layer.live_values for layer in layers]
    row = [layer.op for layer in layers]
    sliced = _sliced(row)
    if not sliced:
        return max(live)
    before = live[: row.index(sliced[0])]
    return min(max(live), max(*before, _split_values(row, sliced, splits), 0))


def _split_values(block: Sequence[Op], sliced: Sequence[Op], splits: int) -> int:
    """Values alive while a slice passes: what the slices read, the output, a slice of each layer,
    and the block's input where that is another tensor that waits for the addition."""
    first, last = sliced[0], block[-1]
    slice_channels = -(-first.out_channels // splits)
    waits = last.kind == "add" and first is not block[0]
    return (
        first.in_channels * first.in_size.area
        + last.out_channels * last.out_size.area * (2 if waits else 1)
        + sum(slice_channels * op.out_size.area for op in sliced[:-1])
    )
