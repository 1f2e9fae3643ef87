"""`adapt --member`: a network that an adaptation went through, trained, exported and verified.

The last one is what `adapt` itself ends with.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, Budget, cost, digest, from_json
from mobilenets.archs.budget import LIMIT_NAMES
from mobilenets.choosing.candidate import describe_arch
from mobilenets.commands.delivery import artifact_of, exported, there
from mobilenets.commands.origin import images_of
from mobilenets.data import Images, trained_on
from mobilenets.deliver.record import read_verdict
from mobilenets.deliver.verdict import drop_undecided, verify
from mobilenets.devices.registry import find_device
from mobilenets.errors import MobileNetsError
from mobilenets.files import write_json
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.nn import Checkpoint
from mobilenets.prune import Settings, Step
from mobilenets.prune.members import Asked, member, records
from mobilenets.runs.layout import (
    SUMMARY,
    TRAINED,
    VERDICT,
    member_folder,
    step_file,
)
from mobilenets.runs.stages import Stage, Stages
from mobilenets.runtimes import DEFAULT, Engine, check_runtime
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.tasks import Task
from mobilenets.text import counted
from mobilenets.train import Limits, Teacher, train
from mobilenets.train.job import save_trained
from mobilenets.train.scoring import score

# Without the metrics of a training: there may be none.
TRAINED_LONG = Stage("trained", (TRAINED,), lambda folder: Checkpoint.load(folder / TRAINED))
_ENDS = ("_start", "_checkpoint", "_artifact")
_VERIFIED = Stage("verified", (VERDICT,), lambda folder: read_verdict(folder, of=_ENDS))
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """Which network of an adaptation to deliver, in RUN/members, 0 being the starting network, and
    for what: after `long_epochs` of training."""

    run: Path
    index: int
    data: str | Path
    engine: Engine = DEFAULT
    threads: int = 1
    long_epochs: int = 10
    device: str = LOCAL.name

    def __post_init__(self) -> None:
        check_ending(self.engine, self.long_epochs)


@dataclass(frozen=True)
class Ending:
    """How a network of the adaptation in the folder `run` is delivered, in `folder`: what it must
    meet, and what it was priced by."""

    run: Path
    folder: Path
    budget: Budget
    priced_by: str
    settings: Settings
    engine: Engine
    threads: int
    long_epochs: int
    device: str = LOCAL.name


def adapt_member(job: Member) -> dict[str, Any]:
    """The network trained, exported and verified. The record is that of `adapt`, with no limit in
    its budget."""
    with measuring_on(find_device(job.device)):
        return _adapt_member(job)


def _adapt_member(job: Member) -> dict[str, Any]:
    step, asked = member(job.run, job.index), Asked.read(job.run)
    ending = Ending(
        run=job.run, folder=member_folder(job.run, job.index), budget=Budget(),
        priced_by=asked.limit, settings=asked.settings,
        engine=job.engine, threads=job.threads, long_epochs=job.long_epochs,
        device=job.device,
    )  # fmt: skip
    stages = Stages(ending.folder, first=TRAINED_LONG.name)
    images = images_of(job.data, step.checkpoint, ending.folder)
    verdict = delivered(ending, step, images, stages)
    return summary(ending, step, images.task, step.price, verdict)


def check_ending(engine: Engine, long_epochs: object) -> None:
    """Raise for an engine that is not installed or not in float, and for impossible epochs."""
    check_runtime(engine)
    check_float([engine])
    if type(long_epochs) is not int or long_epochs < 0:
        raise MobileNetsError(
            f"long_epochs must be a whole number of at least 0, got {long_epochs!r}"
        )


def check_float(engines: Sequence[Engine]) -> None:
    """Raise `MobileNetsError` unless all of `engines` have the network in float."""
    for engine in engines:
        if engine.is_int8:
            raise MobileNetsError(
                f"networks are adapted in fp32, got {engine}; adapt for {engine.runtime}, then "
                "quantize the result: mobilenets quantize RUN DATA"
            )


def delivered(ending: Ending, step: Step, images: Images, stages: Stages) -> dict[str, Any]:
    """Train long, export, verify: each once. The verdict."""
    folder, engine = ending.folder, ending.engine
    start = Checkpoint.load(step_file(ending.run, 0))
    checkpoint = stages.run(
        TRAINED_LONG,
        [step.checkpoint.digest(), images.fingerprint, ending.long_epochs],
        lambda: _train(ending, step, start, images),
    )
    artifact = artifact_of(folder, engine)
    stages.run(
        exported(engine), str(engine),
        lambda: export_isolated([Job(folder / TRAINED, artifact)], engine),
    )  # fmt: skip
    drop_undecided(folder)

    def check() -> None:
        log.info(f"verifying on {len(images.val)} validation images")
        verdict = verify(
            artifact, checkpoint, images, ending.budget, runtime=engine, threads=ending.threads
        )
        before = {f"{images.task.metric}_start": score(start, images).value}
        write_json(folder / VERDICT, before | verdict.to_json())

    inputs = [ending.threads, ending.budget.to_json(), *there(ending.device)]
    return stages.run(_VERIFIED, inputs, check)


def _train(ending: Ending, step: Step, start: Checkpoint, images: Images) -> None:
    """The long training. Its images are split by the starting checkpoint's seed, so that is the one
    noted."""
    checkpoint, settings = step.checkpoint, ending.settings
    adapted = checkpoint.training.get("adapted")
    if ending.long_epochs:
        log.info(f"training for {counted(ending.long_epochs, 'epoch')}")
        recipe = settings.recipe(start, images).limited(Limits(epochs=ending.long_epochs))
        teacher = Teacher.of(start) if settings.distill else None
        checkpoint = train(
            checkpoint.arch, images, recipe, folder=ending.folder, seed=settings.seed,
            start=checkpoint, teacher=teacher,
        )  # fmt: skip
    training = {**checkpoint.training, "seed": images.seed, "adapted": adapted}
    before = trained_on.find(step_file(ending.run, 0), start.training, whole=False)
    digests = trained_on.learned_from(images, before)
    save_trained(replace(checkpoint, training=training), ending.folder, digests)


def summary(
    ending: Ending, step: Step, task: Task, price: float, verdict: dict[str, Any]
) -> dict[str, Any]:
    """The record that `mobilenets adapt --json` prints, kept in the run's folder."""
    steps = records(ending.run)[: step.index + 1]
    start = from_json(steps[0]["arch"])
    record = {
        "start": _network(start) | {"price": steps[0]["price"]},
        "final": _network(step.arch) | {"price": price},
        "steps": [{key: one[key] for key in _STEP} for one in steps[1:]],
        "budget": ending.budget.to_json(),
        "device": ending.device,
        "price": price,
        "priced_by": LIMIT_NAMES[ending.priced_by],
        f"{task.metric}_start": verdict[f"{task.metric}_start"],
        f"{task.metric}_final": verdict[f"{task.metric}_artifact"],
        **{key: verdict[key] for key in _FROM_VERDICT},
        **{key: verdict[key] for key in (f"{task.metric}_interval", *_TOLD) if key in verdict},
        "checkpoint": str(ending.folder / TRAINED),
        "artifact": str(artifact_of(ending.folder, ending.engine)),
    }
    write_json(ending.folder / SUMMARY, record)
    return record


_STEP = ("proposals", "trained", "chosen", "price", "loss", "accuracy", "seconds")
_FROM_VERDICT = ("latency", "macs", "params", "within_budget", "verified", "complaints")

_TOLD = ("images", "undecided", "learned", "warning", "spread")  # older verdicts lack some


def _network(arch: Arch) -> dict[str, Any]:
    costs = cost(arch)
    record = {"macs": costs.macs, "params": costs.params, "digest": digest(arch)}
    return describe_arch(arch) | record
