"""Which of our networks a file's tensors are of: found from their shapes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from mobilenets.archs import Arch, ops
from mobilenets.archs.published_weights import (
    PUBLISHED_DETECTORS,
    PUBLISHED_WEIGHTS,
    Published,
)
from mobilenets.archs.variants import VARIANTS
from mobilenets.nn.pretrained.keras import Layers

_WIDEST = 2.0
_SCORES = "head.classification_head.module_list.0.1.bias"  # of torchvision's detector
_ANCHORS = 6
_CLASSIFIER = re.compile(r"(classifier(\.\d)?|_fc)\.bias")
Shapes = Counter[tuple[int, ...]]


def identified(
    source: str, state: Mapping[str, Tensor] | Layers, *, tensorflow: bool = False
) -> Iterator[Published]:
    """Published checkpoints as this one would be, with its network, width and classes: those whose
    windows (the stem's, the depthwise filters') have its shapes, the likeliest first.

    Conventions do not show in shapes: of two, TensorFlow's where `tensorflow` says so.
    """
    if isinstance(state, Mapping) and _SCORES in state:
        yield from _detectors(state)
        return
    shapes, classes = _windows(state), _classes(state)
    like = [one for one in PUBLISHED_WEIGHTS if one.source == source]
    # V3-Large and timm's rw have the same windows; only the former's dense layer has a bias.
    biased = "conv_head.bias" in state
    like.sort(
        key=lambda one: (
            one.network.endswith("_rw") is biased,
            (one.padding == "same") is not tensorflow,
        )
    )
    for network in dict.fromkeys(one.network for one in like):
        known = [one for one in like if one.network == network]
        if _windows_of(known[0].arch).total() != shapes.total():
            continue
        for width in _widths(known):
            nearest = min(known, key=lambda one: abs(one.width - width))
            found = replace(nearest, width=width, classes=classes)
            if _windows_of(found.arch) == shapes:
                yield found
                break


def _detectors(state: Mapping[str, Tensor]) -> Iterator[Published]:
    """Those of torchvision's, on whole and reduced tails, with as many classes as there are."""
    for one in PUBLISHED_DETECTORS:
        for head in ("ssdlite_reduced", "ssdlite"):
            found = replace(one, head=head, classes=len(state[_SCORES]) // _ANCHORS)
            if _windows_of(found.arch) == _windows(state):
                yield found


def _widths(known: list[Published]) -> list[float]:
    """Those that are published, then rounder ones before others."""
    published = [one.width for one in known]
    if known[0].network in VARIANTS:
        return published[:1]
    rest = [hundredths / 100 for hundredths in range(5, int(100 * _WIDEST) + 1)]
    rest.sort(key=lambda width: (width % 0.25 > 0, round(100 * width) % 5 > 0, abs(width - 1)))
    return list(dict.fromkeys([*published, *rest]))


def _windows(state: Mapping[str, Tensor] | Layers) -> Shapes:
    if isinstance(state, Mapping):
        return Counter(
            tuple(one.shape) for one in state.values() if one.ndim == 4 and one.shape[2] > 1
        )
    found: Shapes = Counter()
    for layer in state:
        for name, one in layer.items():
            if name in ("kernel", "depthwise_kernel") and one.ndim == 4:
                height, width, read, made = one.shape  # of a depthwise filter: (C, 1)
                made, read = (read, 1) if name.startswith("depthwise") else (made, read)
                if height > 1:
                    found[(made, read, height, width)] += 1
    return found


def _windows_of(arch: Arch) -> Shapes:
    return Counter(
        (op.out_channels, op.in_channels // op.groups, op.kernel, op.kernel)
        for op in ops(arch)
        if op.has_weights and op.kind != "linear" and op.kernel > 1
    )


def _classes(state: Mapping[str, Tensor] | Layers) -> int:
    """The length of the last layer's bias."""
    if not isinstance(state, Mapping):
        return len(state[-1].get("bias", ())) or 1
    last = max((name for name in state if _CLASSIFIER.fullmatch(name)), default="")
    return state[last].numel() if last else 1
