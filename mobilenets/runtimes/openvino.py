"""OpenVINO's CPU plugin: .xml with the graph, .bin with the weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from mobilenets.errors import DataError, FileError
from mobilenets.runtimes import output_names

# On import OpenVINO sends usage data, from a process that it forks, unless the package for that is
# missing. Nobody who times a network asked for it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint
    from mobilenets.runtimes import Floats, Outputs

_RGB = 3
_CHANNELS_LAST = openvino.Layout("NHWC")


@final
class OpenVinoSession:
    """One .xml file, compiled for the CPU."""

    def __init__(self, path: Path, threads: int):
        self._path = path
        core = openvino.Core()
        model = _read(core, path)
        self.metadata = _metadata(model)
        self._outputs = output_names(self.metadata, len(model.outputs))
        batch, *sides = model.inputs[0].shape
        self.layout = "NHWC" if model.inputs[0].node.layout == _CHANNELS_LAST else "NCHW"
        if self.layout == "NHWC":
            sides = [sides[2], *sides[:2]]
        self.input_shape = (batch, *sides)
        self._request = core.compile_model(model, "CPU", _options(threads)).create_infer_request()

    def run(self, images: Floats) -> Outputs:
        if self.layout == "NHWC":
            images = images.transpose(0, 2, 3, 1)
        try:
            found = self._request.infer({0: images})
        except RuntimeError as error:
            raise DataError(
                f"{self._path} takes float32 images of shape {self.input_shape} and failed on "
                f"{images.dtype} {images.shape}: {_reason(error)}"
            ) from error
        return dict(zip(self._outputs, found.values(), strict=True))


@final
class OpenVino:
    """OpenVINO on the CPU."""

    def convert(self, checkpoint: Checkpoint, about: str, path: Path) -> None:
        from mobilenets.runtimes.graphs.onnx_file import onnx_model  # torch takes seconds to import

        self.write(onnx_model(checkpoint), about, path)

    def write(self, model: Any, about: str, path: Path) -> None:
        # From ONNX bytes, not by `convert_model`, which sends telemetry. `save_model` halves the
        # weights' precision unless told not to.
        model = openvino.Core().read_model(model.SerializeToString())
        if model.inputs[0].shape[1] != _RGB:
            model = _with_channels_last(model)
        model.set_rt_info(about, ["mobilenets"])
        openvino.save_model(model, path, compress_to_fp16=False)

    def load(self, path: Path, threads: int) -> OpenVinoSession:
        return OpenVinoSession(path, threads)


def _with_channels_last(model: Any) -> Any:
    """The model with its input N x H x W x C: so feature maps lie between OpenVINO's layers. A part
    of a network (`archs.parts`) that is timed on its own then pays for no reordering."""
    change = openvino.preprocess.PrePostProcessor(model)
    change.input().tensor().set_layout(_CHANNELS_LAST)
    change.input().model().set_layout(openvino.Layout("NCHW"))
    return change.build()


def _options(threads: int) -> dict[str, Any]:
    """One request at a time, in fp32 also where the CPU has faster and coarser numbers. Where the
    process may run is for its caller to say (`taskset`), not for OpenVINO's own pinning; and two
    threads are two also where two logical cores share a physical one."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
    }


def _read(core: Any, path: Path) -> Any:
    if not path.is_file():
        raise FileError(f"there is no file {path}; give the path of an .xml file")
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise FileError(f"{path} is no file that OpenVINO can load: {_reason(error)}") from error


def _metadata(model: Any) -> dict[str, str]:
    if not model.has_rt_info(["mobilenets"]):
        return {}
    return {"mobilenets": model.get_rt_info(["mobilenets"]).astype(str)}


def _reason(error: Exception) -> str:
    """OpenVINO's complaint without the places in its sources: the last line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
