"""What a network costs, by arithmetic: MACs, parameters, bytes, peak activation memory.

Conventions, and why (docs/explanation/costs.md argues with them):

- MACs are the multiply-adds of convolutions and fully connected layers for one image, as in the
  papers. FLOPs = 2 x MACs. Bias, batch norm, activations, pooling and additions count zero.
- Parameters are what training learns: weights, biases, batch norm's gamma and beta. Its running
  statistics are not counted.
- Size is that of the weights as deployed, batch norm folded into the convolutions: fp32 and fp16
  take 4 and 2 bytes a value; int8 takes 1 byte a weight, 4 bytes a bias and a 4-byte scale per
  output channel. The file adds its graph, some tens of kilobytes.
- Peak activation memory is the largest sum, over the layers in order, of all feature maps alive
  while a layer runs: its inputs, its output, and what a later layer still reads (a block's input
  waits for its addition). Additions and squeeze-and-excite's scaling write over their first input
  (arXiv:1801.04381, section 5.1, for graphs that run in order), unless a head still reads it.
"""

from __future__ import annotations

from typing import NamedTuple

from mobilenets.archs.arch import Arch, ops
from mobilenets.archs.op import Op


class Bytes(NamedTuple):
    """A number of bytes at each precision."""

    fp32: int
    fp16: int
    int8: int


class LayerCost(NamedTuple):
    """The cost of one layer. `live_values` are the feature map values alive while it runs."""

    op: Op
    macs: int
    params: int
    live_values: int


class Cost(NamedTuple):
    """The cost of one network for one image."""

    macs: int
    params: int
    size_bytes: Bytes
    peak_activation_bytes: Bytes
    layers: tuple[LayerCost, ...]


def cost(arch: Arch) -> Cost:
    """MACs, parameters, bytes and peak memory of `arch`, per layer and in sum."""
    walk = ops(arch)
    layers = tuple(
        LayerCost(op, macs(op), params(op), live)
        for op, live in zip(walk, _live_values(walk), strict=True)
    )
    peak = max(layer.live_values for layer in layers)
    return Cost(
        macs=sum(layer.macs for layer in layers),
        params=sum(layer.params for layer in layers),
        size_bytes=_size_bytes(walk),
        peak_activation_bytes=Bytes(4 * peak, 2 * peak, peak),
        layers=layers,
    )


def macs(op: Op) -> int:
    """Multiply-adds of one layer for one image: k^2 * c_in/groups * c_out * h * w."""
    return weights(op) * op.out_size.area


def weights(op: Op) -> int:
    """Weights of one layer, without bias and batch norm."""
    if not op.has_weights:
        return 0
    return op.kernel**2 * op.in_channels // op.groups * op.out_channels


def params(op: Op) -> int:
    """Trainable parameters of one layer: weights, bias, batch norm's gamma and beta."""
    return weights(op) + (2 * op.norm + op.bias) * op.out_channels


def _size_bytes(walk: tuple[Op, ...]) -> Bytes:
    total = sum(weights(op) for op in walk)
    biases = sum(op.out_channels for op in walk if op.norm or op.bias)
    return Bytes(4 * (total + biases), 2 * (total + biases), total + 8 * biases)


def _live_values(walk: tuple[Op, ...]) -> list[int]:
    """Feature map values alive while each op runs: outputs that this or a later op still reads."""
    last_read = {name: index for index, op in enumerate(walk) for name in op.inputs}
    alive: dict[str, int] = {}
    live = []
    for index, op in enumerate(walk):
        values = op.out_channels * op.out_size.area
        in_place = op.kind in ("scale", "add") and last_read[op.inputs[0]] == index
        live.append(sum(alive.values()) + (0 if in_place else values))
        alive[op.name] = values
        for name in op.inputs:
            if last_read[name] == index:
                del alive[name]
    return live


def memory_by_size(
    arch: Arch, bytes_per_value: int = 2
) -> dict[int | tuple[int, int], tuple[int, int]]:
    """The widest tensor that stands between two blocks at each feature map size: side in pixels ->
    (channels, bytes). Table 3 of arXiv:1801.04381, which counts 16-bit activations.

    The inside of a bottleneck does not count (its section 5.1: it need never exist as a whole),
    nor do the full convolutions at both ends, which can be computed together with the block
    behind or the pool.
    """
    walk = ops(arch)
    inside = (op for op in walk if op.row < len(arch.rows))
    blocks = {op.row for op in inside if op.role in ("depthwise", "project")}
    between = {op.row: op for op in walk if op.row in blocks}
    pooled = (op for op in walk if op.row == len(arch.rows) and op.kind == "pool")
    table: dict[int | tuple[int, int], tuple[int, int]] = {}
    for op in (*between.values(), *pooled):
        channels = max(op.out_channels, table.get(op.out_size.written, (0, 0))[0])
        held = channels * op.out_size.area * bytes_per_value
        table[op.out_size.written] = (channels, held)
    return table
