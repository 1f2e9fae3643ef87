"""torchvision's names and conventions (torchvision.models.mobilenet_v2, mobilenet_v3_*)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from mobilenets.archs import Arch
from mobilenets.archs.rows import Bottleneck
from mobilenets.nn.pretrained.names import rename


def convention(arch: Arch) -> Arch:
    """`arch` with torchvision's batch norm constants; its width rule is `torchvision`."""
    eps, momentum = (1e-3, 0.01) if arch.generation == 3 else (1e-5, 0.1)
    return replace(arch, bn_eps=eps, bn_momentum=momentum, padding="symmetric")


def from_torchvision(arch: Arch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights for `arch` from torchvision's state dict; raises `FileError` if they differ."""
    return rename(arch, state, _pairs(arch, state), "torchvision")


def _pairs(arch: Arch, state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    for index, row in enumerate(arch.rows):
        if isinstance(row, Bottleneck):
            block = _block_v3 if arch.generation == 3 else _block_v2
            yield from block(f"rows.{index}", f"features.{index}", state)
        else:
            yield f"rows.{index}.conv", f"features.{index}.0"
            yield f"rows.{index}.norm", f"features.{index}.1"
    if arch.generation == 3:
        yield "head.dense.linear", "classifier.0"
    yield "head.classifier.linear", "classifier.3" if arch.generation == 3 else "classifier.1"


def _block_v2(ours: str, theirs: str, state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    expanded = f"{theirs}.conv.3.weight" in state
    for index, layer in enumerate(("expand", "depthwise") if expanded else ("depthwise",)):
        yield f"{ours}.{layer}.conv", f"{theirs}.conv.{index}.0"
        yield f"{ours}.{layer}.norm", f"{theirs}.conv.{index}.1"
    project = 2 if expanded else 1
    yield f"{ours}.project.conv", f"{theirs}.conv.{project}"
    yield f"{ours}.project.norm", f"{theirs}.conv.{project + 1}"


def _block_v3(ours: str, theirs: str, state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    parts = sorted(
        {int(name.split(".")[3]) for name in state if name.startswith(f"{theirs}.block.")}
    )
    squeeze = [part for part in parts if f"{theirs}.block.{part}.fc1.weight" in state]
    convs = [part for part in parts if part not in squeeze]
    layers = ("expand", "depthwise", "project")[-len(convs) :]
    for part, layer in zip(convs, layers, strict=True):
        yield f"{ours}.{layer}.conv", f"{theirs}.block.{part}.0"
        yield f"{ours}.{layer}.norm", f"{theirs}.block.{part}.1"
    for part in squeeze:
        yield f"{ours}.se.reduce", f"{theirs}.block.{part}.fc1"
        yield f"{ours}.se.gate", f"{theirs}.block.{part}.fc2"
