"""`tradeoff`: one page of accuracy against latency, or of an adaptation's networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.choosing.choice import predict_all
from mobilenets.choosing.latency_table import load_tables
from mobilenets.deliver.member_page import read_family, write_family
from mobilenets.deliver.tradeoff_page import to_json, write_tradeoff
from mobilenets.devices.registry import find_device
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.runs.layout import TRADEOFF
from mobilenets.runtimes import DEFAULT, Engine


@dataclass(frozen=True)
class Drawing:
    """What to draw: all networks in each of `engines` on the device; or, where there are `runs`,
    the networks of the adaptation in the first beside those of the others. `out` None is
    tradeoff.html, in the first run if given."""

    runs: tuple[Path, ...] = ()
    engines: tuple[Engine, ...] = (DEFAULT,)
    threads: int = 1
    classes: int = 1000
    image_size: int | None = None
    out: Path | None = None
    device: str = LOCAL.name

    @property
    def page(self) -> Path:
        """Where it is drawn."""
        return self.out or Path(self.runs[0] if self.runs else "", TRADEOFF)


@dataclass(frozen=True)
class Drawn:
    """The page, and the JSON of `mobilenets tradeoff`."""

    page: Path
    record: Any


def tradeoff(job: Drawing) -> Drawn:
    """The page, written. Raises `FileError` for runs that are none."""
    with measuring_on(find_device(job.device)):
        return _tradeoff(job)


def _tradeoff(job: Drawing) -> Drawn:
    if job.runs:
        family = read_family(job.runs[0], job.runs[1:])
        return Drawn(write_family(family, job.page), family.to_json())
    tables = load_tables(job.engines, job.threads)
    pools = predict_all(
        classes=job.classes, image_size=job.image_size, threads=job.threads, engines=job.engines,
        tables=tables,
    )  # fmt: skip
    return Drawn(write_tradeoff(pools, tables, job.page, threads=job.threads), to_json(pools))
