"""A trained network ready to use, from an artifact or a checkpoint alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mobilenets.archs import Arch
from mobilenets.data import Images, Preprocess, decode, read_image
from mobilenets.errors import FileError
from mobilenets.measuring.latency import Bench, engines_of
from mobilenets.nn import Checkpoint, Deployed
from mobilenets.progress import report, staged
from mobilenets.runtimes import get_runtime
from mobilenets.runtimes.artifact import RUNTIME_OF, describe_file
from mobilenets.tasks import Arrays, Score, Task, joined, task_in
from mobilenets.tasks.targets import Indices
from mobilenets.tasks.task import Box

Floats = NDArray[np.float32]
_BATCH = 256
_SENT = 4 << 20  # bytes of images that are sent to a device at once


class Prediction(NamedTuple):
    """What a network sees in one image; `probability` is of `label`, a class or an attribute, 0 to
    1. Where that has a place, `box` is x1, y1, x2, y2 in pixels of the upright image."""

    image: str
    label: str
    probability: float
    box: Box | None = None

    def to_json(self) -> dict[str, Any]:
        """What `predict --json` prints."""
        return {name: value for name, value in self._asdict().items() if value is not None}


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network with all it needs to be used: `run` takes float32 (N, 3, R, R) in [0, 1] and gives
    the named outputs, (N, ...) each; `about` is what its file says of itself."""

    path: Path
    arch: Arch
    labels: tuple[str, ...]
    preprocess: Preprocess
    about: dict[str, Any]
    run: Callable[[Floats], Arrays]

    @property
    def task(self) -> Task:
        """What its outputs mean."""
        return task_in(self.about, self.labels)

    def predict(self, paths: Iterable[Path]) -> list[Prediction]:
        """The most likely class of each image file, or each attribute, or each object; raises
        `DataError` for a file that is no image."""
        return [one for path in paths for one in self.seen(path, self.read(path))]

    def read(self, path: Path) -> torch.Tensor:
        """The image in a file, uint8 (3, H, W), upright; raises `DataError`."""
        return read_image(path, grey_range=self.preprocess.grey_range)

    def seen(self, path: Path, image: torch.Tensor) -> list[Prediction]:
        """What it sees in `image`, which `read` gave of `path`."""
        pixels = self.preprocess(image)
        outputs = {name: one[0] for name, one in self.outputs(pixels[None]).items()}
        height, width = image.shape[-2:]
        return [
            Prediction(str(path), one.label, one.probability, _scaled(one.box, width, height))
            for one in self.task.decode(outputs)
        ]

    def outputs(self, pixels: torch.Tensor) -> Arrays:
        """What the network gives, by name, for uint8 images (N, 3, R, R)."""
        parts: list[Arrays] = []
        with staged(f"running {self.path.name}", len(pixels) // _BATCH) as told:
            for part in torch.split(pixels, _BATCH):
                parts.append(self.run(part.numpy().astype(np.float32) / np.float32(255)))
                told(len(parts))
        return joined(parts)

    def score(self, images: Images, indices: Indices) -> Arrays:
        """The outputs for these images of a data set, in order."""
        progress = partial(report, "decoding images")
        return self.outputs(decode(images, indices, self.preprocess, progress=progress))


def _scaled(box: Box | None, width: int, height: int) -> Box | None:
    """From parts of the image's sides to its pixels."""
    if box is None:
        return None
    left, top, right, bottom = box
    return left * width, top * height, right * width, bottom * height


def load(path: str | Path, *, threads: int | None = None) -> Predictor:
    """The network in an artifact or a checkpoint (.safetensors), to run on `threads` threads
    (None: all). Raises `FileError` for any other file."""
    path = Path(path)
    if path.suffix == ".safetensors":
        return as_predictor(Checkpoint.load(path), path)
    if path.suffix not in RUNTIME_OF:
        raise FileError(
            f"{path} is neither an artifact nor a checkpoint, which end in {', '.join(RUNTIME_OF)}"
        )
    return _load_artifact(path, threads)


@contextmanager
def run_there(predictor: Predictor, *, threads: int) -> Iterator[Predictor]:
    """The same artifact, whose images run on the current device within the block. Raises
    `FileError` for a file that is of no runtime, and `MeasureError`."""
    (engine,) = engines_of([predictor.path])
    with Bench(engine, threads) as bench:
        target = bench.load(predictor.path)

        def run(images: Floats) -> Arrays:
            at_once = max(1, _SENT // images[0].nbytes)
            starts = range(0, len(images), at_once)
            return joined([target.answers(images[at : at + at_once]) for at in starts])

        yield replace(predictor, run=run)


def as_predictor(checkpoint: Checkpoint, path: Path) -> Predictor:
    """A checkpoint, run by PyTorch."""
    network = Deployed(checkpoint).to(memory_format=torch.channels_last)

    def run(images: Floats) -> Arrays:
        batch = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return {name: one.numpy() for name, one in network(batch).items()}

    return _predictor(path, checkpoint.arch, checkpoint.about(), run)


def _load_artifact(path: Path, threads: int | None) -> Predictor:
    session = get_runtime(RUNTIME_OF[path.suffix]).load(path, threads or 0)
    arch, about = describe_file(path, session.metadata)

    def run(images: Floats) -> Arrays:
        found = joined([session.run(image[None]) for image in images])
        shapes = {name: one.shape[1:] for name, one in found.items()}
        if shapes != dict(arch.outputs):
            raise FileError(
                f"{path} gives {shapes} where its description has {dict(arch.outputs)}; export "
                "it again"
            )
        return found

    return _predictor(path, arch, about, run)


def _predictor(
    path: Path, arch: Arch, about: dict[str, Any], run: Callable[[Floats], Arrays]
) -> Predictor:
    return Predictor(
        path=path,
        arch=arch,
        labels=tuple(about["labels"]),
        preprocess=Preprocess.from_json(about["preprocess"]),
        about=about,
        run=run,
    )


def evaluate(predictor: Predictor, images: Images, indices: Indices | None = None) -> Score:
    """How good it is on these images of a data set, all of labels that it knows; without `indices`
    on the validation images."""
    task, indices = predictor.task, images.val if indices is None else indices
    targets = task.in_order(images.targets.take(indices), images.task.labels)
    return task.score(predictor.score(images, indices), targets)
