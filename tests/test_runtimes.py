"""Runtimes: a small ONNX file is loaded and run; what cannot be loaded is refused in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobilenets.errors import DataError, FileError, RuntimeMissing
from mobilenets.runtimes import Session, get_runtime

CLASSES = 4
SIZE = 16


def write_onnx(path: Path, *, shape: tuple[int | str, ...] = (1, 3, SIZE, SIZE)) -> Path:
    """Convolution 3x3 (all weights 1), global average pool, a linear layer, and metadata."""
    arrays = {
        "kernel": np.ones((2, 3, 3, 3), np.float32),
        "weight": np.arange(2 * CLASSES, dtype=np.float32).reshape(2, CLASSES),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "kernel"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["features"]),
            helper.make_node("Gemm", ["features", "weight"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (shape[0], CLASSES))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"labels": "[]"})
    onnx.save(model, path)
    return path


def load(path: Path) -> Session:
    return get_runtime("onnxruntime").load(path, threads=1)


def test_a_network_answers_with_its_logits(tmp_path: Path):
    session = load(write_onnx(tmp_path / "tiny.onnx"))

    logits = session.run(np.full((1, 3, SIZE, SIZE), 0.5, np.float32))

    # Every window sums to 27 x 0.5 = 13.5 in both channels; columns of the weight sum to 4 6 8 10.
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, [[54.0, 81.0, 108.0, 135.0]], rtol=1e-6)


def test_a_session_tells_its_shape_and_metadata(tmp_path: Path):
    session = load(write_onnx(tmp_path / "tiny.onnx"))

    assert session.input_shape == (1, 3, SIZE, SIZE)
    assert session.metadata == {"labels": "[]"}


def test_an_open_batch_counts_as_one_and_takes_any_number_of_images(tmp_path: Path):
    session = load(write_onnx(tmp_path / "tiny.onnx", shape=("batch", 3, SIZE, SIZE)))

    assert session.input_shape == (1, 3, SIZE, SIZE)
    assert session.run(np.zeros((5, 3, SIZE, SIZE), np.float32)).shape == (5, CLASSES)


def test_the_runtime_describes_itself():
    runtime = get_runtime("onnxruntime")

    assert (runtime.name, runtime.suffix) == ("onnxruntime", ".onnx")
    assert runtime.precisions == ("fp32", "int8")
    assert runtime.version()[0].isdigit()


def test_images_of_another_shape_are_refused(tmp_path: Path):
    session = load(write_onnx(tmp_path / "tiny.onnx"))

    with pytest.raises(DataError, match=r"takes float32 images of shape \(1, 3, 16, 16\) and fail"):
        session.run(np.zeros((1, 3, SIZE, SIZE + 1), np.float32))


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(FileError, match=r"there is no file .*none\.onnx; give the path"):
        load(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"no ONNX at all"], ids=["empty", "text"])
def test_a_corrupt_file_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)

    with pytest.raises(FileError, match=r"bad\.onnx is no ONNX file that onnxruntime can load: \w"):
        load(path)


def test_a_truncated_file_is_refused(tmp_path: Path):
    path = write_onnx(tmp_path / "tiny.onnx")
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(FileError, match="is no ONNX file that onnxruntime can load"):
        load(path)


@pytest.mark.parametrize("shape", [(1, 3, "height", "width"), (1, 3, SIZE, "width")])
def test_an_open_image_size_is_refused(tmp_path: Path, shape: tuple[int | str, ...]):
    path = write_onnx(tmp_path / "open.onnx", shape=shape)

    with pytest.raises(FileError, match="must take images 3 x H x W of fixed size, got images"):
        load(path)


def test_a_network_that_takes_no_images_is_refused(tmp_path: Path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [value], [out])
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, ir_version=8), path)

    with pytest.raises(FileError, match="must take one float tensor N x 3 x H x W, got x: "):
        load(path)


def test_an_unknown_runtime_is_refused_with_the_known_ones():
    with pytest.raises(RuntimeMissing, match="unknown runtime 'tensorrt'; known are onnxruntime"):
        get_runtime("tensorrt")


def test_a_runtime_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "mobilenets.runtimes.onnxruntime", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(RuntimeMissing, match=r"be imported .*; run: pip install onnxruntime"):
        get_runtime("onnxruntime")
