"""Which channels belong together: cutting one of a group means cutting it everywhere at once.

A convolution makes new channels. Depthwise convolutions, pools, squeeze-and-excite's gate and
additions pass channels on, so all that they join is one group: the expanded channels of a block;
the outputs of the blocks joined by additions; V1's pointwise output and the depthwise behind it.
What is concatenated stays several groups, and is read as one.
"""

from __future__ import annotations

from typing import NamedTuple

from mobilenets.archs.arch import Arch, ops
from mobilenets.archs.op import Op


class Group(NamedTuple):
    """Channels that are one and the same: channel k of every maker is channel k of every reader.

    `makers` are the layers with one filter (or one batch norm value, or one gate) per channel;
    `readers` those with one slice of each filter per channel. The image has no maker, the logits
    no reader. A concatenation has no maker of its own: `parts` are the groups one behind the other.
    """

    channels: int
    makers: tuple[Op, ...]
    readers: tuple[Op, ...]
    parts: tuple[Group, ...] = ()


def channel_groups(arch: Arch) -> tuple[Group, ...]:
    """Every group of channels of `arch`, in the order in which its first channel is made."""
    walk = ops(arch)
    group_of = _group_of(walk)
    layers = [op for op in walk if op.has_weights]
    groups: dict[str, Group] = {}
    for op in (op for op in walk if group_of[op.name] == op.name):
        groups[op.name] = Group(
            channels=op.out_channels,
            makers=tuple(layer for layer in layers if group_of[layer.name] == op.name),
            readers=tuple(
                layer
                for layer in layers
                if not layer.is_depthwise and group_of[layer.inputs[0]] == op.name
            ),
            parts=tuple(groups[group_of[name]] for name in op.inputs if op.kind == "concat"),
        )
    return tuple(groups.values())


def _group_of(walk: tuple[Op, ...]) -> dict[str, str]:
    """Each op's name -> the name of the first op of the group of its output."""
    group_of: dict[str, str] = {}
    for op in walk:
        makes = op.has_weights and not op.is_depthwise
        if makes or op.kind in ("input", "concat", "collect"):
            group_of[op.name] = op.name
            continue
        first, *others = sorted({group_of[name] for name in op.inputs}, key=list(group_of).index)
        group_of[op.name] = first
        group_of.update((name, first) for name, group in group_of.items() if group in others)
    return group_of
