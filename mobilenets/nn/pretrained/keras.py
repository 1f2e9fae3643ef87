"""Keras' weight files (keras.applications: mobilenet, mobilenet_v2, mobilenet_v3), read by h5py.

The published files are Keras 2's: a group per layer, listed in the order the layers run. As Keras
does, we go by that order, not by the names, which have changed over the years; every layer must
have what ours has, in its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobilenets.archs import Arch
from mobilenets.errors import FileError
from mobilenets.nn.model import MobileNet
from mobilenets.nn.pretrained.names import rename

# Keras' variable -> PyTorch's.
_LEAVES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
Layers = Sequence[Mapping[str, Tensor]]


def read_layers(path: Path) -> Layers:
    """The variables of each layer that has any, in order, by Keras' names; raises `FileError`."""
    try:
        import h5py
    except ImportError as error:
        raise FileError(
            f"{path} is read with h5py, which is not installed: pip install 'mobilenets[weights]'"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            groups = [root[_text(name)] for name in _listed(root, "layer_names")]
            layers = [_variables(group) for group in groups]
    except (OSError, KeyError, ValueError) as error:
        raise FileError(
            f"{path} is not a weights file of Keras ({error}); give one that Keras saved"
        ) from error
    return [layer for layer in layers if layer]


def from_keras(arch: Arch, layers: Layers) -> dict[str, Tensor]:
    """Our weights for `arch` from Keras' layers; raises `FileError` if they differ."""
    modules = [
        (name, module)
        for name, module in MobileNet(arch).named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    ]
    foreign = {
        f"{index}.{leaf}": tensor
        for index, layer in enumerate(layers)
        for leaf, tensor in _as_torch(layer, modules[index : index + 1]).items()
    }
    pairs = ((name, str(index)) for index, (name, _) in enumerate(modules))
    return rename(arch, foreign, pairs, "Keras")


def _as_torch(
    layer: Mapping[str, Tensor], ours: Sequence[tuple[str, nn.Module]]
) -> dict[str, Tensor]:
    """A layer's tensors by PyTorch's names and in its order; `ours` is our layer, if there is one.

    (H, W, in, out) -> (out, in, H, W); depthwise (H, W, C, 1) -> (C, 1, H, W); fully connected
    (in, out) -> (out, in).
    """
    depthwise = any(getattr(module, "groups", 1) > 1 for _, module in ours)
    tensors = {_LEAVES.get(name, name): value for name, value in layer.items()}
    weight = tensors.get("weight")
    if weight is not None and weight.ndim == 4:
        tensors["weight"] = weight.permute(2, 3, 0, 1) if depthwise else weight.permute(3, 2, 0, 1)
    elif weight is not None and weight.ndim == 2:
        tensors["weight"] = weight.T
    if "running_mean" in tensors:
        tensors["num_batches_tracked"] = torch.tensor(0)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _variables(group: Any) -> dict[str, Tensor]:
    """A layer's variables: "conv1_bn/gamma:0" is gamma."""
    names = [_text(name) for name in _listed(group, "weight_names")]
    return {
        name.rpartition("/")[2].partition(":")[0]: torch.from_numpy(group[name][()])
        for name in names
    }


def _listed(group: Any, attribute: str) -> list[Any]:
    """A list attribute; a long one is cut into attribute0, attribute1, ..."""
    if attribute in group.attrs:
        return list(group.attrs[attribute])
    parts: list[Any] = []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    if not parts:
        raise KeyError(f"no {attribute}")
    return [name for part in parts for name in part]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
