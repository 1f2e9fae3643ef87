"""`fit`: images and a budget in, a verified MobileNet out."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, Budget, expected_top1
from mobilenets.archs.published import FAMILIES
from mobilenets.choosing.candidate import Candidate, candidates, describe_arch
from mobilenets.choosing.choice import Choice, choose_among, measured_once, shortlist
from mobilenets.choosing.chosen import CHOSEN, Chosen, keep
from mobilenets.choosing.halving import (
    TRIALS,
    Trial,
    after,
    has_time,
    successive_halving,
    train_trial,
)
from mobilenets.choosing.latency_table import load_tables
from mobilenets.commands.allowance import Allowance, ending_minutes
from mobilenets.commands.beginning import asked_of, begun
from mobilenets.commands.delivery import artifact_of, exported, suffix, there
from mobilenets.commands.kit import artifact_kit
from mobilenets.data import Images, name_of
from mobilenets.deliver.advice import circumstances
from mobilenets.deliver.finished import Run
from mobilenets.deliver.host import expected_host_ms
from mobilenets.deliver.present import PRESENTERS
from mobilenets.deliver.record import read_verdict
from mobilenets.deliver.run_report import report
from mobilenets.deliver.verdict import MAX_LOSS, drop_undecided, verify
from mobilenets.devices.imported import not_yet_measured
from mobilenets.devices.registry import find_device
from mobilenets.errors import ArchError, NoFitError
from mobilenets.files import write_json
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.nn import Checkpoint
from mobilenets.quantize.precisions import (
    MAX_DROP,
    both,
    check_int8,
    hand_over,
    write_both,
)
from mobilenets.runs.layout import (
    BUDGET,
    CARD,
    LATENCIES,
    PREDICTIONS,
    REPORT,
    SUMMARY,
    TRAINED,
    TYPED,
    VERDICT,
    kit_folder,
    trial_folder,
)
from mobilenets.runs.owner import TRAINED_FILES, has_all, has_any
from mobilenets.runs.stages import Stage
from mobilenets.runtimes import DEFAULT, Engine
from mobilenets.runtimes.isolated import Exporter, Job, export_isolated
from mobilenets.tasks import Task
from mobilenets.train import How, Limits, led
from mobilenets.train.job import TRAINING_STAGE, Trained, TrainingJob, read_images

_VERIFIED = Stage("verified", (VERDICT, PREDICTIONS), read_verdict)
_REPORTED = Stage("reported", (REPORT, CARD), lambda folder: folder / REPORT)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitting:
    """What to fit to which budget, and how.

    The network is for the best of `engines`. `how` says what to train from; with weights, the
    choice is among the networks that they are of. `limits` bounds the training; where minutes do,
    the trials before it, too. `out` None is runs/DATA-LIMITS, such as runs/digits-latency1ms, and
    the device's name, unless it is this machine; with `restart`, what it holds is set aside.
    Latency is that on `device`, a name that `find_device` knows. `typed` are the command's options,
    each with its value, but for limits, folder and device: the report repeats them in the commands
    that it advises.
    """

    data: str | Path
    budget: Budget
    out: Path | None = None
    limits: Limits = field(default_factory=Limits)
    how: How = field(default_factory=How)
    engines: tuple[Engine, ...] = (DEFAULT,)
    threads: int = 1
    seed: int = 0
    restart: bool = False
    device: str = LOCAL.name
    typed: tuple[tuple[str, ...], ...] = ()

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        name = f"{name_of(self.data)}-{self.budget.label()}"
        return self.out or Path("runs", name + suffix(self.device))

    def asked(self) -> dict[str, Any]:
        """All that a run is of, but for the images and how long is trained."""
        asked = {
            "budget": self.budget.to_json(),
            "threads": self.threads,
            "runtime": list(map(str, self.engines)),
            "device": self.device,
        }
        return asked | asked_of(self)

    def training(self, arch: Arch, images: Images) -> TrainingJob:
        """The training of `arch`."""
        start = self.how.start(arch, self.folder)
        return self.how.job(arch, images, start, limits=self.limits, seed=self.seed)


@led
def fit(job: Fitting, *, started: float | None = None) -> Run:
    """Choose, train, export, verify and report, in the run's folder.

    Minutes are those of all of it, from `started` on (`time.monotonic`; None: from now): training
    has what the rest leaves. Every stage is a file there; called again with the same job, what is
    done is not done again, and for more epochs or minutes the training of the network that was
    chosen goes on.
    Raises `NoFitError` where no network fits; an artifact that misses a limit is kept, and the
    summary says so.
    """
    job.budget.check_limited()  # before anything that takes long
    with measuring_on(find_device(job.device)):
        return _fit(job, started)


def _fit(job: Fitting, started: float | None) -> Run:
    started = time.monotonic() if started is None else started
    families, folder = _families(job.how), job.folder
    stages = begun(folder, CHOSEN.name, job.asked, restart=job.restart)
    images = _images(job)
    job = replace(job, how=job.how.settled(images, folder))
    allowance = Allowance(job.how.recipe_for(images, job.limits).minutes, started)
    asked = _choice_inputs(job, images, families)
    trained_before = has_any(folder, TRAINED_FILES) and has_all(folder, CHOSEN.files)
    chosen = stages.run(
        CHOSEN,
        asked,
        lambda: None if trained_before else _choose(job, images, families, allowance),
    )
    training = job.training(chosen.arch, images)
    training = replace(training, recipe=after(chosen.trials, training.recipe))
    trained = stages.run(
        TRAINING_STAGE, training.inputs(), lambda: _train(training, chosen, folder, allowance)
    )
    engine, runtime = chosen.engine, chosen.engine.runtime
    if engine.is_int8:
        source = folder / TRAINED
        stages.run(both(runtime), runtime, lambda: write_both(folder, source, images, runtime))
    artifact = stages.run(exported(engine), runtime, lambda: _export(folder, engine))
    drop_undecided(folder)
    verdict = stages.run(
        _VERIFIED,
        there(job.device),
        lambda: _verify(job, artifact, chosen, trained.checkpoint, images),
    )
    summary = _summary(job, chosen, training, trained) | _from_verdict(verdict, images.task)
    write_json(folder / SUMMARY, summary)
    stages.run(_REPORTED, [], lambda: _report(folder))
    return Run(folder, summary)


def _families(how: How) -> tuple[str, ...] | None:
    """What is chosen among; raises for all that may be mistyped, before images are read."""
    how.check()
    families = how.families()
    if families is not None and not set(families) & set(FAMILIES):
        raise ArchError(
            f"{how.weights} are weights of {', '.join(families)}, and fit chooses among "
            f"{', '.join(FAMILIES)}; train the network by name, as in "
            f"mobilenets train {families[0]} DATA --weights {how.weights}, or give other weights"
        )
    return families


def _images(job: Fitting) -> Images:
    images = read_images(
        job.data, job.folder, seed=job.seed, task=job.how.task, reading=job.how.reading
    )
    if job.limits.class_weights == "balanced":
        images.task.balance(images.targets.take(images.train))  # raises before anything dear
    write_json(job.folder / BUDGET, job.budget.to_json())
    write_json(job.folder / TYPED, job.typed)
    counts = ", ".join(
        f"{len(getattr(images, s))} {s}" for s in ("train", "holdout", "val", "test")
    )
    log.info(
        f"{len(images.task.labels)} {images.task.kinds}; images: {counts}; "
        f"skipped {len(images.skipped)}"
    )
    return images


def _choice_inputs(job: Fitting, images: Images, families: Collection[str] | None) -> list[Any]:
    """What the choice depends on; of trials also on how is trained."""
    read = {"data": images.fingerprint, "rule": asdict(images.rule), "skipped": images.skipped}
    asked = {
        "budget": job.budget.to_json(),
        "threads": job.threads,
        "runtimes": list(map(str, job.engines)),
    }
    inputs = [read, asked, families or (job.how.at_hand or None), *there(job.device)]
    if _trials(job, images) == 1:
        return inputs
    return [*inputs, job.how.inputs(), asdict(job.limits), job.seed]


def _trials(job: Fitting, images: Images) -> int:
    """How many candidates are tried: unless the user says, `TRIALS` where minutes bound a training
    from scratch, though only the first trains where it has the time."""
    if job.how.trials is not None:
        return job.how.trials
    bounded = job.how.recipe_for(images, job.limits).minutes is not None
    return TRIALS if bounded and not job.how.started else 1


def _choose(
    job: Fitting, images: Images, families: Collection[str] | None, allowance: Allowance
) -> None:
    choice, tried = _considered(job, images, families)
    recipe = job.how.recipe_for(images, job.limits)
    minutes = allowance.for_training(_ending(images, tried[0].engine, tried[0].about_ms))

    def trial(arch: Arch, number: int, share: float) -> Trial:
        # A trial of another length is another one: it is not gone on with.
        length = f"{job.limits.epochs or ''}{job.limits.minutes or ''}"
        folder = trial_folder(
            job.folder, "-".join(filter(None, (str(number), arch.full_name, length)))
        )
        return train_trial(job.training(arch, images), number, share, folder, minutes=minutes)

    winner, trials = successive_halving(
        [one.arch for one in tried],
        trial,
        enough=lambda first: (
            job.how.trials is None and has_time(first, replace(recipe, minutes=minutes))
        ),
    )
    keep(job.folder, choice, tried, winner, trials, threads=job.threads)


def _considered(
    job: Fitting, images: Images, families: Collection[str] | None
) -> tuple[Choice, list[Candidate]]:
    """The choice, and the candidates to try."""
    with Exporter() as exporter:
        measure = measured_once(job.folder / LATENCIES, job.threads, exporter.export)
        asked = partial(
            choose_among,
            threads=job.threads,
            runtimes=job.engines,
            measure=measure,
            tables=load_tables(job.engines, job.threads),
        )
        everything = candidates(len(images.task.labels), images.native_size, images.task.head)
        largest = max(everything, key=lambda one: one.arch.size.area)
        if any(engine.is_int8 for engine in job.engines):
            check_int8(largest.arch)
        budget = job.budget.for_graph(expected_host_ms(images.task, largest.arch))
        try:
            choice = asked(_startable(everything, job.how, families), budget)
        except NoFitError as error:
            if not job.how.at_hand:
                raise
            log.warning(f"of the networks with published weights: {error}; choosing among all")
            choice = asked(everything, budget)
        return choice, shortlist(choice, budget, measure, _trials(job, images))


def _startable(
    everything: Sequence[Candidate], how: How, families: Collection[str] | None
) -> list[Candidate]:
    """Those that can start as asked, with what that loses of their expected accuracy."""
    named = (one for one in everything if families is None or one.arch.name in families)
    return [one.less(points) for one in named if (points := how.lost(one.arch)) is not None]


def _ending(images: Images, engine: Engine, latency_ms: float) -> float:
    """The minutes to leave for what comes after the training."""
    return ending_minutes(
        validation=len(images.val),
        holdout=len(images.holdout),
        latency_ms=latency_ms,
        int8=engine.is_int8,
    )


def _train(training: TrainingJob, chosen: Chosen, folder: Path, allowance: Allowance) -> None:
    ending = _ending(training.images, chosen.engine, chosen.about_ms)
    minutes = allowance.for_training(ending)
    if minutes is not None and training.recipe.minutes is not None:
        minutes = min(minutes, training.recipe.minutes)
    allowance.tell(minutes, ending)
    log.info(f"training {training.arch.full_name}")
    training.run(folder, minutes=minutes)


def _export(folder: Path, engine: Engine) -> None:
    artifact = artifact_of(folder, engine)
    log.info(f"exporting {artifact.name}")
    if engine.is_int8:
        return hand_over(folder, engine.precision, engine.runtime)
    return export_isolated([Job(folder / TRAINED, artifact)], engine)


def _verify(
    job: Fitting, artifact: Path, chosen: Chosen, checkpoint: Checkpoint, images: Images
) -> None:
    log.info(f"verifying on {len(images.val)} validation images")
    engine = chosen.engine
    predicted = not_yet_measured(engine, chosen.about_ms, job.threads)
    verdict = verify(
        artifact, checkpoint, images, job.budget, runtime=engine, threads=job.threads,
        max_loss=MAX_DROP if engine.is_int8 else MAX_LOSS, predicted=predicted,
    )  # fmt: skip
    if predicted:
        limit_ms, kit = job.budget.latency_ms, kit_folder(job.folder)
        artifact_kit(kit, artifact, engine, threads=job.threads, limit_ms=limit_ms)
        log.info(f"{kit} measures it on {job.device}")
    predictions = PRESENTERS[images.task.name].predictions(verdict.outputs, images, verdict.task)
    write_json(job.folder / PREDICTIONS, predictions)
    write_json(job.folder / VERDICT, verdict.to_json())


def _summary(
    job: Fitting, chosen: Chosen, training: TrainingJob, trained: Trained
) -> dict[str, Any]:
    expected = expected_top1(training.arch)
    return {
        "chosen": describe_arch(training.arch)
        | {"expected_imagenet_top1": expected and expected.top1},
        "budget": job.budget.to_json(),
        "device": job.device,
        "binding_limit": chosen.binding_limit,
        "trials": [trial.to_json() for trial in chosen.trials],
        "epochs": trained.epochs,
        "recipe_epochs": training.recipe.epochs,
        **circumstances(trained.checkpoint, training.images),
        "artifact": str(artifact_of(job.folder, chosen.engine)),
        "checkpoint": str(job.folder / TRAINED),
        "report": str(job.folder / REPORT),
    }


def _from_verdict(verdict: dict[str, Any], task: Task) -> dict[str, Any]:
    keys = ("images", *PRESENTERS[task.name].in_summary, *FROM_VERDICT)
    return {key: verdict[key] for key in keys if key in verdict}


FROM_VERDICT = (
    "latency",
    "host_ms",
    "size_bytes",
    "macs",
    "params",
    "within_budget",
    "undecided",
    "verified",
    "unclear",
    "complaints",
    "learned",
    "warning",
    "spread",
)


def _report(folder: Path) -> None:
    log.info(f"writing {REPORT}")
    report(folder)
