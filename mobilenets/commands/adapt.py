"""`adapt`: a trained network and a budget in; cut until it fits, trained, exported, verified."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.archs import Arch, Budget, cost, digest, from_json
from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.choosing.candidate import describe_arch
from mobilenets.choosing.choice import measured_once
from mobilenets.data import Images
from mobilenets.deliver.verdict import drop_undecided, verify
from mobilenets.errors import BudgetError, MobileNetsError
from mobilenets.files import read_json, write_json
from mobilenets.nn import Checkpoint
from mobilenets.prune import Price, Settings, Step, Workers, netadapt
from mobilenets.prune.algorithm import check_reachable
from mobilenets.prune.members import ASKED, STEPS, keep, member, member_path, records
from mobilenets.prune.prices import LatencyPrice, arithmetic_price, latency_price
from mobilenets.runs.stages import Stages
from mobilenets.runs.trained import check_unclaimed, images_of, name_of, trained_in
from mobilenets.runtimes import DEFAULT, Engine, check_runtime
from mobilenets.runtimes.artefact import artefact_name, files_of
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.text import counted
from mobilenets.train import Limits, Teacher, train
from mobilenets.train.job import save_trained
from mobilenets.train.scoring import score

# A latency limit is aimed at from this far below: two sessions differ by 1 to 3 percent.
HEADROOM = 0.03
# Networks are measured whole every so many steps, and each whose price is at most so many times the
# target; the rest are priced as they turned out. What the last steps promise, they should keep.
_CORRECTED_EVERY = 5
_NEAR = 1.1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adaptation:
    """What to adapt, to what, and how.

    `source` is a checkpoint, or a run folder, whose trained network is meant. `budget` has one
    limit, which is the price. `long_epochs` of training come at the end. `out` None is
    runs/SOURCE-LIMIT.
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

    def __post_init__(self) -> None:
        check_runtime(self.engine)
        check_float([self.engine])
        _check_epochs(self.long_epochs)
        if len(self.budget.limits()) != 1:
            given = ", ".join(LIMIT_NAMES[name] for name in self.budget.limits()) or "none"
            raise BudgetError(
                f"a network is adapted to one limit, which is its price, got {given}; give one, "
                "such as --macs 50M"
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
        return self.out or Path("runs", f"{name_of(self.source)}-{self.budget.label()}")

    def price(self) -> Price:
        """The price of a network by the limit."""
        if self.limit != "latency_ms":
            return arithmetic_price(self.limit, self.engine)
        measure = measured_once(self.folder / "latency.jsonl", self.threads)
        return latency_price(self.engine, self.threads, measure)


def adapt(job: Adaptation) -> dict[str, Any]:
    """Everything, in the run folder; the record that `mobilenets adapt --json` prints.

    The same call goes on where a killed one was. An artefact that misses the limit is kept, and the
    record says so. Raises `NoFitError` where the limit cannot be reached.
    """
    start = Checkpoint.load(trained_in(job.source))
    folder = job.folder
    stages, price = Stages(folder, first="adapted"), job.price()
    check_unclaimed(folder)
    check_reachable(start.arch, job.target, price, job.settings.kinds, limit=job.limit)
    images = images_of(job.data, start, folder)
    run_steps(job, start, images, price, stages)
    found = _Member(folder, member(folder, len(records(folder)) - 1), job.budget)
    if isinstance(price, LatencyPrice):
        price.correct_(found.step.arch)
    _deliver(job, found, images, stages)
    return _summary(job, found, price(found.step.arch))


def adapt_member(
    run: Path,
    index: int,
    data: str | Path,
    *,
    engine: Engine = DEFAULT,
    threads: int = 1,
    long_epochs: int = 10,
) -> dict[str, Any]:
    """Member `index` of a run (0 is the start) trained, exported and verified, in RUN/members.

    The record is that of `adapt`, with no limit in its budget.
    """
    step = member(run, index)
    asked = read_json(run / ASKED)
    settings = asked["settings"] | {"kinds": tuple(asked["settings"]["kinds"])}
    job = Adaptation(
        source=member_path(run, 0), data=data, budget=Budget(**asked["budget"]), engine=engine,
        threads=threads, settings=Settings(**settings), long_epochs=long_epochs, out=run,
    )  # fmt: skip
    folder = run / "members" / f"{index:03}"
    images = images_of(data, step.checkpoint, folder)
    found = _Member(folder, step, Budget())
    _deliver(job, found, images, Stages(folder, first="trained"))
    return _summary(job, found, step.price)


def check_float(engines: Sequence[Engine]) -> None:
    """Raise `MobileNetsError` unless all of `engines` have the network in float."""
    for engine in engines:
        if engine.is_int8:
            raise MobileNetsError(
                f"networks are adapted in float, got {engine}; adapt for {engine.runtime}, and "
                "quantise what comes of it"
            )


def _check_epochs(epochs: object) -> None:
    if type(epochs) is not int or epochs < 0:
        raise MobileNetsError(f"long_epochs must be a whole number of at least 0, got {epochs!r}")


def _claim(folder: Path, inputs: dict[str, Any]) -> None:
    """Make `folder` the run of these inputs, or refuse where it is another's: steps are dear."""
    path, inputs = folder / ASKED, json.loads(json.dumps(inputs))
    there = read_json(path) if path.exists() else inputs
    other = [name for name in inputs if there.get(name) != inputs[name]]
    if other:
        raise MobileNetsError(
            f"{folder} holds another adaptation, of other {', '.join(other)}; give another --out, "
            "or remove it"
        )
    write_json(path, inputs)


def run_steps(
    job: Adaptation, start: Checkpoint, images: Images, price: Price, stages: Stages
) -> None:
    """The steps, kept in the run folder (`shrink.family`), from where they were left."""
    inputs = {
        "start": start.digest(),
        "images": {"data": images.fingerprint, "rule": asdict(images.rule)},
        "budget": job.budget.to_json(),
        "latency": [str(job.engine), job.threads] if job.limit == "latency_ms" else None,
        "files": str(job.engine) if job.limit == "size_bytes" else None,
        "settings": asdict(job.settings),
    }
    _claim(job.folder, inputs)
    work = partial(_run_steps, job, start, images, price)
    stages.run("adapted", inputs, [STEPS], work)
    steps = records(job.folder)
    if len(steps) == 1:
        taken, limit = describe(job.limit, steps[0]["price"]), describe(job.limit, job.target)
        log.info(f"the start takes {taken} of {limit}: nothing is cut")


def _run_steps(job: Adaptation, start: Checkpoint, images: Images, price: Price) -> None:
    known = records(job.folder)
    correct_(job, price, 0, start.arch)  # the first price is a measured one
    for record in known[1:]:
        correct_(job, price, record["index"], from_json(record["arch"]))
    after = member(job.folder, len(known) - 1) if known else None
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


class _Member(NamedTuple):
    """A network to hand over: its run folder, the step it is, the limit it must meet."""

    folder: Path
    step: Step
    budget: Budget

    @property
    def trained(self) -> Path:
        return self.folder / "trained.safetensors"


def _deliver(job: Adaptation, found: _Member, images: Images, stages: Stages) -> None:
    """Train long, export, verify: each once."""
    folder, start = found.folder, Checkpoint.load(member_path(job.folder, 0))
    inputs = [found.step.checkpoint.digest(), images.fingerprint, job.long_epochs]
    stages.run("trained", inputs, [found.trained.name], lambda: _train(job, found, start, images))
    artefact = folder / artefact_name(job.engine.runtime)
    files = [file.name for file in files_of(artefact)]
    stages.run(
        "exported", str(job.engine), files,
        lambda: export_isolated([Job(found.trained, artefact)], job.engine),
    )  # fmt: skip

    drop_undecided(folder)

    def check() -> None:
        log.info(f"verifying on {len(images.val)} validation images")
        verdict = verify(
            artefact, found.trained, images, found.budget, runtime=job.engine, threads=job.threads
        )
        before = {"top1_start": score(start, images).value}
        write_json(folder / "verdict.json", before | verdict.to_json())

    stages.run("verified", [job.threads, found.budget.to_json()], ["verdict.json"], check)


def _train(job: Adaptation, found: _Member, start: Checkpoint, images: Images) -> None:
    """The long training. Its images are split by the start's seed, so that is the one noted."""
    checkpoint = found.step.checkpoint
    adapted = checkpoint.training.get("adapted")
    if job.long_epochs:
        log.info(f"training for {counted(job.long_epochs, 'epoch')}")
        recipe = job.settings.recipe(start, images).limited(Limits(epochs=job.long_epochs))
        teacher = Teacher.of(start) if job.settings.distil else None
        checkpoint = train(
            checkpoint.arch, images, recipe, folder=found.folder, seed=job.settings.seed,
            start=checkpoint, teacher=teacher,
        )  # fmt: skip
    training = {**checkpoint.training, "seed": images.seed, "adapted": adapted}
    save_trained(replace(checkpoint, training=training), found.folder)


def _summary(job: Adaptation, found: _Member, price: float) -> dict[str, Any]:
    verdict = read_json(found.folder / "verdict.json")
    steps = records(job.folder)[: found.step.index + 1]
    start = from_json(steps[0]["arch"])
    summary = {
        "start": _network(start) | {"price": steps[0]["price"]},
        "final": _network(found.step.arch) | {"price": price},
        "steps": [{key: step[key] for key in _STEP} for step in steps[1:]],
        "budget": found.budget.to_json(),
        "price": price,
        "priced_by": LIMIT_NAMES[job.limit],
        "top1_start": verdict["top1_start"],
        "top1_final": verdict["top1_artefact"],
        **{key: verdict[key] for key in _FROM_VERDICT},
        "checkpoint": str(found.trained),
        "artefact": str(found.folder / artefact_name(job.engine.runtime)),
    }
    write_json(found.folder / "summary.json", summary)
    return summary


_STEP = ("proposals", "trained", "chosen", "price", "loss", "accuracy", "seconds")
_FROM_VERDICT = ("latency", "macs", "params", "within_budget", "verified", "complaints")


def _network(arch: Arch) -> dict[str, Any]:
    costs = cost(arch)
    record = {"macs": costs.macs, "params": costs.params, "digest": digest(arch)}
    return describe_arch(arch) | record
