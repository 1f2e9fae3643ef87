"""`choose`: a budget in; the network and the runtime that meet it here out."""

from __future__ import annotations

from dataclasses import dataclass

from mobilenets.archs import Budget
from mobilenets.archs.attach import HEADS
from mobilenets.choosing.choice import Choice
from mobilenets.choosing.choice import choose as choose_network
from mobilenets.choosing.latency_table import load_tables
from mobilenets.devices.registry import find_device
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.runtimes import DEFAULT, Engine


@dataclass(frozen=True)
class Choosing:
    """What the network must meet, for which engines, on which device; `image_size` is the images'
    short side (None: large enough for any resolution), `head` one of `candidate.CHOSEN_HEADS`."""

    budget: Budget
    engines: tuple[Engine, ...] = (DEFAULT,)
    threads: int = 1
    classes: int = 1000
    image_size: int | None = None
    head: str = HEADS[0]
    device: str = LOCAL.name


def choose(job: Choosing) -> Choice:
    """The best that fits, predicted by the device's latency tables and measured there. Raises
    `NoFitError` where nothing fits."""
    with measuring_on(find_device(job.device)):
        return choose_network(
            job.budget,
            classes=job.classes,
            image_size=job.image_size,
            head=job.head,
            threads=job.threads,
            runtimes=job.engines,
            tables=load_tables(job.engines, job.threads),
        )
