"""Everything a finished run left behind, as one value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar, get_args, get_origin

from mobilenets.archs import Arch, Budget
from mobilenets.archs.budget import LIMIT_NAMES
from mobilenets.choosing.chosen import Chosen, ChosenRecord
from mobilenets.data import Preprocess
from mobilenets.deliver.advice import start_words
from mobilenets.deliver.present import PRESENTERS, Presenter
from mobilenets.errors import FileError, MobileNetsError
from mobilenets.files import broken, parse, read_json
from mobilenets.measuring.latency import LatencyRecord
from mobilenets.nn import Checkpoint
from mobilenets.runs.layout import (
    ARCH,
    BUDGET,
    CANDIDATES,
    IMAGES,
    METRICS,
    PREDICTIONS,
    SCORE,
    TRAINED,
    TRAINING,
    TYPED,
    VERDICT,
)
from mobilenets.runtimes import Engine
from mobilenets.runtimes.artifact import artifact_name, files_of
from mobilenets.shapes import AboveZero, Count, Number, Percent, Positive, Range, shaped
from mobilenets.tasks import TASKS, Task, task_in
from mobilenets.train.job import read_metrics

T = TypeVar("T")
_METRICS = ("epoch", "train_loss", "holdout_loss", "seconds")
Share = Annotated[float, Range(0, 1)]


class _Split(TypedDict):
    val: str
    test: str
    val_fraction: NotRequired[Share]
    holdout_fraction: Share
    seed: Count


class _Skipped(TypedDict):
    name: str
    reason: str


class _Images(TypedDict):
    """What the pages read of `Images.to_json`."""

    name: str
    task: NotRequired[str]
    classes: list[str]
    counts: dict[str, Count]
    class_counts: dict[str, dict[str, Count]]
    skipped: list[_Skipped]
    ignored: Count
    split: _Split
    native_size: NotRequired[Count]
    fingerprint: str


class _Candidate(TypedDict):
    """And of `Candidate.to_json`."""

    full_name: str
    name: str
    runtime: str
    expected_imagenet_top1: Number
    macs: Count
    params: Count
    size_bytes: Count
    peak_activation_bytes: Count
    latency: LatencyRecord | None
    predicted_ms: Number | None


class _Limit(TypedDict):
    limit: Literal[tuple(LIMIT_NAMES.values())]  # type: ignore[valid-type]
    spent: Number
    allowed: AboveZero
    met: bool


class VerdictRecord(TypedDict):
    """What every verdict.json has (`Verdict.to_json`); the task's scores stand beside it."""

    verified: bool
    within_budget: bool
    undecided: NotRequired[bool]
    complaints: list[str]
    unclear: NotRequired[str | None]
    learned: NotRequired[bool | None]
    warning: NotRequired[str | None]
    spread: NotRequired[str | None]
    images: Positive
    agreement: Percent
    max_relative_error: float
    latency: LatencyRecord
    host_ms: NotRequired[AboveZero]
    device: NotRequired[str]
    limits: list[_Limit]
    size_bytes: Count
    macs: Count
    params: Count


class _Recipe(TypedDict, total=False):
    name: str
    epochs: Count
    minutes: Number | None


class _Training(TypedDict):
    recipe: _Recipe
    seed: Count


@dataclass(frozen=True)
class Record:
    """Everything a run left behind. `artifact` is the name of the artifact, which is for `engine`;
    `sha256` that of each of its files. `epochs` is how often the images were seen. `typed` are the
    options of the command, each with its value, but for limits and folder."""

    engine: Engine
    artifact: str
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
    start: str | None
    sha256: dict[str, str]
    typed: list[list[str]]

    @property
    def runtime(self) -> str:
        """The name of the runtime that the artifact is for."""
        return self.engine.runtime

    @property
    def presenter(self) -> Presenter:
        """What shows the task's part of it."""
        return PRESENTERS[self.task.name]


def read_verdict(
    folder: Path, *, of: Sequence[str] = ("_checkpoint", "_artifact")
) -> dict[str, Any]:
    """What verdict.json says, with the task's metric `of` these; raises `FileError`."""
    return _scored(folder / VERDICT, VerdictRecord, of)


def read_score(folder: Path) -> dict[str, Any]:
    """What score.json says, with the task's metric; raises `FileError`."""
    return _scored(folder / SCORE, dict[str, Any], ("",))


def _scored(path: Path, shape: Any, of: Sequence[str]) -> dict[str, Any]:
    record: dict[str, Any] = read_json(path, shape)
    for end in of:
        keys = [task.metric + end for task in TASKS.values()]
        scores = [record[key] for key in keys if key in record]
        if not scores or not all(one is None or isinstance(one, float | int) for one in scores):
            raise broken(path, f"it lacks {' or '.join(keys)}")
    return record


def read_run(folder: Path) -> Record:
    """The files of a run as one value; raises `FileError` for one that is missing or broken."""
    images = _part(folder / IMAGES, _images)
    task = task_in(images, images["classes"])
    presenter = PRESENTERS[task.name]
    record = _part(folder / ARCH, lambda data: parse(data, ChosenRecord))
    chosen = _part(folder / ARCH, lambda _: Chosen.of(record))
    artifact = artifact_name(chosen.engine.runtime)
    columns = (*_METRICS, f"holdout_{task.metric}")
    metrics = _part(folder / METRICS, lambda data: read_metrics(data, columns))
    preprocess, epochs, start = _of_checkpoint(folder / TRAINED)
    return Record(
        engine=chosen.engine,
        artifact=artifact,
        arch=chosen.arch,
        preprocess=preprocess,
        budget=_part(folder / BUDGET, lambda data: parse(data, Budget)),
        task=task,
        images=images,
        chosen=record,
        candidates=_part(folder / CANDIDATES, _candidates),
        metrics=metrics,
        verdict=_part(folder / VERDICT, _object(VerdictRecord, presenter.in_verdict)),
        predictions=_part(folder / PREDICTIONS, _object(dict[str, Any], presenter.in_predictions)),
        training=_part(folder / TRAINING, lambda data: parse(data, _Training)),
        epochs=min(epochs, len(metrics)),  # an adapted network tells of its start's, too
        start=start,
        typed=_typed(folder / TYPED),
        sha256={
            file.name: _part(file, lambda data: hashlib.sha256(data).hexdigest())
            for file in files_of(folder / artifact)
        },
    )


def _typed(path: Path) -> list[list[str]]:
    """None of a run that began otherwise than by the command."""
    return read_json(path, list[list[str]]) if path.exists() else []


def _part(path: Path, read: Callable[[bytes], T]) -> T:
    """One file, parsed; whatever is wrong with it becomes a `FileError` that names it."""
    try:
        return read(path.read_bytes())
    except (OSError, ValueError, MobileNetsError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise _unfinished(path, why) from error


def _of_checkpoint(path: Path) -> tuple[Preprocess, float, str | None]:
    """How images come to the network; for how many epochs it was trained, and from which weights
    (`start_words`)."""
    try:
        checkpoint = Checkpoint.load(path)
        epochs = checkpoint.training.get("epochs", inf)
        start = start_words(checkpoint.training.get("start"))
        return Preprocess.from_json(checkpoint.preprocess), epochs, start
    except MobileNetsError as error:
        raise _unfinished(path, error) from error


def _unfinished(path: Path, why: object) -> FileError:
    return FileError(
        f"{path.parent} is not a finished run ({path.name}: {why}); run `mobilenets fit` again to "
        "finish it"
    )


def _object(shape: Any, more: Mapping[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """A parser of JSON objects of this shape, with `more` keys and their types: what is missing is
    found before the page is half written."""

    def parse_object(data: bytes) -> dict[str, Any]:
        value = parse(data, shape)
        for key, kind in more.items():
            optional = get_origin(kind) is NotRequired
            if key in value:
                shaped(value[key], get_args(kind)[0] if optional else kind)
            elif not optional:
                raise ValueError(f"it lacks {key}")
        return value

    return parse_object


def _images(data: bytes) -> dict[str, Any]:
    value = parse(data, _Images)
    missing = [
        f"{name} of {split}"
        for split in value["counts"]
        for name in value["classes"]
        if name not in value["class_counts"].get(split, ())
    ]
    if missing:
        raise ValueError(f"it lacks the count of {missing[0]}")
    return value


def _candidates(data: bytes) -> list[dict[str, Any]]:
    return [parse(line, _Candidate) for line in data.splitlines()]
