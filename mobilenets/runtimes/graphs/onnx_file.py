"""Checkpoint -> ONNX model.

torch's exporter takes a second or two a network. What it writes depends on the network's
structure; channels, image size and weights only fill it. So each structure is exported once a
process, and the networks that share it are filled in: a test holds the two ways equal to the bit.
A head that resizes, or lists the pixels of its maps, has sizes all over its graph: each such
network is exported on its own.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from mobilenets.archs import Arch, Op, ops
from mobilenets.nn import Checkpoint, Deployed

OPSET = 18


def onnx_model(checkpoint: Checkpoint) -> Any:
    """The deployed network: "image" (1, C, H, W) float32 in [0, 1] -> its named outputs, such as
    "logits" (1, classes)."""
    if any(op.kind in ("resize", "collect") for op in ops(checkpoint.arch)):
        return exported(checkpoint)
    model = onnx.ModelProto()
    model.CopyFrom(_template(_Structure(checkpoint)))
    _fill_(model.graph, checkpoint)
    return model


def exported(checkpoint: Checkpoint) -> Any:
    """The same by torch's exporter alone."""
    arch = checkpoint.arch
    image = torch.zeros(1, arch.in_channels, *arch.size)
    with _quiet():
        program = torch.onnx.export(
            Deployed(checkpoint), (image,), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["image"], output_names=list(arch.outputs),
        )  # fmt: skip
    model = program.model_proto  # type: ignore[union-attr]
    _strip(model)
    return model


class _Structure:
    """A checkpoint's, equal to all those that the exporter writes alike: same ops, kernels,
    strides, joined alike, and a mean to subtract or none. Channels, image sides and classes are
    free, but for a single one: a depthwise convolution of one channel is no depthwise convolution.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.arch, self.mean = checkpoint.arch, checkpoint.mean
        self._key = (self.arch.padding, any(self.mean), *map(_shapeless, ops(self.arch)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _shapeless(op: Op) -> tuple[Any, ...]:
    single = op.in_channels == 1, op.out_channels == 1
    # TensorFlow's padding of a strided convolution depends on whether the side is even.
    odd = op.in_size.height % 2, op.in_size.width % 2
    window = op.kernel, op.stride, op.dilation
    return op.name, op.kind, op.inputs, window, op.groups > 1, op.act, single, odd


@cache
def _template(structure: _Structure) -> Any:
    return exported(replace(Checkpoint.fresh(structure.arch), mean=structure.mean))


def _fill_(graph: Any, checkpoint: Checkpoint) -> None:
    """Put the checkpoint's weights and shapes into a graph of the same structure."""
    state = Deployed(checkpoint).state_dict()
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    for name in arrays.keys() & state.keys():
        _set_(arrays[name], state[name].numpy())
    for node in graph.node:
        if node.op_type == "Conv":
            _set_groups_(node, state[node.input[1]].shape)
        elif node.op_type == "Reshape":  # after the global pool, to (1, channels)
            _set_(arrays[node.input[1]], np.array([1, _pooled_channels(checkpoint.arch)]))
    first = ops(checkpoint.arch)[0]
    _set_shape_(graph.input[0], (first.out_channels, *first.out_size))
    for output in graph.output:
        _set_shape_(output, checkpoint.arch.outputs[output.name])


def _pooled_channels(arch: Arch) -> int:
    """How many features the first fully connected layer reads, or are given out."""
    walk = ops(arch)
    return next((op.in_channels for op in walk if op.kind == "linear"), walk[-1].out_channels)


def _set_(tensor: Any, array: NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def _set_groups_(node: Any, weight: Sequence[int]) -> None:
    """A depthwise convolution has as many groups as filters."""
    group = next(attribute for attribute in node.attribute if attribute.name == "group")
    group.i = weight[0] if group.i > 1 else 1


def _set_shape_(value: Any, shape: Sequence[int]) -> None:
    dims = value.type.tensor_type.shape.dim
    for dim, length in zip(dims, (1, *shape), strict=True):
        dim.dim_value = length


def _strip(model: Any) -> None:
    """Drop what the exporter notes on every node: stack traces, with paths of this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints, logs and warns about its own future; none of it is for our users."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
