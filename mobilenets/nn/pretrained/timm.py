"""timm's names and conventions (timm.models: mobilenetv1_*, mobilenetv2_*, mobilenetv3_*,
mobilenetv4_conv_*, tf_*)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from mobilenets.archs import Arch
from mobilenets.archs.op import squeeze_channels
from mobilenets.archs.rows import Conv, FusedBottleneck, Row, Separable, UniversalBottleneck
from mobilenets.nn.pretrained.names import rename

_EXPANDED = (
    ("expand.conv", "conv_pw"), ("expand.norm", "bn1"),
    ("depthwise.conv", "conv_dw"), ("depthwise.norm", "bn2"),
    ("se.reduce", "se.conv_reduce"), ("se.gate", "se.conv_expand"),
    ("project.conv", "conv_pwl"), ("project.norm", "bn3"),
)  # fmt: skip
_NOT_EXPANDED = (
    ("depthwise.conv", "conv_dw"), ("depthwise.norm", "bn1"),
    ("se.reduce", "se.conv_reduce"), ("se.gate", "se.conv_expand"),
    ("project.conv", "conv_pw"), ("project.norm", "bn2"),
)  # fmt: skip
_SEPARABLE = (
    ("depthwise.conv", "conv_dw"), ("depthwise.norm", "bn1"),
    ("pointwise.conv", "conv_pw"), ("pointwise.norm", "bn2"),
)  # fmt: skip
_UNIVERSAL = tuple(
    (f"{mine}.{part}", f"{theirs}.{their_part}")
    for mine, theirs in (
        ("start", "dw_start"), ("expand", "pw_exp"), ("depthwise", "dw_mid"), ("project", "pw_proj")
    )
    for part, their_part in (("conv", "conv"), ("norm", "bn"))
)  # fmt: skip
_FUSED = (
    ("expand.conv", "conv_exp"), ("expand.norm", "bn1"),
    ("project.conv", "conv_pwl"), ("project.norm", "bn2"),
)  # fmt: skip


def convention(arch: Arch) -> Arch:
    """`arch` with timm's batch norm constants: TensorFlow's eps where the padding is TensorFlow's
    (the tf_ networks), PyTorch's elsewhere."""
    return replace(arch, bn_eps=1e-3 if arch.padding == "same" else 1e-5, bn_momentum=0.1)


def from_timm(arch: Arch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights for `arch` from timm's state dict; raises `FileError` if they differ."""
    state = _filled(arch, state)
    return rename(arch, state, _pairs(arch, state), "timm")


def _filled(arch: Arch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with zeros where our network has more: mobilenetv3_rw squeezes to a quarter that is
    not rounded to 8, and its layer after the pool has no bias. Zeros compute the same."""
    filled = dict(state)
    for name in [name for name in state if name.endswith(".se.conv_reduce.weight")]:
        block = name.removesuffix(".conv_reduce.weight")
        squeeze, expand = state[name].shape[:2]
        missing = max(squeeze_channels(expand) - squeeze, 0)
        filled[name] = pad(state[name], (0, 0, 0, 0, 0, 0, 0, missing))
        filled[f"{block}.conv_reduce.bias"] = pad(state[f"{block}.conv_reduce.bias"], (0, missing))
        gate = f"{block}.conv_expand.weight"
        filled[gate] = pad(state[gate], (0, 0, 0, 0, 0, missing))
    if arch.generation == 3 and "conv_head.weight" in state and "conv_head.bias" not in state:
        filled["conv_head.bias"] = torch.zeros(len(state["conv_head.weight"]))
    return filled


def _pairs(arch: Arch, state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    blocks = iter(_blocks(state))
    for index, row in enumerate(arch.rows):
        ours = f"rows.{index}"
        if isinstance(row, Conv):
            block = "" if index == 0 else next(blocks, "blocks.missing")
            yield from _conv(arch, index, block)
        else:
            block = next(blocks, "blocks.missing")
            for mine, theirs in _layers(row, block, state):
                yield f"{ours}.{mine}", f"{block}.{theirs}"
    if arch.generation == 3:
        yield "head.dense.linear", "conv_head"
    if arch.generation == 4:
        yield "head.dense.conv", "conv_head"
        yield "head.dense.norm", "norm_head"
    yield "head.classifier.linear", "classifier"


def _conv(arch: Arch, index: int, block: str) -> Iterator[tuple[str, str]]:
    """The stem; the last convolution of V2 (and of mobilenetv1_100h); the others of V3 and V4,
    which timm counts as blocks."""
    conv, norm = ("conv_head", "bn2") if arch.generation < 3 else (f"{block}.conv", f"{block}.bn1")
    if index == 0:
        conv, norm = "conv_stem", "bn1"
    yield f"rows.{index}.conv", conv
    yield f"rows.{index}.norm", norm


def _layers(row: Row, block: str, state: Mapping[str, Tensor]) -> tuple[tuple[str, str], ...]:
    named = {Separable: _SEPARABLE, UniversalBottleneck: _UNIVERSAL, FusedBottleneck: _FUSED}
    if type(row) in named:
        return named[type(row)]
    return _EXPANDED if f"{block}.conv_pwl.weight" in state else _NOT_EXPANDED


def _blocks(state: Mapping[str, Tensor]) -> list[str]:
    """Their blocks in the order they run: blocks.STAGE.BLOCK."""
    paths = {
        (int(parts[1]), int(parts[2]))
        for parts in (name.split(".") for name in state)
        if parts[0] == "blocks"
    }
    return [f"blocks.{stage}.{block}" for stage, block in sorted(paths)]
