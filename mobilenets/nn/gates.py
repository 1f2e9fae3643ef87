"""What squeeze-and-excite amounts to where it is taken away: a constant gate for each channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mobilenets.archs import Arch
from mobilenets.archs.rows import Bottleneck
from mobilenets.nn.blocks import InvertedResidual, SqueezeExcite
from mobilenets.nn.checkpoint import Checkpoint
from mobilenets.nn.model import MobileNet

Gates = Mapping[int, Tensor]
"""Row -> the mean gate of each expanded channel, (C,), between 0 and 1."""


@torch.inference_mode()
def mean_gates(network: MobileNet, batches: Iterable[Tensor]) -> dict[int, Tensor]:
    """The gates of all rows with squeeze-and-excite, averaged over normalized images (N, 3, H, W);
    `network` is in eval mode."""
    sums: dict[int, Tensor] = {}
    count = 0

    def add_up(row: int, gate: Tensor) -> None:
        sums[row] = sums.get(row, torch.zeros(())) + gate.sum((0, 2, 3))

    handles = [
        block.se.hsigmoid.register_forward_hook(lambda _, __, gate, row=row: add_up(row, gate))
        for row, block in enumerate(network.rows)
        if isinstance(block, InvertedResidual) and isinstance(block.se, SqueezeExcite)
    ]
    if not handles:
        return {}  # nothing to look at images for
    for images in batches:
        network(images)
        count += len(images)
    for handle in handles:
        handle.remove()
    return {row: total / count for row, total in sums.items()}


def with_constant_gates(checkpoint: Checkpoint, to: Arch, gates: Gates) -> Checkpoint:
    """`checkpoint` prepared for `surgery` to `to`, its arch without some squeeze-and-excite. The
    layer that reads the gated channels is multiplied by `gates`: a block with constant gates
    computes what it did."""
    if len(to.rows) < len(checkpoint.arch.rows):
        return checkpoint  # rows went, with all they had
    rows = zip(checkpoint.arch.rows, to.rows, strict=True)
    weights = dict(checkpoint.weights)
    for row, (old, new) in enumerate(rows):
        if _has_se(old) and not _has_se(new):
            name = f"rows.{row}.project.conv.weight"
            weights[name] = weights[name] * gates[row].reshape(1, -1, 1, 1)
    return replace(checkpoint, weights=weights)


def _has_se(row: object) -> bool:
    return isinstance(row, Bottleneck) and row.se
