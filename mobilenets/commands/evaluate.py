"""`eval`: how good a network is on images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.commands.origin import network_in
from mobilenets.deliver import predictor as networks
from mobilenets.deliver.selection import Selection, select
from mobilenets.tasks import Score

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Which artifact or checkpoint, or the run that has one, on which images; with `known_only` not
    on those of classes that the network does not know."""

    file: Path
    data: str | Path
    known_only: bool = False


@dataclass(frozen=True)
class Evaluated:
    """The score, and what it is of."""

    score: Score
    selection: Selection

    def to_json(self) -> dict[str, Any]:
        """What `eval --json` prints."""
        return self.score.to_json() | self.selection.to_json()


def evaluate(job: Evaluation) -> Evaluated:
    """Of all images, but for those that trained the network."""
    network = networks.load(network_in(job.file))
    selection = select(network, job.data, known_only=job.known_only)
    for note in selection.images.notes:
        log.warning(note)
    log.info(f"scored on {selection.said}")
    score = networks.evaluate(network, selection.images, selection.indices)
    return Evaluated(score, selection)
