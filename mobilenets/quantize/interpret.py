"""An ONNX graph of ours run by torch, node by node, for what a runtime does not show: the values in
between, and what changes in them when one is changed.

The nodes are those of `runtimes.graphs.integers` and `runtimes.graphs.qdq`; integers are computed
in float, rounded where they would be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mobilenets.runtimes.graphs.integers import Graph

Look = Callable[[str, Tensor], Tensor | None]
"""Called with each tensor's name and value; what it returns goes on in its place."""


def walk(model: Any, images: Tensor, look: Look) -> Tensor:
    """The logits (N, classes) of images (N, C, H, W) in [0, 1]."""
    graph = Graph(model)
    users = Counter(name for node in graph.nodes for name in node.input)
    values = {name: torch.from_numpy(np.array(array)) for name, array in graph.constants.items()}
    values[model.graph.input[0].name] = images
    result = images
    with torch.inference_mode():
        for node in graph.nodes:
            result = _OPS[node.op_type](node, *(values[name] for name in node.input))
            seen = look(node.output[0], result)
            values[node.output[0]] = result if seen is None else seen
            for name in node.input:
                users[name] -= 1
                if not users[name]:
                    del values[name]
    return result


def _convolution(node: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    asked = {one.name: one for one in node.attribute}
    top, left, bottom, right = asked["pads"].ints
    padded = F.pad(x, (left, right, top, bottom))
    strides, groups = tuple(asked["strides"].ints), asked["group"].i
    return F.conv2d(padded, weight, bias, strides, groups=groups)


def _linear(node: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias)


def _clip(node: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return x.clamp(low, high)


def _quantize(node: Any, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    return (torch.round(x / scale) + zero).clamp(0, 255)


def _dequantize(node: Any, levels: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    shape = (-1, *(1 for _ in levels.shape[1:])) if scale.ndim else ()
    return (levels.float() - zero.float().reshape(shape)) * scale.reshape(shape)


_OPS: dict[str, Callable[..., Tensor]] = {
    "Sub": lambda node, x, y: x - y,
    "Add": lambda node, x, y: x + y,
    "Mul": lambda node, x, y: x * y,
    "Relu": lambda node, x: F.relu(x),
    "HardSwish": lambda node, x: F.hardswish(x),
    "GlobalAveragePool": lambda node, x: x.mean((2, 3), keepdim=True),
    "Reshape": lambda node, x, shape: x.flatten(1),
    "Clip": _clip,
    "Conv": _convolution,
    "Gemm": _linear,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
}
