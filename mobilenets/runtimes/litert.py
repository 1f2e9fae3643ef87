"""LiteRT (TensorFlow Lite) on the CPU: .tflite, run by XNNPACK, images N x H x W x C inside."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from mobilenets.errors import DataError, FileError
from mobilenets.runtimes import output_names

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint, Deployed
    from mobilenets.runtimes import Floats, Outputs

_IDENTIFIER = b"TFL3"


@final
class LiteRtSession:
    """One .tflite file, loaded."""

    layout = "NHWC"

    def __init__(self, path: Path, threads: int):
        self._path = path
        content = _read(path)
        self._interpreter = _open(path, content, threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        details = self._interpreter.get_output_details()
        batch, height, width, channels = self._interpreter.get_input_details()[0]["shape"].tolist()
        self.input_shape = (batch, channels, height, width)
        self.metadata = _metadata(content)
        names = output_names(self.metadata, len(details))
        self._outputs = dict(zip(names, (one["index"] for one in details), strict=True))

    def run(self, images: Floats) -> Outputs:
        try:
            self._interpreter.set_tensor(self._input, images.transpose(0, 2, 3, 1))
            self._interpreter.invoke()
        except ValueError as error:
            raise DataError(
                f"{self._path} takes float32 images of shape {self.input_shape} and failed on "
                f"{images.dtype} {images.shape}: {_reason(error)}"
            ) from error
        get = self._interpreter.get_tensor
        return {name: get(index) for name, index in self._outputs.items()}


@final
class LiteRt:
    """LiteRT with its default delegate for CPUs, XNNPACK."""

    def convert(self, checkpoint: Checkpoint, about: str, path: Path) -> None:
        import litert_torch
        import torch

        from mobilenets.nn import Deployed, Positional

        arch = checkpoint.arch
        image = torch.zeros(1, *arch.size, arch.in_channels)
        deployed = Positional(_row_of_means(Deployed(checkpoint)))
        with contextlib.redirect_stdout(io.StringIO()):
            network = litert_torch.to_channel_last_io(deployed, args=[0])
            litert_torch.convert(network.eval(), (image,)).export(str(path))
        path.write_bytes(_with_metadata(path.read_bytes(), about))

    def load(self, path: Path, threads: int) -> LiteRtSession:
        return LiteRtSession(path, threads)


def _row_of_means(network: Deployed) -> Deployed:
    """The network with its mean repeated over the width. XNNPACK subtracts along the last dimension
    that is not broadcast: 224 times a row of 672 numbers, where it would be 50,176 times a pixel of
    3."""
    if network.mean is not None:
        width = network.network.arch.size.width
        network.mean = network.mean.expand(-1, -1, -1, width).contiguous()
    return network


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileError(f"there is no file {path}; give the path of a .tflite file")
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise FileError(f"{path} is no file that LiteRT can load: it is no TensorFlow Lite file")
    return content


def _open(path: Path, content: bytes, threads: int) -> Any:
    try:
        interpreter = Interpreter(model_content=content, num_threads=threads or None)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise FileError(f"{path} is no file that LiteRT can load: {_reason(error)}") from error
    return interpreter


def _with_metadata(content: bytes, about: str) -> bytes:
    """The file with `about` in a buffer that its metadata calls "mobilenets"."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(about.encode(), np.uint8)
    entry.name, entry.buffer = "mobilenets", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _metadata(content: bytes) -> dict[str, str]:
    model = schema.Model.GetRootAs(content)
    entries = (model.Metadata(index) for index in range(model.MetadataLength()))
    return {
        entry.Name().decode(): model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
        for entry in entries
        if entry.Name() == b"mobilenets"
    }


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
