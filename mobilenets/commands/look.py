"""`look`: a page of images with their labels, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mobilenets.data import AUTO_READING, Reading, SplitRule, find_images
from mobilenets.data.loading import Found
from mobilenets.deliver.look_page import Look, write_look
from mobilenets.errors import DataError

PAGE = Path("look.html")


@dataclass(frozen=True)
class Looking:
    """Which images, read for which task (None: by the data); the page, and how many it shows."""

    data: str | Path
    task: str | None = None
    page: Path = PAGE
    count: int = 20
    seed: int = 0
    reading: Reading = AUTO_READING

    def __post_init__(self) -> None:
        if self.count < 1:
            raise DataError(f"--count must be at least 1, got {self.count}")


@dataclass(frozen=True)
class Looked:
    """The page, and the JSON of `mobilenets look`: that of the images, and of boxes their number by
    class."""

    page: Path
    record: dict[str, Any]


def look(job: Looking) -> Looked:
    """The page, written. Images that cannot be split for training are shown all the same, with the
    reason. Raises `DataError` where there are no images."""
    found = find_images(job.data, task=job.task, reading=job.reading)
    return Looked(job.page, write_look(_to_see(found, job.seed), job.page, count=job.count))


def _to_see(found: Found, seed: int) -> Look:
    """The training images; all, where there can be none."""
    try:
        images = found.split(SplitRule(seed))
    except DataError as error:
        images = found.whole()
        images = replace(images, notes=(f"cannot be trained on: {error}", *images.notes))
        return Look(replace(images, val=np.zeros(0, np.int64)), images.val, "usable")
    return Look(images, np.sort(np.concatenate([images.train, images.holdout])), "training")
