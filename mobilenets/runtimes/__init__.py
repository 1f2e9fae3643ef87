"""Running networks outside the training loop: one file per runtime, one small protocol.

A runtime is chosen by name, `get_runtime("onnxruntime")`; its package is imported only then. What
a network is chosen, converted and measured for is a runtime and a precision: an `Engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mobilenets.description import outputs_in
from mobilenets.errors import DataError, RuntimeMissing

if TYPE_CHECKING:
    # The measuring process pins itself before it imports numpy.
    import numpy as np
    from numpy.typing import NDArray

    from mobilenets.nn import Checkpoint

    Floats = NDArray[np.float32]
    Outputs = Mapping[str, Floats]


class Session(Protocol):
    """A network loaded from a file, ready to run."""

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W); N is 1 where the file leaves the batch open."""

    @property
    def layout(self) -> str:
        """The order in memory that `run` takes without a copy: "NCHW" or "NHWC"."""

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself."""

    def run(self, images: Floats) -> Outputs:
        """The named outputs, such as {"logits": (N, classes)}, of images (N, C, H, W) in [0, 1];
        raises DataError for others."""


class Runtime(Protocol):
    """A program that runs networks from files of one format."""

    def convert(self, checkpoint: Checkpoint, about: str, path: Path) -> None:
        """Write the deployed network to `path`: images in [0, 1] in, its outputs out.

        `about` is kept in the file's metadata under "mobilenets". For `artifact.export`, which
        adds the description and makes the writing atomic.
        """

    def load(self, path: Path, threads: int) -> Session:
        """The network in `path`, to run on `threads` threads (0: all); raises FileError."""


class OnnxReader(Runtime, Protocol):
    """A runtime whose files are made from ONNX models: the int8 ones too."""

    def write(self, model: Any, about: str, path: Path) -> None:
        """`convert` for an ONNX model."""


@dataclass(frozen=True)
class Known:
    """What is known of a runtime without importing it.

    `packages` are what it imports to run a file, `converters` what it takes beside them to write
    one. `distribution` is the one whose version counts, and all that pip needs to run files;
    `install` is what to give to pip for both. `suffix` is of its files, `precisions` those it can
    be asked for.
    """

    maker: str
    packages: tuple[str, ...]
    distribution: str
    install: str
    suffix: str
    precisions: tuple[str, ...] = ("fp32",)
    converters: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed."""
        return _not_installed((*self.converters, *self.packages))

    @property
    def missing_to_run(self) -> tuple[str, ...]:
        """Those without which no file can be run."""
        return _not_installed(self.packages)

    def version(self) -> str:
        return version(self.distribution)

    def version_to_run(self) -> str | None:
        """None where it is not installed, or not enough of it to run files."""
        return None if self.missing_to_run else self.version()


def _not_installed(packages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(package for package in packages if find_spec(package) is None)


RUNTIMES = {
    "torch": Known("pytorch.Eager", ("torch",), "torch", "torch", ".safetensors"),
    "torch-compile": Known("pytorch.Compiled", ("torch",), "torch", "torch", ".safetensors"),
    "onnxruntime": Known(
        "onnxruntime.OnnxRuntime", ("onnxruntime",), "onnxruntime", "onnxruntime", ".onnx",
        ("fp32", "int8"), ("onnx",),
    ),
    "openvino": Known(
        "openvino.OpenVino", ("openvino",), "openvino", "'mobilenets[openvino]'", ".xml",
        ("fp32", "int8"), ("onnx",),
    ),
    "litert": Known(
        "litert.LiteRt", ("ai_edge_litert",), "ai-edge-litert", "'mobilenets[litert]'", ".tflite",
        converters=("litert_torch",),
    ),
    "executorch": Known(
        "executorch.ExecuTorch", ("executorch",), "executorch", "'mobilenets[executorch]'", ".pte"
    ),
    "ncnn": Known(
        "ncnn.Ncnn", ("ncnn",), "ncnn", "'mobilenets[ncnn]'", ".ncnn.param", converters=("pnnx",)
    ),
}  # fmt: skip


_INT8 = "-int8"


@dataclass(frozen=True)
class Engine:
    """A runtime, and the precision of the networks that it runs: "fp32" or "int8".

    Printed and stored as the runtime's name, "openvino", or with the precision behind it,
    "openvino-int8". Raises RuntimeMissing for a runtime that is not known or lacks the precision.
    """

    runtime: str
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise RuntimeMissing(f"unknown runtime {str(self)!r}; known are {', '.join(RUNTIMES)}")
        if self.precision not in RUNTIMES[self.runtime].precisions:
            able = (name for name, one in RUNTIMES.items() if self.precision in one.precisions)
            raise RuntimeMissing(
                f"{self.runtime} has no {self.precision} here; give one of {', '.join(able)}"
            )

    @classmethod
    def parse(cls, word: str | Engine) -> Engine:
        """The engine that a user's word or a stored file names; an engine is itself."""
        if isinstance(word, Engine):
            return word
        own = word.removesuffix(_INT8)
        return cls(own, "fp32" if own == word else "int8")

    @property
    def is_int8(self) -> bool:
        """Whether its networks are in 8-bit integers."""
        return self.precision == "int8"

    def in_precision(self, precision: str) -> Engine:
        """The same runtime in another precision; raises RuntimeMissing where it lacks that."""
        return replace(self, precision=precision)

    def __str__(self) -> str:
        return self.runtime if self.precision == "fp32" else f"{self.runtime}-{self.precision}"


DEFAULT = Engine("onnxruntime")


def get_runtime(name: str) -> Runtime:
    """The runtime called `name`, able to run files, whether it can write them or not
    (`check_runtime`); raises RuntimeMissing where it is not known or not installed."""
    engine = Engine(name)
    known = _complete(engine, RUNTIMES[name].missing_to_run)
    module, maker = known.maker.split(".")
    try:
        make: Callable[[], Runtime] = getattr(import_module(f"mobilenets.runtimes.{module}"), maker)
    except ImportError as error:
        raise RuntimeMissing(
            f"runtime {name} cannot be imported ({error}); run: pip install {known.install}"
        ) from error
    return make()


def check_runtime(engine: Engine) -> Known:
    """What is known of a runtime that is installed, with what it takes to write its files; raises
    RuntimeMissing for any other."""
    return _complete(engine, RUNTIMES[engine.runtime].missing)


def _complete(engine: Engine, missing: tuple[str, ...]) -> Known:
    known = RUNTIMES[engine.runtime]
    if missing:
        raise RuntimeMissing(
            f"runtime {engine} needs {' and '.join(missing)}, which is not installed; "
            f"run: pip install {known.install}"
        )
    return known


def parse_engines(words: str, *, int8: bool = False) -> list[Engine]:
    """The engines that a user means: "auto" for all that are installed, or names and commas; with
    `int8` each also in 8-bit integers, where it has them.

    Raises RuntimeMissing for a name that is not known, there twice, or not installed, and where
    none has `int8`.
    """
    if words == "auto":
        names = [name for name, known in RUNTIMES.items() if not known.missing]
    else:
        names = [word.strip() for word in words.split(",")]
    if len(set(names)) < len(names):
        raise RuntimeMissing(f"each runtime may be named once, got {words}")
    engines = [Engine.parse(name) for name in names]
    able = [engine for engine in engines if "int8" in check_runtime(engine).precisions]
    if not int8:
        return engines
    more = [engine.in_precision("int8") for engine in able or engines[:1]]
    return list(dict.fromkeys([*engines, *more]))


def check_images(path: Path, shape: tuple[int, ...], images: Floats) -> None:
    """Raise DataError for images that the network in `path` does not take, in any number: for
    runtimes that do not look."""
    if images.shape[1:] != shape[1:] or images.dtype != "float32":
        raise DataError(
            f"{path} takes float32 images of shape {shape} and got {images.dtype} {images.shape}; "
            "resize and convert them first"
        )


def output_names(metadata: Mapping[str, str], count: int) -> list[str]:
    """The names of a file's outputs in their order, by its description; of a file without one
    "logits", or numbers. For formats that keep no names, or others."""
    names = outputs_in(metadata.get("mobilenets", ""))
    if len(names) == count:
        return names
    return ["logits"] if count == 1 else [f"output{number}" for number in range(count)]


def describe_runtimes() -> list[dict[str, Any]]:
    """Every runtime, installed or not: the JSON of `mobilenets runtimes`."""
    return [
        {
            "name": name,
            "installed": not known.missing,
            "version": None if known.missing else known.version(),
            "suffix": known.suffix,
            "precisions": list(known.precisions),
            "install": f"pip install {known.install}",
        }
        for name, known in RUNTIMES.items()
    ]
