"""What 8-bit integers need to know of a network: the values between its layers, and how far off
its layers are on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilenets.quantize.interpret import walk
from mobilenets.runtimes.graphs.qdq import LEVELS, Range, with_integers

Floats = NDArray[np.float32]
_BATCH = 32
_SAMPLE = 256  # values of a tensor that are kept of each image
_FACTORS = np.linspace(1.0, 0.4, 61)


class Observed(NamedTuple):
    """The values of a tensor: the least, the largest, a sample, and how large each channel comes
    (C,)."""

    low: float
    high: float
    sample: Floats
    largest: Floats

    def whole(self) -> Range:
        """All that was seen."""
        return Range(self.low, self.high)

    def closest(self) -> Range:
        """The part of it, around 0, in which the sample's mean squared error is least: finer levels
        for what is common, at the price of cutting off what is rare."""
        ranges = [Range(self.low * factor, self.high * factor) for factor in _FACTORS]
        return min(ranges, key=self._error)

    def _error(self, span: Range) -> float:
        scale, zero = span.levels()
        levels = np.clip(np.round(self.sample / scale) + zero, 0, LEVELS)
        return float(np.square((levels - zero) * scale - self.sample).mean())

    def and_also(self, other: Observed) -> Observed:
        """Both."""
        return Observed(
            min(self.low, other.low),
            max(self.high, other.high),
            np.concatenate([self.sample, other.sample]),
            np.maximum(self.largest, other.largest),
        )


def observe(model: Any, images: Tensor) -> dict[str, Observed]:
    """Every tensor between the nodes of an ONNX model, over float images (N, C, H, W)."""
    seen: dict[str, Observed] = {}
    random = torch.Generator().manual_seed(0)

    def look(name: str, values: Tensor) -> None:
        here = _observed(values, random)
        seen[name] = seen[name].and_also(here) if name in seen else here

    for batch in torch.split(images, _BATCH):
        walk(model, batch, look)
    return seen


def _observed(values: Tensor, random: torch.Generator) -> Observed:
    flat = values.reshape(-1)
    places = torch.randint(len(flat), (min(_SAMPLE * len(values), len(flat)),), generator=random)
    largest = values.abs().transpose(0, 1).flatten(1).amax(1)
    low, high = float(flat.min()), float(flat.max())
    return Observed(low, high, flat[places].numpy(), largest.numpy())


def shifts(
    model: Any, ranges: Mapping[str, Range], images: Tensor, *, weight_bits: int = 8
) -> dict[str, Floats]:
    """What to add to each layer's bias so that each channel's mean output is the float network's:
    bias correction (arXiv:1906.04721, section 4.2; measured on images, appendix D). Layer by layer,
    each behind those that are corrected already."""
    wanted: dict[str, Tensor] = {}
    found: dict[str, Floats] = {}
    layers = {node.output[0] for node in model.graph.node if node.op_type in ("Conv", "Gemm")}

    def note(name: str, values: Tensor) -> None:
        if name in layers:
            wanted[name] = _mean(values)

    def put_right(name: str, values: Tensor) -> Tensor | None:
        if name not in layers:
            return None
        off = wanted[name] - _mean(values)
        found[name] = off.numpy()
        return values + off.reshape(-1, *(1 for _ in values.shape[2:]))

    walk(model, images, note)
    walk(with_integers(model, ranges, weight_bits=weight_bits), images, put_right)
    return found


def _mean(values: Tensor) -> Tensor:
    """Of each channel."""
    return values.transpose(0, 1).flatten(1).mean(1)
