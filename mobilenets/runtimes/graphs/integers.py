"""A deployed network's ONNX graph, rewritten so that all of it can run in int8.

Float in, float out, the same logits: operations that have no int8 kernel are expressed by some that
have. `runtimes.graphs.qdq` then inserts the quantize and dequantize nodes.

- x * ReLU6(x + 3) / 6, h-swish (arXiv:1905.02244, section 5.2), is an addition, a clip and a
  product: in integers the clip is the addition's own saturation, and the division a matter of
  scale. As it is, onnxruntime goes back to float around each one.
- The gate of squeeze-and-excite, ReLU6(x + 3) / 6, has the 3 in its convolution's bias: what is
  left is that convolution's saturation.
- Depthwise convolutions of channels that are no multiple of 16 get zeros up to the next one:
  onnxruntime's kernel takes 16 at a time, and the rest one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_LANES = 16  # channels that onnxruntime's depthwise kernel takes at a time
_LEAST_PART = 64  # a channel that is smaller than this part of the largest is not brought to it
ACTIVATIONS = ("Relu", "Clip", "HardSwish")
# h-swish takes these runtimes back to float, unless it is taken apart.
HSWISH_APART = ("onnxruntime",)


class Graph:
    """A copy of an ONNX model as nodes and constants, to be changed."""

    def __init__(self, model: Any):
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.nodes: list[Any] = list(self.model.graph.node)
        self.constants: dict[str, NDArray[Any]] = {
            one.name: numpy_helper.to_array(one) for one in model.graph.initializer
        }

    def maker(self, tensor: str) -> Any | None:
        """The node that makes a tensor; None for the image and for constants."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def users(self, tensor: str) -> list[Any]:
        """The nodes that take a tensor."""
        return [node for node in self.nodes if tensor in node.input]

    def to_model(self) -> Any:
        """The model of these nodes, with those constants that they take."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        taken = {name for node in self.nodes for name in node.input}
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(array, order="C"), name)
            for name, array in self.constants.items()
            if name in taken
        )
        return model


def integer_form(model: Any, *, hswish: bool = True) -> Any:
    """The same network with nothing that 8-bit integers cannot do, but for its stem, which stays in
    float; h-swish as it is where `hswish` is not set, for runtimes that have it in integers."""
    graph = Graph(model)
    rewrites = _REWRITES if hswish else {k: v for k, v in _REWRITES.items() if k != "HardSwish"}
    stem = len(stem_of(graph))
    nodes = graph.nodes[:stem]
    for node in graph.nodes[stem:]:
        rewrite = rewrites.get(node.op_type)
        nodes += rewrite(graph, node) if rewrite else [node]
    graph.nodes = nodes
    for node in nodes:
        if is_depthwise(graph, node):
            _fill_lanes_(graph, node)
    return graph.to_model()


def stem_of(graph: Graph) -> list[Any]:
    """The first convolution, with its activation, all that comes before it, and its output made
    level."""
    stem: list[Any] = []
    for node in graph.nodes:
        if stem and stem[-1].op_type != "Sub" and node.op_type not in ACTIVATIONS:
            level = node.op_type == "Mul" and node.input[0] == stem[-1].output[0]
            return [*stem, node] if level and node.input[1] in graph.constants else stem
        stem.append(node)
    return stem


def levelled(model: Any, largest: NDArray[np.float32]) -> Any:
    """Cross-layer equalization of the stem (arXiv:1906.04721, section 4.1): the same network, in
    `integer_form`, with all channels of the stem's output scaled to one range. The depthwise
    convolutions that read it undo that. `largest` (C,) are the channels' largest values.

    Without it 256 levels leave small channels a few. In a V3's stem some channels reach sixty times
    as far as others, and that is most of the whole network's error.
    """
    graph = Graph(model)
    stem = stem_of(graph)
    y = stem[-1].output[0]
    readers = [node for node in graph.users(y) if is_depthwise(graph, node)]
    factors = 1 / np.maximum(largest, largest.max() / _LEAST_PART).astype(np.float32)
    graph.constants[f"{y}/factors"] = factors.reshape(1, -1, 1, 1)
    level = helper.make_node("Mul", [y, f"{y}/factors"], [f"{y}/level"])
    for node in readers:
        node.input[0] = f"{y}/level"
        weight = node.input[1]
        graph.constants[weight] = graph.constants[weight] / factors.reshape(-1, 1, 1, 1)
    graph.nodes = [*stem, *([level] if readers else []), *graph.nodes[len(stem) :]]
    return graph.to_model()


def is_depthwise(graph: Graph, node: Any) -> bool:
    """Whether the node is a convolution of one filter a channel."""
    return node.op_type == "Conv" and graph.constants[node.input[1]].shape[1] == 1


def _pool(graph: Graph, node: Any) -> list[Any]:
    return [helper.make_node("GlobalAveragePool", [node.input[0]], node.output)]


def _gate(graph: Graph, node: Any) -> list[Any]:
    """ReLU6(x + 3) / 6, the 3 in the bias of the convolution that makes x."""
    (x,), (y,) = node.input, node.output
    layer = graph.maker(x)
    assert layer is not None
    assert layer.op_type == "Conv"
    graph.constants[layer.input[2]] = graph.constants[layer.input[2]] + np.float32(3)
    return [*_clip(graph, x, f"{y}/six"), _sixth(graph, f"{y}/six", y)]


def _hswish(graph: Graph, node: Any) -> list[Any]:
    """x ReLU6(x + 3) / 6."""
    (x,), (y,) = node.input, node.output
    three = _constant(graph, 3.0)
    return [
        helper.make_node("Add", [x, three], [f"{y}/plus"]),
        *_clip(graph, f"{y}/plus", f"{y}/six"),
        _sixth(graph, f"{y}/six", f"{y}/gate"),
        helper.make_node("Mul", [x, f"{y}/gate"], [y]),
    ]


def _clip(graph: Graph, x: str, y: str) -> list[Any]:
    return [helper.make_node("Clip", [x, _constant(graph, 0.0), _constant(graph, 6.0)], [y])]


def _sixth(graph: Graph, x: str, y: str) -> Any:
    return helper.make_node("Mul", [x, _constant(graph, 1 / 6)], [y])


def _constant(graph: Graph, value: float) -> str:
    name = f"constant/{value:.4g}"
    graph.constants[name] = np.array(value, np.float32)
    return name


def _fill_lanes_(graph: Graph, depthwise: Any) -> None:
    """Zeros for channels up to a multiple of 16, in all layers that share them; nothing where
    others than layers do."""
    channels = len(graph.constants[depthwise.input[1]])
    extra = -channels % _LANES
    shared = _shared(graph, depthwise.output[0]) if extra else None
    if shared is None:
        return
    for node in graph.nodes:
        if node.op_type != "Conv":
            continue
        weight, bias = node.input[1:]
        if node.output[0] in shared:
            for name in (weight, bias):
                graph.constants[name] = _more(graph.constants[name], 0, extra)
        if node.input[0] in shared and not is_depthwise(graph, node):
            graph.constants[weight] = _more(graph.constants[weight], 1, extra)
        elif is_depthwise(graph, node) and node.output[0] in shared:
            next(one for one in node.attribute if one.name == "group").i = channels + extra


def _shared(graph: Graph, tensor: str) -> set[str] | None:
    """The tensors that must have as many channels as this one; None where one of them is the image,
    a sum or the classifier's input."""
    shared, ahead = set(), [tensor]
    while ahead:
        tensor = ahead.pop()
        shared.add(tensor)
        maker = graph.maker(tensor)
        if maker is None:
            return None
        for node in (maker, *graph.users(tensor)):
            tied = _tied(graph, node)
            if tied is None:
                return None
            ahead += [one for one in tied if one not in shared]
    return shared


def _tied(graph: Graph, node: Any) -> list[str] | None:
    """The tensors of a node that have the same channels: none of a dense convolution; None for a
    node that cannot have more."""
    ends = [name for name in (*node.input, *node.output) if name not in graph.constants]
    if node.op_type == "Conv":
        return ends if is_depthwise(graph, node) else []
    if node.op_type in ("Relu", "Clip", "HardSwish", "Mul", "GlobalAveragePool"):
        return ends
    return ends if node.op_type == "Add" and len(ends) == 2 else None  # h-swish's, no sum


_REWRITES: dict[str, Callable[[Graph, Any], list[Any]]] = {
    "ReduceMean": _pool,
    "HardSigmoid": _gate,
    "HardSwish": _hswish,
}


def _more(array: NDArray[Any], axis: int, extra: int) -> NDArray[Any]:
    """Zeros at the end of an axis."""
    room = [(0, 0)] * array.ndim
    room[axis] = (0, extra)
    return np.pad(array, room)
