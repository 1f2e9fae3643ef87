"""The names of lukemelas/EfficientNet-PyTorch, which the weights in PyPI packages have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from mobilenets.archs import Arch, ops
from mobilenets.nn.pretrained.names import rename

_LAYERS = (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"),
           ("project", "_project_conv", "_bn2"))  # fmt: skip


def from_efficientnet_pytorch(arch: Arch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights for `arch` from such a state dict; raises `FileError` if they differ."""
    return rename(arch, state, _pairs(arch), "EfficientNet-PyTorch")


def _pairs(arch: Arch) -> Iterator[tuple[str, str]]:
    last = len(arch.rows) - 1
    for index, conv, norm in ((0, "_conv_stem", "_bn0"), (last, "_conv_head", "_bn1")):
        yield f"rows.{index}.conv", conv
        yield f"rows.{index}.norm", norm
    made = {op.name for op in ops(arch)}
    for index in range(1, last):
        for ours, conv, norm in _LAYERS:
            if f"rows.{index}.{ours}" in made:
                yield f"rows.{index}.{ours}.conv", f"_blocks.{index - 1}.{conv}"
                yield f"rows.{index}.{ours}.norm", f"_blocks.{index - 1}.{norm}"
    yield "head.classifier.linear", "_fc"
