"""PyTorch itself, eager or compiled. Its file is the checkpoint: what is loaded is deployed
(batch norm folded) and runs channels-last, on one number of threads for the whole process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch

from mobilenets.errors import RuntimeMissing
from mobilenets.nn import Checkpoint, Deployed
from mobilenets.runtimes import check_images

if TYPE_CHECKING:
    from mobilenets.runtimes import Floats, Outputs


@final
class TorchSession:
    """One checkpoint, deployed."""

    layout = "NHWC"

    def __init__(self, path: Path, checkpoint: Checkpoint, network: Any):
        self._path = path
        arch = checkpoint.arch
        self.input_shape = (1, arch.in_channels, *arch.size)
        self.metadata = {"mobilenets": json.dumps(checkpoint.about())}
        self._network = network

    def run(self, images: Floats) -> Outputs:
        check_images(self._path, self.input_shape, images)
        batch = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return {name: one.numpy() for name, one in self._network(batch).items()}


@final
class Eager:
    """PyTorch as it is used in Python."""

    def convert(self, checkpoint: Checkpoint, about: str, path: Path) -> None:
        checkpoint.save(path, extra={"deployed": about})

    def load(self, path: Path, threads: int) -> TorchSession:
        _use(threads)
        checkpoint = Checkpoint.load(path)
        return TorchSession(path, checkpoint, _deployed(checkpoint))


@final
class Compiled:
    """torch.compile with its default back end, weights frozen into the code.

    Compiling takes ten to sixty seconds, and happens on loading.
    """

    def __init__(self) -> None:
        if not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise RuntimeMissing(
                "runtime torch-compile needs a C++ compiler and found none; install g++ or clang"
            )

    def convert(self, checkpoint: Checkpoint, about: str, path: Path) -> None:
        checkpoint.save(path, extra={"deployed": about})

    def load(self, path: Path, threads: int) -> TorchSession:
        _use(threads)
        checkpoint = Checkpoint.load(path)
        network = torch.compile(_deployed(checkpoint), options={"freezing": True})
        session = TorchSession(path, checkpoint, network)
        shape = session.input_shape
        session.run(torch.zeros(shape).to(memory_format=torch.channels_last).numpy())
        return session


def _use(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def _deployed(checkpoint: Checkpoint) -> Deployed:
    return Deployed(checkpoint).to(memory_format=torch.channels_last)
