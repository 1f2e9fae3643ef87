"""ONNX files on the CPU, by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import onnxruntime as ort

from mobilenets.errors import DataError, FileError

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint
    from mobilenets.runtimes import Floats, Outputs

_ERRORS_ONLY = 3  # onnxruntime's log severity


@final
class OnnxSession:
    """One .onnx file, loaded."""

    layout = "NCHW"

    def __init__(self, path: Path, threads: int):
        self._path = path
        self._session = _open(path, threads)
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.input_shape = _image_shape(path, self._session.get_inputs())
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, images: Floats) -> Outputs:
        try:
            found = self._session.run(self._outputs, {self._input: images})
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise DataError(
                f"{self._path} takes float32 images of shape {self.input_shape} and failed on "
                f"{images.dtype} {images.shape}: {_reason(error)}"
            ) from error
        return dict(zip(self._outputs, found, strict=True))


@final
class OnnxRuntime:
    """onnxruntime's CPU provider."""

    def convert(self, checkpoint: Checkpoint, about: str, path: Path) -> None:
        from mobilenets.runtimes.graphs.onnx_file import onnx_model  # torch takes seconds to import

        self.write(onnx_model(checkpoint), about, path)

    def write(self, model: Any, about: str, path: Path) -> None:
        from onnx.helper import set_model_props

        set_model_props(model, {"mobilenets": about})
        path.write_bytes(model.SerializeToString(deterministic=True))

    def load(self, path: Path, threads: int) -> OnnxSession:
        return OnnxSession(path, threads)


def _open(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise FileError(f"there is no file {path}; give the path of an .onnx file")
    try:
        return ort.InferenceSession(path, _options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise FileError(
            f"{path} is no ONNX file that onnxruntime can load: {_reason(error)}"
        ) from error


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    return options


def _image_shape(path: Path, inputs: list[Any]) -> tuple[int, int, int, int]:
    """(N, C, H, W) of the only input; an open batch, which onnxruntime gives as a name, is 1."""
    shape = inputs[0].shape
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4:
        raise FileError(f"{path} must take one float tensor N x C x H x W, got {_describe(inputs)}")
    batch, *image = shape
    if not all(isinstance(side, int) for side in image):
        raise FileError(f"{path} must take images C x H x W of fixed size, got {_describe(inputs)}")
    return (batch if isinstance(batch, int) else 1, *image)


def _describe(inputs: list[Any]) -> str:
    return ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs)


def _reason(error: Exception) -> str:
    """onnxruntime's complaint without its codes: the last part of the first line."""
    return str(error).splitlines()[0].rsplit(" : ", 1)[-1]
