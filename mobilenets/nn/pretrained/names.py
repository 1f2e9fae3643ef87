"""Copying a foreign state dict into ours, module by module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from mobilenets.archs import Arch
from mobilenets.errors import FileError
from mobilenets.nn.model import MobileNet

LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def rename(
    arch: Arch, foreign: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]], source: str
) -> dict[str, Tensor]:
    """Our state dict for `arch`, filled from `foreign`; `pairs` are (our module, their module).

    A fully connected layer may be stored as a 1x1 convolution. Raises `FileError` unless every
    tensor of ours is filled with one of the right shape and none of theirs is left over.
    """
    wanted = MobileNet(arch).state_dict()
    weights = {
        f"{ours}.{leaf}": foreign[f"{theirs}.{leaf}"]
        for ours, theirs in pairs
        for leaf in LEAVES
        if f"{theirs}.{leaf}" in foreign
    }
    weights = {
        name: tensor.reshape(wanted[name].shape)
        if name in wanted and tensor.numel() == wanted[name].numel()
        else tensor
        for name, tensor in weights.items()
    }
    wrong = [
        name
        for name in sorted(wanted.keys() | weights.keys())
        if name not in wanted or name not in weights or wanted[name].shape != weights[name].shape
    ]
    if wrong or len(weights) != len(foreign):
        raise FileError(
            f"these weights are not {source}'s {arch.full_name}: {len(foreign)} tensors given, "
            f"{len(wanted)} needed, {len(wrong)} do not match (first: {(wrong or ['-'])[0]})"
        )
    return weights
