"""`export`: the files of a trained network for one runtime or several, each verified."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilenets.archs import Budget
from mobilenets.commands.origin import trained_in
from mobilenets.data import Images, Preprocess, load_images
from mobilenets.data.trained_on import carry, unseen
from mobilenets.deliver.predictor import as_predictor, load
from mobilenets.deliver.verdict import MAX_LOSS, MAX_RELATIVE_ERROR, relative_error, verify
from mobilenets.errors import ConversionError, DataError, FileError, MobileNetsError
from mobilenets.nn import Checkpoint
from mobilenets.quantize.precisions import MAX_DROP, write_both
from mobilenets.runs.layout import TRAINED
from mobilenets.runtimes import RUNTIMES, Engine, check_runtime, parse_engines
from mobilenets.runtimes.artifact import files_of, is_intact, move, size_of
from mobilenets.runtimes.isolated import Job, export_isolated

# Without images of the user's: so many of random numbers.
_RANDOM = 8
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exporting:
    """Which trained network, a run folder or a checkpoint, for which engines. With `data`, the
    images it was trained on, the files are verified on them, and int8 can be made. `out` None is
    the checkpoint's folder."""

    source: Path
    engines: tuple[Engine, ...]
    data: str | Path | None = None
    threads: int = 1
    out: Path | None = None

    def __post_init__(self) -> None:
        for engine in self.engines:
            check_runtime(engine)
        if self.data is None and any(engine.is_int8 for engine in self.engines):
            raise MobileNetsError(
                "int8 is calibrated on images: give those that the network was trained on, as in: "
                "mobilenets export RUN DATA --precision int8"
            )

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.out or trained_in(self.source).parent

    def path(self, engine: Engine) -> Path:
        """The file of an engine: model.onnx, and in int8 model-int8.onnx."""
        stem = "model-int8" if engine.is_int8 else "model"
        return self.folder / f"{stem}{RUNTIMES[engine.runtime].suffix}"


def engines_in(words: str, precision: str) -> tuple[Engine, ...]:
    """The engines that a user means: "auto" is all that are installed, have the precision, and have
    files of their own; PyTorch's is the checkpoint."""
    if words != "auto":
        return tuple(one.in_precision(precision) for one in parse_engines(words))
    found = [
        engine
        for engine in parse_engines(words)
        if precision in RUNTIMES[engine.runtime].precisions
        and RUNTIMES[engine.runtime].suffix != Path(TRAINED).suffix
    ]
    return tuple(engine.in_precision(precision) for engine in found)


def export(job: Exporting) -> dict[str, Any]:
    """Every file written and verified: the record that `mobilenets export --json` prints. A runtime
    that cannot convert the network has its `error` in its record, and the others go on.

    Raises `FileError` where another network's file is in the way: nothing is written over that was
    not made of this checkpoint.
    """
    source = trained_in(job.source)
    checkpoint = Checkpoint.load(source)
    for engine in job.engines:
        _check_free(job.path(engine), checkpoint, engine)
    images = None if job.data is None else _images(job.data, checkpoint, source)
    carry(source, checkpoint.training, job.folder)
    files = [_exported(job, engine, source, checkpoint, images) for engine in job.engines]
    return {"checkpoint": str(source), "files": files}


def _images(data: str | Path, checkpoint: Checkpoint, file: Path) -> Images:
    """Split and read as they were for the training; raises `DataError` for other classes."""
    seed = int(checkpoint.training.get("seed", 0))
    reading = Preprocess.from_json(checkpoint.preprocess).reading
    images = load_images(data, seed=seed, task=checkpoint.task, reading=reading)
    if images.task.labels != checkpoint.labels:
        theirs, ours = (", ".join(one[:5]) for one in (images.task.labels, checkpoint.labels))
        raise DataError(
            f"{data} has the {images.task.kinds} {theirs}, and the network was trained for {ours}; "
            "give the images that it was trained on"
        )
    return unseen(images, file, checkpoint.training)


def _check_free(path: Path, checkpoint: Checkpoint, engine: Engine) -> None:
    """Raise `FileError` unless nothing is at `path`, or a file of this network."""
    if not path.exists():
        return
    ours = json.loads(json.dumps(checkpoint.about()))  # tuples become lists, as in the file
    try:
        about = load(path, threads=1).about
    except MobileNetsError:
        about = {}
    same = about.get("precision", "fp32") == engine.precision
    if not same or any(about.get(key) != value for key, value in ours.items()):
        raise FileError(
            f"{path} is there already and is another network's or in another precision; give "
            "another --out"
        )


def _exported(
    job: Exporting, engine: Engine, source: Path, checkpoint: Checkpoint, images: Images | None
) -> dict[str, Any]:
    path = job.path(engine)
    log.info(f"exporting {path}")
    known = {"runtime": engine.runtime, "precision": engine.precision, "file": str(path)}
    try:
        _write(path, engine, source, images)
    except ConversionError as error:
        return known | {"verified": False, "error": str(error), "complaints": [str(error)]}
    found = (
        _compared(path, checkpoint)
        if images is None
        else _verified(job, path, engine, checkpoint, images)
    )
    return known | {"files": [str(file) for file in files_of(path)]} | found


def _write(path: Path, engine: Engine, source: Path, images: Images | None) -> None:
    if images is None or not engine.is_int8:
        return export_isolated([Job(source, path)], engine)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        write_both(Path(folder), source, images, engine.runtime)
        (made,) = Path(folder, "int8").glob(f"*{RUNTIMES[engine.runtime].suffix}")
        for file, name in zip(files_of(made), files_of(path), strict=True):
            file.rename(file.with_name(name.name))
        return move(made.with_name(path.name), path.parent)


def _verified(
    job: Exporting, path: Path, engine: Engine, checkpoint: Checkpoint, images: Images
) -> dict[str, Any]:
    """On the validation images, as `fit` does it."""
    log.info(f"verifying on {len(images.val)} validation images")
    verdict = verify(
        path, checkpoint, images, Budget(), runtime=engine, threads=job.threads,
        max_loss=MAX_DROP if engine.is_int8 else MAX_LOSS,
    )  # fmt: skip
    return verdict.to_json()


def _compared(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """On random images: whether the file gives the checkpoint's numbers."""
    height, width = checkpoint.arch.size
    random = np.random.default_rng(0).integers(0, 256, (_RANDOM, 3, height, width), np.uint8)
    ours, theirs = (
        network.outputs(torch.from_numpy(random))
        for network in (load(path), as_predictor(checkpoint, path))
    )
    error = max(relative_error(ours[name], theirs[name]) for name in ours)
    intact, allowed = is_intact(path), MAX_RELATIVE_ERROR["fp32"]
    complaints = [] if intact else ["the file is not the one that was written"]
    if not error <= allowed:
        complaints.append(
            f"the file differs from the checkpoint, by up to {error:.1e} of the largest output, "
            f"and {allowed:.0e} is allowed"
        )
    return {
        "verified": not complaints,
        "complaints": complaints,
        "max_relative_error": error,
        "intact": intact,
        "random_images": _RANDOM,
        "size_bytes": size_of(path),
    }
