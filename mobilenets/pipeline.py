"""`fit`: images and a budget in, a verified MobileNet out."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobilenets.archs import Arch, Budget, expected_top1, from_json, to_json
from mobilenets.archs.budget import describe
from mobilenets.data import Images, load_images
from mobilenets.deliver.examples import predictions
from mobilenets.deliver.report import report
from mobilenets.deliver.verify import verify
from mobilenets.files import read_json, write_json, write_text
from mobilenets.measurement.candidates import describe_arch
from mobilenets.measurement.choose import choose, measured_whole
from mobilenets.measurement.device import device_name
from mobilenets.measurement.journal import Measure, journalled
from mobilenets.measurement.table import load_tables
from mobilenets.runtimes import RUNTIMES
from mobilenets.runtimes.artefact import artefact_name, files_of
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.stages import Stages
from mobilenets.train import Limits, Recipe, from_scratch, train

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
        return "\n".join(
            [
                f"network   {summary['chosen']['full_name']}",
                f"verified  {_yes(summary['verified'])}: top-1 {summary['top1_artefact']:.2f} % "
                f"(checkpoint {summary['top1_checkpoint']:.2f} %)",
                f"budget    {_yes(summary['within_budget'])}: p50 {latency['p50_ms']:.3f} ms on "
                f"{latency['threads']} thread, {describe('macs', summary['macs'])} MACs, "
                f"{describe('params', summary['params'])} parameters, "
                f"{describe('size_bytes', summary['size_bytes'])}",
                f"artefact  {summary['artefact']}",
                f"report    {summary['report']}",
            ]
        )


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

    @property
    def runtime(self) -> str:
        """The one that was chosen."""
        return read_json(self.folder / "arch.json")["runtime"]

    @property
    def artefact(self) -> Path:
        return self.folder / artefact_name(self.runtime)


def fit(
    data: str | Path,
    budget: Budget,
    *,
    out: str | Path | None = None,
    limits: Limits | None = None,
    runtimes: Sequence[str] = ("onnxruntime",),
    threads: int = 1,
    seed: int = 0,
) -> Run:
    """Choose, train, export, verify and report, in the folder `out` (None: runs/DATA-LIMITS).

    `limits` bounds the training; the network is for the best of `runtimes`. Every stage is a file
    in the folder; called again with the same arguments, what is done is not done again. Raises
    `NoFitError` where no network fits; an artefact that misses a limit is kept, and the summary
    says so.
    """
    folder = Path(out) if out is not None else default_folder(data, budget)
    job = _Job(data, budget, folder, tuple(runtimes), threads, seed)
    folder.mkdir(parents=True, exist_ok=True)
    stages = Stages(folder)
    images = _images(job)
    read = {"data": images.fingerprint, "rule": asdict(images.rule), "skipped": images.skipped}
    asked = {"budget": budget.to_json(), "threads": threads, "runtimes": list(runtimes)}
    stages.run(
        "chosen", [read, asked], ["arch.json", "candidates.jsonl"], lambda: _choose(job, images)
    )
    arch = from_json(read_json(folder / "arch.json")["arch"])
    recipe = from_scratch(flip=images.flip).limited(limits or Limits())
    stages.run(
        "trained", [asdict(recipe), seed], ["trained.safetensors", "metrics.csv"],
        lambda: _train(job, images, arch, recipe),
    )  # fmt: skip
    artefact = [file.name for file in files_of(job.artefact)]
    stages.run("exported", job.runtime, artefact, lambda: _export(job))
    stages.run("verified", [], ["verdict.json", "predictions.json"], lambda: _verify(job, images))
    summary = _summary(job, arch)
    write_json(folder / "summary.json", summary)
    stages.run("reported", [], ["report.html", "README.md"], lambda: _report(job))
    return Run(folder, summary)


def default_folder(data: str | Path, budget: Budget) -> Path:
    """runs/DATA-LIMITS, such as runs/digits-latency1 for --latency 1ms."""
    words = [f"{name.split('_')[0]}{value:g}" for name, value in budget.limits().items()]
    return Path("runs", "-".join([Path(data).resolve().stem, *words]))


def _images(job: _Job) -> Images:
    """Reading is repeated in each run; what could be read is remembered from the last."""
    path = job.folder / "images.json"
    known = read_json(path) if path.exists() else None
    log.info(f"reading {job.data}")
    images = load_images(job.data, seed=job.seed, known=known)
    write_json(path, images.to_json())
    write_json(job.folder / "budget.json", job.budget.to_json())
    counts = ", ".join(
        f"{len(getattr(images, s))} {s}" for s in ("train", "holdout", "val", "test")
    )
    log.info(f"{len(images.classes)} classes; images: {counts}; skipped {len(images.skipped)}")
    return images


def _choose(job: _Job, images: Images) -> None:
    choice = choose(
        job.budget,
        classes=len(images.classes),
        image_size=images.native_size,
        threads=job.threads,
        runtimes=job.runtimes,
        measure=_measure(job),
        tables=load_tables(job.runtimes, job.threads),
    )
    lines = [json.dumps(candidate.to_json()) for candidate in choice.candidates]
    write_text(job.folder / "candidates.jsonl", "\n".join(lines) + "\n")
    record = {
        "arch": to_json(choice.chosen.arch),
        "runtime": choice.chosen.runtime,
        "chosen": choice.chosen.to_json(),
        "binding_limit": choice.binding_limit,
        "considered": choice.considered,
        "threads": job.threads,
    }
    write_json(job.folder / "arch.json", record)
    log.info(f"chosen: {choice.chosen.arch.full_name}")


def _measure(job: _Job) -> Measure:
    """Measuring in a runtime, with what was measured here before kept in latency.jsonl."""

    def conditions(runtime: str) -> str:
        return f"{device_name()}, {runtime} {RUNTIMES[runtime].version()}, {job.threads}"

    return journalled(job.folder / "latency.jsonl", conditions, measured_whole(job.threads))


def _train(job: _Job, images: Images, arch: Arch, recipe: Recipe) -> None:
    log.info(f"training {arch.full_name}")
    checkpoint = train(arch, images, recipe, folder=job.folder, seed=job.seed)
    checkpoint.save(job.folder / "trained.safetensors")
    for name in ("last.ckpt", "best.ckpt"):
        (job.folder / name).unlink(missing_ok=True)


def _export(job: _Job) -> None:
    log.info(f"exporting {job.artefact.name}")
    export_isolated([Job(job.folder / "trained.safetensors", job.artefact)], job.runtime)


def _verify(job: _Job, images: Images) -> None:
    log.info(f"verifying on {len(images.val)} validation images")
    checkpoint = job.folder / "trained.safetensors"
    verdict = verify(
        job.artefact, checkpoint, images, job.budget, runtime=job.runtime, threads=job.threads
    )
    write_json(job.folder / "predictions.json", predictions(verdict.logits, images))
    write_json(job.folder / "verdict.json", verdict.to_json())


def _summary(job: _Job, arch: Arch) -> dict[str, Any]:
    verdict = read_json(job.folder / "verdict.json")
    chosen = read_json(job.folder / "arch.json")
    expected = expected_top1(arch)
    return {
        "chosen": describe_arch(arch) | {"expected_imagenet_top1": expected and expected.top1},
        "budget": job.budget.to_json(),
        "binding_limit": chosen["binding_limit"],
        "artefact": str(job.artefact),
        "checkpoint": str(job.folder / "trained.safetensors"),
        "report": str(job.folder / "report.html"),
        **{key: verdict[key] for key in _FROM_VERDICT},
    }


_FROM_VERDICT = (
    "top1_checkpoint",
    "top1_artefact",
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
