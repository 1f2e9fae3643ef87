"""`eval`: how good a network is on images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.commands.origin import network_in
from mobilenets.deliver import predictor as networks
from mobilenets.deliver.selection import Selection, select
from mobilenets.devices.registry import find_device
from mobilenets.errors import MobileNetsError
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.measuring.latency import Latency, measure
from mobilenets.tasks import Score

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Which artifact or checkpoint, or the run that has one, on which images; with `known_only` not
    on those of classes that the network does not know. With a `device` its latency there is
    measured, too, and with `answers` the images are run there."""

    file: Path
    data: str | Path
    known_only: bool = False
    device: str | None = None
    threads: int = 1
    answers: bool = False

    def __post_init__(self) -> None:
        if self.answers and self.device is None:
            raise MobileNetsError("--answers are those of a device; give it, as in: --device pi")


@dataclass(frozen=True)
class Evaluated:
    """The score, and what it is of; and the latency, where it was asked for."""

    score: Score
    selection: Selection
    latency: Latency | None = None

    def to_json(self) -> dict[str, Any]:
        """What `eval --json` prints."""
        found = self.score.to_json() | self.selection.to_json()
        return found | ({"latency": self.latency.to_json()} if self.latency else {})


def evaluate(job: Evaluation) -> Evaluated:
    """Of all images, but for those that trained the network."""
    with measuring_on(find_device(job.device or LOCAL.name)):
        return _evaluate(job)


def _evaluate(job: Evaluation) -> Evaluated:
    path = network_in(job.file)
    network = networks.load(path)
    selection = select(network, job.data, known_only=job.known_only)
    for note in selection.images.notes:
        log.warning(note)
    log.info(f"scored on {selection.said}")
    latency = None if job.device is None else measure([path], threads=job.threads)[0]
    if not job.answers:
        score = networks.evaluate(network, selection.images, selection.indices)
        return Evaluated(score, selection, latency)
    log.info(f"running the images on {job.device}")
    with networks.run_there(network, threads=job.threads) as there:
        score = networks.evaluate(there, selection.images, selection.indices)
    return Evaluated(score, selection, latency)
