"""`quantise`: a trained network in; in 8-bit integers, scored and timed beside float, out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.archs import Budget
from mobilenets.data import Images
from mobilenets.deliver.precisions import MAX_DROP, both_files, hand_over, write_both
from mobilenets.deliver.verdict import drop_undecided, verify
from mobilenets.errors import MobileNetsError
from mobilenets.files import read_json, write_json
from mobilenets.measuring.latency import compare, measure
from mobilenets.nn import Checkpoint
from mobilenets.prune.members import ASKED
from mobilenets.runs.stages import Stages
from mobilenets.runs.trained import check_unclaimed, images_of, name_of, trained_in
from mobilenets.runtimes import DEFAULT, Engine, check_runtime
from mobilenets.runtimes.artefact import artefact_name, files_of, size_of
from mobilenets.text import counted

# A gain that is less than sessions differ is none.
_WORTH = 0.97
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quantisation:
    """What to quantise, for what.

    `source` is a checkpoint, or a run folder, whose trained network is meant and whose limits hold.
    At most `drop` percent of the task's metric may be lost. With `smaller` the int8 file is taken
    for its size, even where it is not faster. `out` None is runs/SOURCE-int8.
    """

    source: Path
    data: str | Path
    engine: Engine = DEFAULT
    threads: int = 1
    drop: float = MAX_DROP
    smaller: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        check_runtime(self.engine.in_precision("int8"))
        if self.engine.is_int8:
            raise MobileNetsError(
                f"quantise is for int8 as it is, got {self.engine}; give {self.engine.runtime}"
            )
        if not 0 <= self.drop <= 100:
            raise MobileNetsError(f"drop must be 0 to 100 percent, got {self.drop:g}")

    @property
    def artefact(self) -> Path:
        """The file that is handed over."""
        return self.folder / artefact_name(self.engine.runtime)

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.out or Path("runs", f"{name_of(self.source)}-int8")

    @property
    def budget(self) -> Budget:
        """The limits of the run of `fit` or `adapt` it comes from; none where there are none."""
        fitted, adapted = self.source / "budget.json", self.source / ASKED
        if adapted.is_file():
            return Budget(**read_json(adapted)["budget"])
        return Budget(**read_json(fitted)) if fitted.is_file() else Budget()


def quantise(job: Quantisation) -> dict[str, Any]:
    """Everything, in the run folder; the record that `mobilenets quantise --json` prints.

    The artefact handed over, `model.onnx` or `model.xml`, is int8 where that is faster here and
    loses no more than allowed on the images held out; else it is the float one, and `kept` and
    `why` say so. The same call goes on where a killed one was.
    """
    checkpoint = Checkpoint.load(trained_in(job.source))
    folder = job.folder
    stages = Stages(folder, first="quantised")
    check_unclaimed(folder)
    images = images_of(job.data, checkpoint, folder)
    inputs = [checkpoint.digest(), images.fingerprint, str(job.engine)]
    stages.run(
        "quantised", inputs, both_files(job.engine.runtime),
        lambda: write_both(folder, trained_in(job.source), images, job.engine.runtime),
    )  # fmt: skip
    artefact = [file.name for file in files_of(job.artefact)]
    stages.run(
        "chosen", [job.threads, job.drop, job.smaller], ["kept.json", *artefact],
        lambda: _keep(job),
    )  # fmt: skip
    drop_undecided(folder)
    stages.run(
        "verified", job.budget.to_json(), ["verdict.json"],
        lambda: _verify(job, checkpoint, images),
    )  # fmt: skip
    return _summary(job)


def _keep(job: Quantisation) -> None:
    """Time both in turns, and put the one to hand over beside them."""
    files = [job.folder / part / job.artefact.name for part in ("fp32", "int8")]
    latencies = measure(files, runtime=job.engine, threads=job.threads)
    ratio = compare(latencies)[1]
    schemes = read_json(job.folder / "schemes.json")
    lost = (schemes["float"][schemes["metric"]] or 0) - (schemes["int8"][schemes["metric"]] or 0)
    why = objection(job, lost, ratio)
    kept = "fp32" if why else "int8"
    hand_over(job.folder, kept, job.engine.runtime)
    record = {
        "kept": kept,
        "why": why
        or f"it loses {lost:.2f} points of the {job.drop:g} allowed on the images held out",
        "lost": lost,
        "ratio": ratio,
        **{
            part: {"latency": latency.to_json(), "size_bytes": size_of(file)}
            for part, latency, file in zip(("fp32", "int8"), latencies, files, strict=True)
        },
    }
    write_json(job.folder / "kept.json", record)


def objection(job: Quantisation, lost: float, ratio: float) -> str:
    """Why int8 is not to be handed over; nothing where it is."""
    if lost > job.drop:
        return (
            f"int8 loses {lost:.2f} points on the images held out, more than the {job.drop:g} "
            "allowed; give a larger --drop to have it nevertheless"
        )
    if ratio > _WORTH and not job.smaller:
        return (
            f"int8 takes {ratio:.2f} of float's time here, which gains nothing; give --smaller to "
            "have it for its size"
        )
    return ""


def _verify(job: Quantisation, checkpoint: Checkpoint, images: Images) -> None:
    log.info(f"verifying on {counted(len(images.val), 'validation image')}")
    kept = read_json(job.folder / "kept.json")["kept"]
    limits = {"max_loss": job.drop} if kept == "int8" else {}
    verdict = verify(
        job.artefact, checkpoint, images, job.budget,
        runtime=job.engine, threads=job.threads, **limits,
    )  # fmt: skip
    write_json(job.folder / "verdict.json", verdict.to_json())


def _summary(job: Quantisation) -> dict[str, Any]:
    kept, schemes, verdict = (
        read_json(job.folder / name) for name in ("kept.json", "schemes.json", "verdict.json")
    )
    summary = {
        **{name: kept[name] for name in ("kept", "why", "lost", "ratio")},
        "metric": schemes["metric"],
        **{
            part: kept[part] | schemes[name] for part, name in (("fp32", "float"), ("int8", "int8"))
        },
        "schemes": schemes["schemes"],
        **{name: value for name, value in verdict.items() if name not in ("undecided", "limits")},
        "artefact": str(job.artefact),
    }
    write_json(job.folder / "summary.json", summary)
    return summary
