"""ncnn on the CPU: .param with the graph, .bin with the weights, and .json with the description,
for which ncnn's format has no place."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import ncnn
import numpy as np

from mobilenets.description import read_description
from mobilenets.errors import ConversionError, FileError
from mobilenets.files import scratch
from mobilenets.processes.child import usable_cores
from mobilenets.runtimes import check_images, output_names

if TYPE_CHECKING:
    from mobilenets.nn import Checkpoint
    from mobilenets.runtimes import Floats, Outputs

_MAGIC = b"7767517\n"  # the first line of every .param file


@final
class NcnnSession:
    """One .param file with its weights, loaded."""

    layout = "NCHW"

    def __init__(self, path: Path, threads: int):
        self._path = path
        self.metadata = _metadata(path)
        self._net = _open(path, threads)
        self._input = self._net.input_names()[0]
        self._outputs = self._net.output_names()
        self._names = output_names(self.metadata, len(self._outputs))
        self.input_shape = _input_shape(path, self.metadata)

    def run(self, images: Floats) -> Outputs:
        check_images(self._path, self.input_shape, images)
        # ncnn reads memory as it lies, whatever the strides say.
        found = [self._run_one(image) for image in np.ascontiguousarray(images)]
        each = zip(*found, strict=True)
        return {name: np.stack(one) for name, one in zip(self._names, each, strict=True)}

    def _run_one(self, image: Floats) -> list[Floats]:
        extractor = self._net.create_extractor()
        extractor.input(self._input, ncnn.Mat(image))
        return [np.array(extractor.extract(output)[1]) for output in self._outputs]


@final
class Ncnn:
    """ncnn on the CPU, in fp32."""

    def convert(self, checkpoint: Checkpoint, about: str, path: Path) -> None:
        import torch

        from mobilenets.nn import Deployed, Positional

        arch = checkpoint.arch
        image = torch.zeros(1, arch.in_channels, *arch.size)
        with scratch() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated, and what pnnx reads
            script = folder / "network.pt"
            torch.jit.trace(Positional(Deployed(checkpoint)), image).save(script)  # type: ignore[no-untyped-call]
            _pnnx(script, tuple(image.shape))
            path.write_bytes(script.with_suffix(".ncnn.param").read_bytes())
            path.with_suffix(".bin").write_bytes(script.with_suffix(".ncnn.bin").read_bytes())
        path.with_suffix(".json").write_text(about, encoding="utf-8")

    def load(self, path: Path, threads: int) -> NcnnSession:
        return NcnnSession(path, threads)


def _pnnx(script: Path, shape: tuple[int, ...]) -> None:
    """ncnn's converter, a program: writes its files beside `script`."""
    import pnnx

    sizes = ",".join(map(str, shape))
    done = subprocess.run(
        [pnnx.EXEC_PATH, script, f"inputshape=[{sizes}]f32", "fp16=0"],
        capture_output=True,
        text=True,
        cwd=script.parent,
    )
    if done.returncode or not script.with_suffix(".ncnn.param").is_file():
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ConversionError(f"pnnx failed with {done.returncode}: {''.join(last)}")


def _open(path: Path, threads: int) -> Any:
    for file in (path, path.with_suffix(".bin")):
        if not file.is_file():
            raise FileError(f"there is no file {file}; ncnn needs a .param file and its .bin")
    if not path.read_bytes().startswith(_MAGIC):
        raise FileError(f"{path} is no file that ncnn can load: it does not start with 7767517")
    net = ncnn.Net()
    options = net.opt
    options.num_threads = threads or len(usable_cores())
    options.use_vulkan_compute = False
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_storage = False
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise FileError(f"{path} is no file that ncnn can load, or its .bin is cut short")
    return net


def _metadata(path: Path) -> dict[str, str]:
    beside = path.with_suffix(".json")
    text = beside.read_bytes().decode(errors="replace") if beside.is_file() else ""
    return {"mobilenets": text} if text else {}


def _input_shape(path: Path, metadata: dict[str, str]) -> tuple[int, int, int, int]:
    """From the description: ncnn's files leave the image's size open."""
    try:
        arch, _ = read_description(metadata.get("mobilenets", ""))
    except ValueError as error:
        raise FileError(
            f"{path} needs its description, {path.with_suffix('.json')}, to tell the image's size "
            f"({error})"
        ) from error
    return 1, arch.in_channels, *arch.size
