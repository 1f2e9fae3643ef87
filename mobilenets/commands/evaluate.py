"""`eval`: how good a network is on images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobilenets.commands.origin import network_in
from mobilenets.deliver import predictor as networks
from mobilenets.tasks import Score


@dataclass(frozen=True)
class Evaluation:
    """Which artefact or checkpoint, or the run that has one, on which images."""

    file: Path
    data: str | Path


def evaluate(job: Evaluation) -> Score:
    """Of all images; of the data it was trained on, the validation images."""
    network = networks.load(network_in(job.file))
    return networks.evaluate(network, networks.images_for(network, job.data))
