"""Everything a finished run left behind, as one value."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from mobilenets.archs import Arch, Budget, from_json
from mobilenets.choosing.chosen import engine_of
from mobilenets.data import Preprocess
from mobilenets.deliver.present import PRESENTERS, Presenter
from mobilenets.errors import FileError, MobileNetsError
from mobilenets.nn import Checkpoint
from mobilenets.runs.layout import (
    ARCH,
    BUDGET,
    CANDIDATES,
    IMAGES,
    METRICS,
    PREDICTIONS,
    TRAINED,
    TRAINING,
    VERDICT,
)
from mobilenets.runtimes import Engine
from mobilenets.runtimes.artefact import artefact_name, files_of
from mobilenets.tasks import Task, task_in

T = TypeVar("T")

# What report and card read of each file; a task's presenter reads more.
# fmt: off
_IMAGES = (
    "name", "classes", "counts", "class_counts", "skipped", "ignored", "split", "fingerprint",
)
_CANDIDATE = (
    "full_name", "name", "runtime", "expected_imagenet_top1", "macs", "params", "size_bytes",
    "peak_activation_bytes", "latency", "predicted_ms",
)
_METRICS = ("epoch", "train_loss", "holdout_loss", "seconds")
_VERDICT = (
    "verified", "within_budget", "complaints", "limits", "images", "agreement",
    "max_relative_error", "latency", "size_bytes", "macs", "params",
)
# fmt: on


@dataclass(frozen=True)
class Record:
    """Everything a run left behind. `artefact` is the name of the artefact, which is for `engine`;
    `sha256` that of each of its files. `epochs` is how often the images were seen."""

    engine: Engine
    artefact: str
    arch: Arch
    preprocess: Preprocess
    budget: Budget
    task: Task
    images: dict[str, Any]
    chosen: dict[str, Any]
    candidates: list[dict[str, Any]]
    metrics: list[dict[str, float]]
    verdict: dict[str, Any]
    predictions: dict[str, Any]
    training: dict[str, Any]
    epochs: float
    sha256: dict[str, str]

    @property
    def runtime(self) -> str:
        """The name of the runtime that the artefact is for."""
        return self.engine.runtime

    @property
    def presenter(self) -> Presenter:
        """What shows the task's part of it."""
        return PRESENTERS[self.task.name]


def read_run(folder: Path) -> Record:
    """The files of a run as one value; raises `FileError` for one that is missing or broken."""
    images = _part(folder / IMAGES, _object(*_IMAGES))
    task = task_in(images, images["classes"])
    presenter = PRESENTERS[task.name]
    chosen = _part(folder / ARCH, _object("arch", "runtime", "binding_limit", "considered"))
    engine = _part(folder / ARCH, lambda _: engine_of(chosen))
    artefact = artefact_name(engine.runtime)
    metrics = _part(folder / METRICS, _metrics(f"holdout_{task.metric}"))
    preprocess, epochs = _of_checkpoint(folder / TRAINED)
    return Record(
        engine=engine,
        artefact=artefact,
        arch=_part(folder / ARCH, lambda data: from_json(json.loads(data)["arch"])),
        preprocess=preprocess,
        budget=_part(folder / BUDGET, lambda data: Budget(**json.loads(data))),
        task=task,
        images=images,
        chosen=chosen,
        candidates=_part(folder / CANDIDATES, _candidates),
        metrics=metrics,
        verdict=_part(folder / VERDICT, _object(*_VERDICT, *presenter.in_verdict)),
        predictions=_part(folder / PREDICTIONS, _object(*presenter.in_predictions)),
        training=_part(folder / TRAINING, _object("recipe", "seed")),
        epochs=min(epochs, len(metrics)),  # an adapted network tells of its start's, too
        sha256={
            file.name: _part(file, lambda data: hashlib.sha256(data).hexdigest())
            for file in files_of(folder / artefact)
        },
    )


def _part(path: Path, parse: Callable[[bytes], T]) -> T:
    """One file, parsed; whatever is wrong with it becomes a `FileError` that names it."""
    try:
        return parse(path.read_bytes())
    except (OSError, ValueError, TypeError, KeyError, MobileNetsError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise _unfinished(path, why) from error


def _of_checkpoint(path: Path) -> tuple[Preprocess, float]:
    """How images come to the network; and for how many epochs it was trained."""
    try:
        checkpoint = Checkpoint.load(path)
        epochs = checkpoint.training.get("epochs", inf)
        return Preprocess.from_json(checkpoint.preprocess), epochs
    except MobileNetsError as error:
        raise _unfinished(path, error) from error


def _unfinished(path: Path, why: object) -> FileError:
    return FileError(
        f"{path.parent} is not a finished run ({path.name}: {why}); run `mobilenets fit` again to "
        "finish it"
    )


def _object(*keys: str) -> Callable[[bytes], dict[str, Any]]:
    """A parser of JSON objects with these keys: what is missing is found before the page is half
    written."""

    def parse(data: bytes) -> dict[str, Any]:
        value = json.loads(data)
        missing = [key for key in keys if not isinstance(value, dict) or key not in value]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return value

    return parse


def _candidates(data: bytes) -> list[dict[str, Any]]:
    return [_object(*_CANDIDATE)(line) for line in data.splitlines()]


def _metrics(metric: str) -> Callable[[bytes], list[dict[str, float]]]:
    def parse(data: bytes) -> list[dict[str, float]]:
        rows = csv.DictReader(data.decode().splitlines())
        return [{column: float(row[column]) for column in (*_METRICS, metric)} for row in rows]

    return parse
