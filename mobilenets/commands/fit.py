"""`fit`: images and a budget in, a verified MobileNet out."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, Budget, expected_top1, from_json, to_json
from mobilenets.archs.budget import describe
from mobilenets.archs.published import FAMILIES
from mobilenets.choosing.candidate import Candidate, describe_arch
from mobilenets.choosing.choice import Choice, choose, contenders, measured_once
from mobilenets.choosing.halving import RACING, Lap, after, has_time, hurried, race, train_lap
from mobilenets.choosing.latency_table import load_tables
from mobilenets.commands.adapt import Adaptation, adapt, check_float
from mobilenets.data import Images
from mobilenets.deliver.examples import predictions
from mobilenets.deliver.precisions import MAX_DROP, both_files, hand_over, write_both
from mobilenets.deliver.run_report import report
from mobilenets.deliver.verdict import MAX_LOSS, drop_undecided, verify
from mobilenets.errors import ArchError
from mobilenets.files import read_json, write_json, write_text
from mobilenets.nn import Checkpoint
from mobilenets.processes import group
from mobilenets.prune import Settings
from mobilenets.runs.stages import Stages
from mobilenets.runtimes import in_precision
from mobilenets.runtimes.artefact import artefact_name, files_of
from mobilenets.runtimes.isolated import Exporter, Job, export_isolated
from mobilenets.tasks import TASKS, figure
from mobilenets.text import counted
from mobilenets.train import How, Limits
from mobilenets.train.job import TRAINED, TrainingJob, read_images

# `fit_adapted` starts from a network that takes up to so many times the budget. From 1.5 times a
# narrower network does as well, without adapting (docs/adapt.md).
ROOM = 2.0
# Steps of `fit_adapted`, as those of docs/adapt.md's figures: ten to half the price, not forty.
_STRIDES = Settings(step=0.05, decay=1.0)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what `mobilenets fit --json` prints."""

    folder: Path
    summary: dict[str, Any]

    @property
    def artefact(self) -> Path:
        return Path(self.summary["artefact"])

    @property
    def accepted(self) -> bool:
        """Whether the artefact was verified and meets every limit."""
        return bool(self.summary["verified"] and self.summary["within_budget"])

    def verdict(self) -> str:
        """The outcome in a few lines."""
        summary = self.summary
        latency = summary["latency"]
        title, ours = figure(summary, "_artefact")
        _, theirs = figure(summary, "_checkpoint")
        return "\n".join(
            [
                f"network   {summary['chosen']['full_name']}",
                *self._short_of_time(),
                f"verified  {_yes(summary['verified'])}: {title} {ours} (checkpoint {theirs})",
                f"budget    {_yes(summary['within_budget'])}: p50 {latency['p50_ms']:.3f} ms on "
                f"{counted(latency['threads'], 'thread')}{_in_int8(latency)}, "
                f"{describe('macs', summary['macs'])} MACs, "
                f"{describe('params', summary['params'])} parameters, "
                f"{describe('size_bytes', summary['size_bytes'])}",
                f"artefact  {summary['artefact']}",
                f"report    {summary['report']}",
            ]
        )

    def _short_of_time(self) -> list[str]:
        """What more minutes would change, where the network best expected is another, or was hardly
        trained."""
        summary, raced = self.summary, [lap["name"] for lap in self.summary["race"]]
        if raced and raced[0] != summary["chosen"]["full_name"]:
            return [
                f"race      the best of {counted(len(set(raced)), 'network')} in so little time; "
                f"with more --minutes perhaps {raced[0]}"
            ]
        trained, whole = summary["epochs"], summary["recipe_epochs"]
        if raced or not hurried(trained, whole):
            return []
        return [
            f"trained   {trained:g} of the recipe's {whole} epochs: give more --minutes, or "
            f"--race {RACING}, which tries cheaper networks too"
        ]


def _in_int8(latency: dict[str, Any]) -> str:
    return " in 8-bit integers" if latency["precision"] == "int8" else ""


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


@dataclass(frozen=True)
class _Job:
    """One call of `fit`."""

    data: str | Path
    budget: Budget
    folder: Path
    runtimes: tuple[str, ...]
    threads: int
    seed: int
    how: How
    limits: Limits

    @property
    def runtime(self) -> str:
        """The one that was chosen."""
        return read_json(self.folder / "arch.json")["runtime"]

    @property
    def in_int8(self) -> bool:
        """Whether the network was chosen in 8-bit integers."""
        return read_json(self.folder / "arch.json").get("precision") == "int8"

    @property
    def artefact(self) -> Path:
        return self.folder / artefact_name(self.runtime)


@group.joined()
def fit(
    data: str | Path,
    budget: Budget,
    *,
    out: str | Path | None = None,
    limits: Limits | None = None,
    how: How | None = None,
    runtimes: Sequence[str] = ("onnxruntime",),
    threads: int = 1,
    seed: int = 0,
) -> Run:
    """Choose, train, export, verify and report, in the folder `out` (None: runs/DATA-LIMITS).

    `limits` bounds the training; where minutes do, the race before it, too. The network is for the
    best of `runtimes`, of which "onnxruntime-int8" and "openvino-int8" have it in 8-bit integers.
    `how` says what to train from; with weights, the choice is among the networks that they are of.
    Every stage is a file in the folder; called again with the same arguments, what is done is not
    done again. Raises `NoFitError` where no network fits; an artefact that misses a limit is kept,
    and the summary says so. Started by torchrun, the processes train together; all else the first
    does.
    """
    folder = Path(out) if out is not None else default_folder(data, budget)
    job = _Job(
        data, budget, folder, tuple(runtimes), threads, seed, how or How(), limits or Limits()
    )
    families, images = group.decided(lambda: (_families(job.how), _images(job)))
    stages = Stages(folder, first="chosen")
    read = {"data": images.fingerprint, "rule": asdict(images.rule), "skipped": images.skipped}
    asked = {"budget": budget.to_json(), "threads": threads, "runtimes": list(runtimes)}
    stages.run(
        "chosen", [read, asked, families, *_raced_by(job, images)],
        ["arch.json", "candidates.jsonl"],
        lambda: _choose(job, images, families), together=True,
    )  # fmt: skip
    training = group.decided(lambda: _chosen_training(job, images))
    stages.run("trained", training.inputs(), TRAINED, lambda: _train(job, training), together=True)
    runtime, in_int8, artefact = group.decided(
        lambda: (job.runtime, job.in_int8, [file.name for file in files_of(job.artefact)])
    )
    if in_int8:
        stages.run("quantised", runtime, both_files(runtime), lambda: _quantise(job, images))
    stages.run("exported", runtime, artefact, lambda: _export(job))
    group.decided(lambda: drop_undecided(folder))
    stages.run("verified", [], ["verdict.json", "predictions.json"], lambda: _verify(job, images))
    summary = group.decided(lambda: _summary(job, training.arch))
    stages.run("reported", [], ["report.html", "README.md"], lambda: _report(job))
    return Run(folder, summary)


def fit_adapted(
    data: str | Path,
    budget: Budget,
    *,
    out: str | Path | None = None,
    limits: Limits | None = None,
    how: How | None = None,
    runtimes: Sequence[str] = ("onnxruntime",),
    threads: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """`fit` for a budget twice as large, in the folder `start` of the run, and from there
    `adapt` to this one; the record is that of `adapt`."""
    check_float(runtimes)
    folder = Path(out) if out is not None else default_folder(data, budget)
    job = Adaptation(
        folder / "start", data, budget, runtime=runtimes[0], threads=threads,
        settings=replace(_STRIDES, seed=seed), out=folder,
    )  # fmt: skip
    larger = replace(budget, **{job.limit: ROOM * budget.limits()[job.limit]})
    how = how or How()
    if how.race is None:  # a cheaper network than is asked for leaves nothing to shrink
        how = replace(how, race=1)
    start = fit(
        data, larger, out=job.source, limits=limits, how=how, runtimes=runtimes, threads=threads,
        seed=seed,
    )  # fmt: skip
    return adapt(replace(job, runtime=start.summary["latency"]["runtime"]))


def default_folder(data: str | Path, budget: Budget) -> Path:
    """runs/DATA-LIMITS, such as runs/digits-latency1ms for --latency 1ms."""
    return Path("runs", f"{Path(data).resolve().stem}-{budget.label()}")


def _families(how: How) -> tuple[str, ...] | None:
    """What is chosen among; raises for all that may be mistyped, before images are read."""
    how.check()
    families = how.families()
    if families is not None and not set(families) & set(FAMILIES):
        raise ArchError(
            f"{how.weights} are weights of {', '.join(families)}, and fit chooses among "
            f"{', '.join(FAMILIES)}; train it by name, or give other weights"
        )
    return families


def _images(job: _Job) -> Images:
    images = read_images(job.data, job.folder, seed=job.seed, task=job.how.task)
    write_json(job.folder / "budget.json", job.budget.to_json())
    counts = ", ".join(
        f"{len(getattr(images, s))} {s}" for s in ("train", "holdout", "val", "test")
    )
    log.info(
        f"{len(images.classes)} {images.kinds}; images: {counts}; skipped {len(images.skipped)}"
    )
    return images


def _racing(job: _Job, images: Images) -> int:
    """How many candidates race: unless the user says, `RACING` where minutes bound a training from
    scratch, though only the first trains where it has the time."""
    if job.how.race is not None:
        return job.how.race
    bounded = job.how.recipe_for(images, job.limits).minutes is not None
    return RACING if bounded and job.how.weights is None else 1


def _raced_by(job: _Job, images: Images) -> list[Any]:
    """What a race depends on beside the candidates."""
    if _racing(job, images) == 1:
        return []
    return [job.how.inputs(), asdict(job.limits), job.seed]


def _choose(job: _Job, images: Images, families: Collection[str] | None) -> None:
    """The choice of the first process; where there is a race, all train in it."""
    choice, raced = group.decided(lambda: _considered(job, images, families))
    recipe = job.how.recipe_for(images, job.limits)
    winner, laps = race(
        [one.arch for one in raced],
        lambda *lap: _lap(job, images, *lap),
        enough=lambda first: job.how.race is None and has_time(first, recipe),
    )
    group.decided(lambda: _keep_choice(job, choice, raced, winner, laps))


def _considered(
    job: _Job, images: Images, families: Collection[str] | None
) -> tuple[Choice, list[Candidate]]:
    """The choice, and what races for it."""
    with Exporter() as exporter:
        measure = measured_once(job.folder / "latency.jsonl", job.threads, exporter.export)
        choice = choose(
            job.budget,
            classes=len(images.classes),
            image_size=images.native_size,
            threads=job.threads,
            runtimes=job.runtimes,
            measure=measure,
            tables=load_tables(job.runtimes, job.threads),
            families=families,
        )
        return choice, contenders(choice, job.budget, measure, _racing(job, images))


def _lap(job: _Job, images: Images, arch: Arch, number: int, share: float) -> Lap:
    training = group.decided(lambda: _training(job, images, arch))
    folder = job.folder / "race" / f"{number}-{arch.full_name}"
    return train_lap(training, number, share, folder)


def _keep_choice(
    job: _Job, choice: Choice, raced: list[Candidate], winner: Arch, laps: list[Lap]
) -> None:
    chosen = next(one for one in raced if one.arch == winner)
    runtime, precision = in_precision(chosen.runtime)
    measured = {(one.arch, one.runtime): one for one in raced}
    known = (measured.get((one.arch, one.runtime), one) for one in choice.candidates)
    lines = [json.dumps(one.to_json()) for one in known]
    write_text(job.folder / "candidates.jsonl", "\n".join(lines) + "\n")
    record = {
        "arch": to_json(chosen.arch),
        "runtime": runtime,
        "precision": precision,
        "chosen": chosen.to_json(),
        "binding_limit": choice.binding_limit if winner == raced[0].arch else "training time",
        "considered": choice.considered,
        "threads": job.threads,
        "race": [lap.to_json() for lap in laps],
    }
    write_json(job.folder / "arch.json", record)
    log.info(f"chosen: {chosen.arch.full_name} in {chosen.runtime}")


def _chosen_training(job: _Job, images: Images) -> TrainingJob:
    """Of the network that was chosen, in the time that its race left."""
    record = read_json(job.folder / "arch.json")
    training = _training(job, images, from_json(record["arch"]))
    laps = [Lap(**lap) for lap in record.get("race", [])]
    return replace(training, recipe=after(laps, training.recipe))


def _training(job: _Job, images: Images, arch: Arch) -> TrainingJob:
    return job.how.job(arch, images, job.how.start(arch), limits=job.limits, seed=job.seed)


def _train(job: _Job, training: TrainingJob) -> None:
    log.info(f"training {training.arch.full_name}")
    training.run(job.folder)


def _quantise(job: _Job, images: Images) -> None:
    write_both(job.folder, job.folder / "trained.safetensors", images, job.runtime)


def _export(job: _Job) -> None:
    log.info(f"exporting {job.artefact.name}")
    if job.in_int8:
        return hand_over(job.folder, "int8", job.runtime)
    trained = job.folder / "trained.safetensors"
    return export_isolated([Job(trained, job.artefact)], job.runtime)


def _verify(job: _Job, images: Images) -> None:
    log.info(f"verifying on {len(images.val)} validation images")
    checkpoint = job.folder / "trained.safetensors"
    verdict = verify(
        job.artefact, checkpoint, images, job.budget, runtime=job.runtime, threads=job.threads,
        max_loss=MAX_DROP if job.in_int8 else MAX_LOSS,
    )  # fmt: skip
    write_json(job.folder / "predictions.json", predictions(verdict.logits, images))
    write_json(job.folder / "verdict.json", verdict.to_json())


def _summary(job: _Job, arch: Arch) -> dict[str, Any]:
    verdict = read_json(job.folder / "verdict.json")
    chosen = read_json(job.folder / "arch.json")
    expected = expected_top1(arch)
    training = Checkpoint.load(job.folder / "trained.safetensors").training
    summary = {
        "chosen": describe_arch(arch) | {"expected_imagenet_top1": expected and expected.top1},
        "budget": job.budget.to_json(),
        "binding_limit": chosen["binding_limit"],
        "race": chosen.get("race", []),
        "epochs": training["epochs"],
        "recipe_epochs": read_json(job.folder / "training.json")["recipe"]["epochs"],
        "artefact": str(job.artefact),
        "checkpoint": str(job.folder / "trained.safetensors"),
        "report": str(job.folder / "report.html"),
        **{key: verdict[key] for key in _FROM_VERDICT if key in verdict},
    }
    write_json(job.folder / "summary.json", summary)
    return summary


_FROM_VERDICT = (
    *(f"{task.metric}_{what}" for task in TASKS.values() for what in ("checkpoint", "artefact")),
    "attributes",
    "latency",
    "size_bytes",
    "macs",
    "params",
    "within_budget",
    "verified",
    "complaints",
)


def _report(job: _Job) -> None:
    log.info("writing report.html")
    report(job.folder)
