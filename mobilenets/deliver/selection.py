"""Which images of a data set a network is scored on: none that it has learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.data import Images, SplitRule, find_images
from mobilenets.data.loading import Found
from mobilenets.data.trained_on import find
from mobilenets.deliver.predictor import Predictor
from mobilenets.errors import DataError, MobileNetsError
from mobilenets.runs.layout import TRAINED_ON
from mobilenets.tasks.targets import Indices
from mobilenets.text import counted


@dataclass(frozen=True, eq=False)
class Selection:
    """The images that are scored: `indices` into `images`. `left_out` counts the others, by why;
    `said` is all of it in a sentence."""

    images: Images
    indices: Indices
    left_out: dict[str, int]
    said: str

    def to_json(self) -> dict[str, Any]:
        return {"left_out": self.left_out, "scored": self.said}


def select(predictor: Predictor, data: str | Path, *, known_only: bool = False) -> Selection:
    """All images in `data` that can be read, but for those that trained the network or chose its
    weights, where that can be told. Raises `DataError` for classes that it does not know, unless
    with `known_only` their images are left out; and where no image is left."""
    reading = predictor.preprocess.reading
    found = find_images(data, task=predictor.task.name, reading=reading)
    images, indices, said = _not_trained_on(predictor, found)
    trained = len(found.usable) - len(indices) - len(images.test)
    left_out = {"trained": trained, "unreadable": len(images.skipped)}
    unknown = unknown_in(predictor, images, indices)
    if unknown and not known_only:
        raise DataError(f"{_unknown(predictor, images, unknown)}; --known-only leaves them out")
    if unknown:
        kept = predictor.task.known(images.targets.take(indices), images.task.labels)
        left_out["unknown"] = int((~kept).sum())
        indices = indices[kept]
        said += f"; {counted(left_out['unknown'], 'image')} of {', '.join(unknown[:5])} left out"
    if images.skipped:
        said += f"; {len(images.skipped):,} that cannot be read"
    if not len(indices):
        raise DataError(f"no image of {images.name} is left to score: {said}; give others")
    return Selection(images, indices, left_out, said)


def unknown_in(predictor: Predictor, images: Images, indices: Indices) -> list[str]:
    """The classes of these images that the network does not know."""
    counts = images.targets.take(indices).counts(images.task.labels)
    return [name for name, count in counts.items() if count and name not in predictor.labels]


def _unknown(predictor: Predictor, images: Images, unknown: list[str]) -> str:
    return (
        f"{images.name} has {images.task.kinds} the network was not trained for, "
        f"{', '.join(unknown[:5])}; it knows {', '.join(predictor.labels[:10])}"
    )


def _not_trained_on(predictor: Predictor, found: Found) -> tuple[Images, Indices, str]:
    """The images, which of them did not train the network, and how many in words."""
    training = predictor.about.get("training")
    training = training if isinstance(training, Mapping) else {}
    if training.get("fingerprint") == found.fingerprint:
        images = found.split(_rule(training))
        trained = len(found.usable) - len(images.val) - len(images.test)
        said = f"{_validation(len(images.val))}; {_left_out(trained)}"
        if len(images.test):
            said += f"; of {counted(len(images.test), 'test image')}, give the folder"
        return images, images.val, said
    images = found.whole()
    digests = find(predictor.path, training)
    if digests is None:
        return images, images.val, (
            f"{_all(len(images.val))}; whether any of them trained the network is not known, for "
            f"{TRAINED_ON} of its run is not beside {predictor.path.name}"
        )  # fmt: skip
    new = images.val[~np.isin(images.digests[images.val], digests)]
    trained = len(images.val) - len(new)
    if trained:
        return images, new, f"{counted(len(new), 'image')}; {_left_out(trained)}"
    return images, new, f"{_all(len(new))}, of which none trained the network"


def _rule(training: Mapping[str, Any]) -> SplitRule:
    """By which its images were split."""
    rule = training.get("split")
    try:
        return (
            SplitRule(**rule) if isinstance(rule, Mapping) else SplitRule(training.get("seed", 0))
        )
    except (TypeError, MobileNetsError):
        return SplitRule()


def _validation(count: int) -> str:
    return counted(count, "validation image")


def _all(count: int) -> str:
    return f"all {count:,} images" if count > 1 else counted(count, "image")


def _left_out(count: int) -> str:
    return f"{count:,} that trained it left out"
