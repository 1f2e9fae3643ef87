"""Everything a finished run left behind, as one value."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mobilenets.archs import Arch, Budget, from_json
from mobilenets.errors import FileError, MobileNetsError

T = TypeVar("T")

# What report and card read of each file.
_IMAGES = ("name", "classes", "counts", "skipped", "split")
_CANDIDATE = ("full_name", "name", "expected_imagenet_top1", "macs", "latency", "predicted_ms")
_METRICS = ("epoch", "train_loss", "holdout_loss", "holdout_top1")
_PREDICTIONS = ("classes", "confusion", "wrong", "right")
# fmt: off
_VERDICT = (
    "verified", "within_budget", "complaints", "limits", "top1_checkpoint", "top1_artefact",
    "top5_artefact", "images", "max_relative_error", "latency", "size_bytes", "macs", "params",
)
# fmt: on


@dataclass(frozen=True)
class Record:
    """Everything a run left behind."""

    arch: Arch
    budget: Budget
    images: dict[str, Any]
    chosen: dict[str, Any]
    candidates: list[dict[str, Any]]
    metrics: list[dict[str, float]]
    verdict: dict[str, Any]
    predictions: dict[str, Any]
    training: dict[str, Any]


def read_run(folder: Path) -> Record:
    """The files of a run as one value; raises `FileError` for one that is missing or broken."""
    chosen = _part(folder / "arch.json", _object("arch", "binding_limit", "considered"))
    return Record(
        arch=_part(folder / "arch.json", lambda text: from_json(json.loads(text)["arch"])),
        budget=_part(folder / "budget.json", lambda text: Budget(**json.loads(text))),
        images=_part(folder / "images.json", _object(*_IMAGES)),
        chosen=chosen,
        candidates=_part(folder / "candidates.jsonl", _candidates),
        metrics=_part(folder / "metrics.csv", _metrics),
        verdict=_part(folder / "verdict.json", _object(*_VERDICT)),
        predictions=_part(folder / "predictions.json", _object(*_PREDICTIONS)),
        training=_part(folder / "training.json", _object("recipe", "seed")),
    )


def _part(path: Path, parse: Callable[[str], T]) -> T:
    """One file, parsed; whatever is wrong with it becomes a `FileError` that names it."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, MobileNetsError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise FileError(
            f"{path.parent} is not a finished run ({path.name}: {why}); run `mobilenets fit` "
            "again to finish it"
        ) from error


def _object(*keys: str) -> Callable[[str], dict[str, Any]]:
    """A parser of JSON objects with these keys: what is missing is found before the page is half
    written."""

    def parse(text: str) -> dict[str, Any]:
        value = json.loads(text)
        missing = [key for key in keys if not isinstance(value, dict) or key not in value]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return value

    return parse


def _candidates(text: str) -> list[dict[str, Any]]:
    return [_object(*_CANDIDATE)(line) for line in text.splitlines()]


def _metrics(text: str) -> list[dict[str, float]]:
    rows = csv.DictReader(text.splitlines())
    return [{column: float(row[column]) for column in _METRICS} for row in rows]
