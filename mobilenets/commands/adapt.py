"""`adapt`: a trained network and a budget in; pruned until it fits, trained, exported, verified."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, Budget, from_json
from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.choosing.choice import measured_once
from mobilenets.commands.adapt_member import Ending, check_ending, delivered, summary
from mobilenets.commands.delivery import suffix, there
from mobilenets.commands.origin import images_of, name_of, trained_in
from mobilenets.data import Images
from mobilenets.data.trained_on import carry
from mobilenets.devices.registry import find_device
from mobilenets.errors import BudgetError
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.nn import Checkpoint
from mobilenets.prune import Price, Settings, Step, Workers, netadapt
from mobilenets.prune.algorithm import check_reachable
from mobilenets.prune.members import keep, last_whole, member, records
from mobilenets.prune.prices import LatencyPrice, arithmetic_price, latency_price
from mobilenets.runs.layout import ADAPTATION, LATENCIES, STEPS
from mobilenets.runs.owner import claim
from mobilenets.runs.stages import Stage, Stages
from mobilenets.runtimes import DEFAULT, Engine

# A latency limit is aimed at from this far below: two sessions differ by 1 to 3 percent.
HEADROOM = 0.03
# Networks are measured whole every so many steps, and each whose price is at most so many times the
# target; the rest are priced as they turned out. What the last steps promise, they should keep.
_CORRECTED_EVERY = 5
_NEAR = 1.1
ADAPTED = Stage("adapted", (STEPS,), lambda folder: member(folder, len(records(folder)) - 1))
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adaptation:
    """What to adapt, to what, and how.

    `source` is a checkpoint, or a run folder, whose trained network is meant. `budget` has one
    limit, which is the price; a latency is that on `device`. `long_epochs` of training come at the
    end. `out` None is runs/SOURCE-LIMIT.
    """

    source: Path
    data: str | Path
    budget: Budget
    engine: Engine = DEFAULT
    threads: int = 1
    settings: Settings = field(default_factory=Settings)
    long_epochs: int = 10
    workers: Workers = field(default_factory=Workers)
    out: Path | None = None
    device: str = LOCAL.name

    def __post_init__(self) -> None:
        check_ending(self.engine, self.long_epochs)
        if len(self.budget.limits()) != 1:
            given = ", ".join(LIMIT_NAMES[name] for name in self.budget.limits()) or "none"
            raise BudgetError(
                f"a network is adapted to one limit, which is its price, got {given}; give one, "
                "as in: mobilenets adapt RUN DATA --macs 50M"
            )

    @property
    def limit(self) -> str:
        """The limit's name in `Budget`."""
        return next(iter(self.budget.limits()))

    @property
    def target(self) -> float:
        """The price to come down to."""
        value = self.budget.limits()[self.limit]
        return value * (1 - HEADROOM) if self.limit == "latency_ms" else value

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        name = f"{name_of(self.source)}-{self.budget.label()}{suffix(self.device)}"
        return self.out or Path("runs", name)

    @property
    def ending(self) -> Ending:
        """How the last network is delivered."""
        return Ending(
            run=self.folder, folder=self.folder, budget=self.budget, priced_by=self.limit,
            settings=self.settings, engine=self.engine, threads=self.threads,
            long_epochs=self.long_epochs, device=self.device,
        )  # fmt: skip

    def price(self) -> Price:
        """The price of a network by the limit."""
        if self.limit != "latency_ms":
            return arithmetic_price(self.limit, self.engine)
        measure = measured_once(self.folder / LATENCIES, self.threads)
        return latency_price(self.engine, self.threads, measure)


def adapt(job: Adaptation) -> dict[str, Any]:
    """Everything, in the run folder; the record that `mobilenets adapt --json` prints.

    The same call goes on where a killed one was. An artifact that misses the limit is kept, and the
    record says so. Raises `NoFitError` where the limit cannot be reached.
    """
    with measuring_on(find_device(job.device)):
        return _adapt(job)


def _adapt(job: Adaptation) -> dict[str, Any]:
    file = trained_in(job.source)
    start = Checkpoint.load(file)
    stages, price = Stages(job.folder, first=ADAPTED.name), job.price()
    check_reachable(start.arch, job.target, price, job.settings.kinds, limit=job.limit)
    images = images_of(job.data, start, job.folder, file=file)
    carry(file, start.training, job.folder)
    last = run_steps(job, start, images, price, stages)
    if isinstance(price, LatencyPrice):
        price.correct_(last.arch)
    verdict = delivered(job.ending, last, images, stages)
    return summary(job.ending, last, images.task, price(last.arch), verdict)


def run_steps(
    job: Adaptation, start: Checkpoint, images: Images, price: Price, stages: Stages
) -> Step:
    """The last of the steps, which are kept in the run folder (`prune.members`), from where they
    were left."""
    inputs = {
        "start": start.digest(),
        "images": {"data": images.fingerprint, "rule": asdict(images.rule)},
        "budget": job.budget.to_json(),
        "latency": [str(job.engine), job.threads] if job.limit == "latency_ms" else None,
        "files": str(job.engine) if job.limit == "size_bytes" else None,
        "settings": asdict(job.settings),
    }
    asked = inputs | {"device": job.device}
    claim(job.folder, ADAPTATION, asked, dear=(STEPS,), what="adaptation")
    inputs = asked if there(job.device) else inputs  # as in older runs
    last = stages.run(ADAPTED, inputs, lambda: _run_steps(job, start, images, price))
    if last.index == 0:
        taken, limit = describe(job.limit, last.price), describe(job.limit, job.target)
        log.info(f"the starting network takes {taken}, within {limit}: nothing is pruned")
    return last


def _run_steps(job: Adaptation, start: Checkpoint, images: Images, price: Price) -> None:
    after = last_whole(job.folder)
    correct_(job, price, 0, start.arch)  # the first price is a measured one
    for record in records(job.folder)[1 : after.index + 1 if after else 0]:
        correct_(job, price, record["index"], from_json(record["arch"]))
    steps = netadapt(
        start, job.target, images=images, price=price, settings=job.settings,
        workers=job.workers, after=after,
    )  # fmt: skip
    for step in steps:
        keep(step, job.folder)
        if step.index:
            correct_(job, price, step.index, step.arch)


def correct_(job: Adaptation, price: Price, index: int, arch: Arch) -> None:
    """Measure every few steps, and near the end each: where the budget seems to be met it is, or
    the steps go on. What was measured once is in the journal."""
    due = index % _CORRECTED_EVERY == 0 or price(arch) <= _NEAR * job.target
    if due and isinstance(price, LatencyPrice):
        price.correct_(arch)
