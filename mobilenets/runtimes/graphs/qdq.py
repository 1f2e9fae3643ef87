"""8-bit integers in an ONNX graph: QuantizeLinear and DequantizeLinear around what runs in them.

The form that onnxruntime and OpenVINO turn into integer kernels. Weights are int8, each filter with
its own scale, symmetric; what flows between layers is uint8, a scale and a zero a tensor; biases
are int32. The stem reads float and computes in float, and the logits are float.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from mobilenets.runtimes.graphs.integers import (
    ACTIVATIONS,
    Graph,
    integer_form,
    levelled,
    stem_of,
)

LEVELS = 255
_LAYERS = ("Conv", "Gemm")
# Below this part of its range an int32 bias stays, whatever the weights: a filter of zeros has no
# scale of its own.
_BIAS_ROOM = 2**30
_TINY = 1e-12


class Range(NamedTuple):
    """The values that a tensor's 256 levels span; 0 is always one of them."""

    low: float
    high: float

    def levels(self) -> tuple[np.float32, np.uint8]:
        """The scale, and the level of 0."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        scale = max(high - low, _TINY) / LEVELS
        return np.float32(scale), np.uint8(round(-low / scale))


def with_integers(
    model: Any,
    ranges: Mapping[str, Range],
    *,
    shifts: Mapping[str, NDArray[np.float32]] | None = None,
    weight_bits: int = 8,
) -> Any:
    """`model`, in `integer_form`, with all but its stem in integers.

    `ranges` are of the tensors between layers; `shifts` are added to the biases, by the layer's
    output.
    """
    return _Writer(Graph(model), ranges, shifts or {}, weight_bits).model()


def bounded(model: Any, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges without what makes no difference: h-swish is 0 for all below -3, so its input need
    not span more; and a gate spans 0 to 6, whatever was seen, for integers to clip it there."""
    graph = Graph(model)
    found = dict(ranges)
    for node in graph.nodes:
        if node.op_type == "Add" and node.input[1] in graph.constants:
            low, high = found[node.input[0]]
            found[node.input[0]] = Range(max(low, -3.0), high)
        if node.op_type == "Mul" and node.input[1] in graph.constants:
            found[node.input[0]] = Range(0.0, 6.0)
    return found


def for_timing(model: Any, *, hswish: bool) -> Any:
    """A deployed network in integers with numbers out of the air, as fast as with the right ones:
    those take images (`quantize.schemes`)."""
    form = integer_form(model, hswish=hswish)
    graph = Graph(form)
    (stem,) = (node for node in stem_of(graph) if node.op_type == "Conv")
    form = levelled(form, np.ones(len(graph.constants[stem.input[1]]), np.float32))
    ranges = {node.output[0]: _LIKELY.get(node.op_type, Range(-8, 8)) for node in form.graph.node}
    return with_integers(form, bounded(form, ranges))


# A runtime drops a ReLU where the levels begin at 0.
_LIKELY = {"Relu": Range(0, 6), "Clip": Range(0, 6), "HardSwish": Range(-0.375, 6)}


class _Writer:
    """One graph being written: `graph` is the float one, `_nodes` what becomes of it."""

    def __init__(
        self,
        graph: Graph,
        ranges: Mapping[str, Range],
        shifts: Mapping[str, NDArray[np.float32]],
        weight_bits: int,
    ):
        self.graph = graph
        self.ranges = dict(ranges)
        self.shifts = shifts
        self.most = 2 ** (weight_bits - 1) - 1
        self._nodes = list(stem_of(graph))
        self._taken: set[str] = set()
        # A product with a constant is its factor's levels, at another scale: (factor, constant).
        self._scaled: dict[str, tuple[str, float]] = {}

    def model(self) -> Any:
        for node in self.graph.nodes[len(self._nodes) :]:
            self._write(node)
        self.graph.nodes = self._nodes
        return self.graph.to_model()

    def _write(self, node: Any) -> None:
        if node.op_type in _LAYERS:
            self._write_layer(node)
        elif node.op_type in ACTIVATIONS:
            self._nodes.append(node)  # on the layer's own float output: one kernel with it
        elif node.op_type == "Mul" and node.input[1] in self.graph.constants:
            self._scaled[node.output[0]] = node.input[0], float(self._constant(node.input[1]))
        else:
            self._write_other(node)

    def _write_other(self, node: Any) -> None:
        if node.op_type == "Reshape":  # the same numbers
            self.ranges[node.output[0]] = self.ranges[node.input[0]]
            node.input[0] = self._take(node.input[0])
        else:
            node.input[:] = [self._take(name) for name in node.input]
        self._nodes.append(node)

    def _write_layer(self, node: Any) -> None:
        x, weight, bias = node.input
        filters, scales = self._filters(x, weight, bias)
        shift = self.shifts.get(node.output[0], np.float32(0))
        biases = np.round((self._constant(bias) + shift) / scales)
        scale, _ = self._levels(x)
        node.input[:] = [
            self._take(x),
            self._stored(weight, filters.astype(np.int8), (scales / scale).astype(np.float32)),
            self._stored(bias, biases.astype(np.int32), scales),
        ]
        self._nodes.append(node)

    def _filters(
        self, x: str, weight: str, bias: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The filters in steps of their scale, and the scale of a filter's product with `x`."""
        values = self._constant(weight)
        apart = (-1, *(1 for _ in values.shape[1:]))
        scale, _ = self._levels(x)
        largest = np.abs(values).reshape(len(values), -1).max(axis=1)
        least = np.abs(self._constant(bias)) / _BIAS_ROOM / scale
        steps = np.maximum(np.maximum(largest / self.most, least), _TINY).astype(np.float32)
        return np.round(values / steps.reshape(apart)), steps * scale

    def _constant(self, name: str) -> NDArray[np.float32]:
        return self.graph.constants[name]

    def _levels(self, tensor: str) -> tuple[np.float32, np.uint8]:
        """Scale and zero of what a layer reads."""
        factor, by = self._scaled.get(tensor, (tensor, 1.0))
        scale, zero = self.ranges[factor].levels()
        return np.float32(scale * by), zero

    def _take(self, tensor: str) -> str:
        """The tensor as a layer reads it: quantized once, and back at each scale it has."""
        if tensor in self.graph.constants:
            values = self._constant(tensor)  # h-swish's 3
            return self._stored(tensor, np.array(LEVELS, np.uint8), values / np.float32(LEVELS))
        factor, _ = self._scaled.get(tensor, (tensor, 1.0))
        if factor not in self._taken:
            self._quantize(factor)
        if (read := f"{tensor}/read") not in self._taken:
            scale, zero = self._levels(tensor)
            names = [self._keep(f"{tensor}/scale", scale), self._keep(f"{factor}/zero", zero)]
            self._node("DequantizeLinear", [f"{factor}/levels", *names], read)
        return read

    def _quantize(self, tensor: str) -> None:
        scale, zero = self.ranges[tensor].levels()
        names = [self._keep(f"{tensor}/scale", scale), self._keep(f"{tensor}/zero", zero)]
        self._node("QuantizeLinear", [tensor, *names], f"{tensor}/levels")
        self._taken.add(tensor)

    def _stored(self, name: str, levels: NDArray[Any], scales: NDArray[np.float32]) -> str:
        """A constant kept in levels around 0."""
        if (read := f"{name}/read") not in self._taken:
            names = [
                self._keep(f"{name}/levels", levels),
                self._keep(f"{name}/scale", scales),
                self._keep(f"{name}/zero", np.zeros_like(scales, levels.dtype)),
            ]
            self._node("DequantizeLinear", names, read, axis=0)
        return read

    def _keep(self, name: str, array: Any) -> str:
        self.graph.constants[name] = np.asarray(array)
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        self._taken.add(output)
