"""ExecuTorch with the XNNPACK delegate: .pte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime, Verification

from mobilenets.errors import DataError, FileError
from mobilenets.runtimes import output_names

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint
    from mobilenets.runtimes import Floats, Outputs


@final
class ExecuTorchSession:
    """One .pte file, loaded."""

    layout = "NCHW"

    def __init__(self, path: Path, threads: int):
        if threads:
            portable_lib._unsafe_reset_threadpool(threads)  # one pool for the whole process
        self._path = path
        self._program = _open(path)
        self._method = self._program.load_method("forward")
        shape = self._method.metadata.input_tensor_meta(0).sizes()
        self.input_shape = tuple(shape)
        self.metadata = self._metadata()
        self._outputs = output_names(self.metadata, self._method.metadata.num_outputs())

    def run(self, images: Floats) -> Outputs:
        try:
            # Read as it lies in memory, whatever the strides say.
            image = torch.from_numpy(np.ascontiguousarray(images))
            found = self._method.execute([image])
        except RuntimeError as error:
            raise DataError(
                f"{self._path} takes float32 images of shape {self.input_shape} and failed on "
                f"{images.dtype} {images.shape}: {_reason(error)}"
            ) from error
        return {name: one.numpy() for name, one in zip(self._outputs, found, strict=True)}

    def _metadata(self) -> dict[str, str]:
        if "mobilenets" not in self._program.method_names:
            return {}
        (about,) = self._program.load_method("mobilenets").execute([])
        return {"mobilenets": about}


@final
class ExecuTorch:
    """ExecuTorch on the CPU, whatever XNNPACK can take delegated to it."""

    def convert(self, checkpoint: Checkpoint, about: str, path: Path) -> None:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        from mobilenets.nn import Deployed, Positional

        arch = checkpoint.arch
        image = torch.zeros(1, arch.in_channels, *arch.size)
        program = to_edge_transform_and_lower(
            torch.export.export(Positional(Deployed(checkpoint)), (image,)),
            partitioner=[XnnpackPartitioner()],
            constant_methods={"mobilenets": about},
        ).to_executorch()
        path.write_bytes(program.buffer)

    def load(self, path: Path, threads: int) -> ExecuTorchSession:
        return ExecuTorchSession(path, threads)


def _open(path: Path) -> Any:
    if not path.is_file():
        raise FileError(f"there is no file {path}; give the path of a .pte file")
    try:
        return Runtime.get().load_program(path, verification=Verification.InternalConsistency)
    except RuntimeError as error:
        raise FileError(f"{path} is no file that ExecuTorch can load: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())
