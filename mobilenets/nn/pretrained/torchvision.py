"""torchvision's names and conventions (torchvision.models.mobilenet_v2, mobilenet_v3_*, and
detection.ssdlite320_mobilenet_v3_large)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from mobilenets.archs import Arch
from mobilenets.archs.rows import Bottleneck
from mobilenets.archs.ssdlite import SSDLite
from mobilenets.nn.pretrained.names import rename

_PREDICTORS = {
    "boxes": "head.regression_head.module_list",
    "scores": "head.classification_head.module_list",
}


def convention(arch: Arch) -> Arch:
    """`arch` with torchvision's batch norm constants; its width rule is `torchvision`."""
    eps, momentum = (1e-3, 0.01) if arch.generation == 3 else (1e-5, 0.1)
    return replace(arch, bn_eps=eps, bn_momentum=momentum, padding="symmetric")


def from_torchvision(arch: Arch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights for `arch` from torchvision's state dict; raises `FileError` if they differ."""
    if isinstance(arch.head, SSDLite):
        state = _of_detector(state, arch.head.taps[0].row)
    return rename(arch, state, _pairs(arch, state), "torchvision")


def _of_detector(state: Mapping[str, Tensor], tapped: int) -> dict[str, Tensor]:
    """With the backbone's names as a classifier has them. A detector's rows are in two parts, cut
    behind the expansion of the `tapped` one."""
    found = {}
    for name, tensor in state.items():
        part, _, rest = name.removeprefix("backbone.features.").partition(".")
        row, _, layer = rest.partition(".")
        if not name.startswith("backbone.features."):
            found[name] = tensor
        elif part == "0":
            found[f"features.{row}.{'block.0.' * (row == str(tapped))}{layer}"] = tensor
        else:
            inside = "block." * (row == "0")
            found[f"features.{tapped + int(row)}.{inside}{layer}"] = tensor
    return found


def _pairs(arch: Arch, state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    for index, row in enumerate(arch.rows):
        if isinstance(row, Bottleneck):
            block = _block_v3 if arch.generation == 3 else _block_v2
            yield from block(f"rows.{index}", f"features.{index}", state)
        else:
            yield f"rows.{index}.conv", f"features.{index}.0"
            yield f"rows.{index}.norm", f"features.{index}.1"
    if isinstance(arch.head, SSDLite):
        yield from _ssdlite(arch.head)
        return
    if arch.generation == 3:
        yield "head.dense.linear", "classifier.0"
    yield "head.classifier.linear", "classifier.3" if arch.generation == 3 else "classifier.1"


def _ssdlite(head: SSDLite) -> Iterator[tuple[str, str]]:
    for index in range(len(head.extras)):
        for part, layer in enumerate(("squeeze", "depthwise", "pointwise")):
            yield f"head.extras.{index}.{layer}.conv", f"backbone.extra.{index}.{part}.0"
            yield f"head.extras.{index}.{layer}.norm", f"backbone.extra.{index}.{part}.1"
    for ours, theirs in _PREDICTORS.items():
        for index in range(len(head.anchors)):
            yield f"head.{ours}.{index}.depthwise.conv", f"{theirs}.{index}.0.0"
            yield f"head.{ours}.{index}.depthwise.norm", f"{theirs}.{index}.0.1"
            yield f"head.{ours}.{index}.predict", f"{theirs}.{index}.1"


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
