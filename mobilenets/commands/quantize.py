"""`quantize`: a trained network in; quantized to int8, scored and timed beside fp32, out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from mobilenets.archs import Budget
from mobilenets.commands.delivery import (
    VERIFIED,
    artifact_files,
    artifact_of,
    suffix,
    there,
)
from mobilenets.commands.origin import budget_of, images_of, name_of, trained_in
from mobilenets.data import Images
from mobilenets.data.trained_on import carry
from mobilenets.deliver.verdict import MAX_LOSS, cannot_tell, drop_undecided, verify
from mobilenets.devices.registry import find_device
from mobilenets.errors import MobileNetsError
from mobilenets.files import read_json, write_json
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.measuring.latency import LatencyRecord, compare, measure
from mobilenets.nn import Checkpoint
from mobilenets.quantize.precisions import MAX_DROP, both, check_int8, hand_over, write_both
from mobilenets.runs.layout import ASKED, KEPT, SUMMARY, VERDICT
from mobilenets.runs.owner import claim
from mobilenets.runs.stages import Stage, Stages
from mobilenets.runtimes import DEFAULT, Engine, check_runtime
from mobilenets.runtimes.artifact import size_of
from mobilenets.shapes import Count, Number
from mobilenets.tasks.confidence import Lost
from mobilenets.text import counted

# A gain that is less than sessions differ is none.
_WORTH = 0.97
log = logging.getLogger(__name__)


class _Part(TypedDict):
    latency: LatencyRecord
    size_bytes: Count


class _Kept(TypedDict):
    """What kept.json tells: which of both files is delivered, and why."""

    kept: Literal["fp32", "int8"]
    why: str
    lost: Number
    lost_at_least: Number
    held_out: Count
    ratio: Number
    fp32: _Part
    int8: _Part


@dataclass(frozen=True)
class Quantization:
    """What to quantize, for what.

    `source` is a checkpoint, or a run folder, whose trained network is meant and whose limits hold.
    At most `max_drop` percent of the task's metric may be lost. With `smaller` the int8 file is
    taken for its size, even where it is not faster. Latency is that on `device`. `out` None is
    runs/SOURCE-int8.
    """

    source: Path
    data: str | Path
    engine: Engine = DEFAULT
    threads: int = 1
    max_drop: float = MAX_DROP
    smaller: bool = False
    out: Path | None = None
    device: str = LOCAL.name

    def __post_init__(self) -> None:
        check_runtime(self.engine.in_precision("int8"))
        if self.engine.is_int8:
            raise MobileNetsError(
                f"quantize writes int8 without being asked, got {self.engine}; give "
                f"--runtime {self.engine.runtime}"
            )
        if not 0 <= self.max_drop <= 100:
            raise MobileNetsError(f"max_drop must be 0 to 100 percent, got {self.max_drop:g}")

    @property
    def artifact(self) -> Path:
        """The file that is delivered."""
        return artifact_of(self.folder, self.engine)

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.out or Path("runs", f"{name_of(self.source)}-int8{suffix(self.device)}")


def quantize(job: Quantization) -> dict[str, Any]:
    """Everything, in the run folder; the record that `mobilenets quantize --json` prints.

    The artifact delivered, `model.onnx` or `model.xml`, is int8 where that is faster here and
    loses no more than allowed on the images held out, as far as so many can tell; else it is the
    float one, and `kept` and `why` say so. The same call goes on where a killed one was.
    """
    with measuring_on(find_device(job.device)):
        return _quantize(job)


def _quantize(job: Quantization) -> dict[str, Any]:
    source, folder, runtime = trained_in(job.source), job.folder, job.engine.runtime
    checkpoint, stage, budget = Checkpoint.load(source), both(runtime), budget_of(job.source)
    check_int8(checkpoint.arch)
    stages = Stages(folder, first=stage.name)
    claim(folder, ASKED, {"network": checkpoint.digest()}, dear=(KEPT, VERDICT))
    images = images_of(job.data, checkpoint, folder, file=source)
    carry(source, checkpoint.training, folder)
    inputs = [checkpoint.digest(), images.fingerprint, str(job.engine)]
    schemes = stages.run(stage, inputs, lambda: write_both(folder, source, images, runtime))
    files = (KEPT, *artifact_files(job.engine))
    choice = Stage("chosen", files, lambda folder: read_json(folder / KEPT, _Kept))
    asked = [job.threads, job.max_drop, job.smaller, *there(job.device)]
    kept = stages.run(choice, asked, lambda: _keep(job, schemes))
    drop_undecided(folder)
    verdict = stages.run(
        VERIFIED, budget.to_json(), lambda: _verify(job, kept, checkpoint, images, budget)
    )
    return _summary(job, schemes, kept, verdict)


def _keep(job: Quantization, schemes: dict[str, Any]) -> None:
    """Time both interleaved, and put the one to deliver beside them."""
    name = job.artifact.name
    files = [job.folder / part / name for part in ("fp32", "int8")]
    latencies = measure(files, runtime=job.engine, threads=job.threads)
    ratio = compare(latencies)[1]
    lost: Lost = schemes["lost"]
    why = objection(job, lost, ratio)
    kept = "fp32" if why else "int8"
    hand_over(job.folder, kept, job.engine.runtime)
    record = {
        "kept": kept,
        "why": why or _accepted(job, lost),
        "lost": lost.points,
        "lost_at_least": lost.at_least,
        "held_out": lost.images,
        "ratio": ratio,
        **{
            part: {"latency": latency.to_json(), "size_bytes": size_of(file)}
            for part, latency, file in zip(("fp32", "int8"), latencies, files, strict=True)
        },
    }
    write_json(job.folder / KEPT, record)


def _accepted(job: Quantization, lost: Lost) -> str:
    """Why the loss is no objection."""
    unclear = cannot_tell(lost, job.max_drop)
    if unclear:
        return f"{unclear} on all held-out images"
    return (
        f"it loses {lost.points:.2f} points of the {job.max_drop:g} allowed on all held-out "
        f"images, {lost.words}"
    )


def objection(job: Quantization, lost: Lost, ratio: float) -> str:
    """Why int8 is not to be delivered; nothing where it is. A loss counts where so many images
    can tell that it is more than allowed."""
    if lost.is_beyond(job.max_drop):
        return (
            f"int8 loses {lost.points:.2f} points on all held-out images ({lost.words}), more than "
            f"the {job.max_drop:g} allowed; give a larger --max-drop to have it nevertheless"
        )
    if ratio > _WORTH and not job.smaller:
        return (
            f"int8 takes {ratio:.2f} of the time of fp32 {_where(job)}, which gains nothing; give "
            "--smaller to have it for its size"
        )
    return ""


def _where(job: Quantization) -> str:
    return "here" if job.device == LOCAL.name else f"on {job.device}"


def _verify(
    job: Quantization, kept: dict[str, Any], checkpoint: Checkpoint, images: Images, budget: Budget
) -> None:
    log.info(f"verifying on {counted(len(images.val), 'validation image')}")
    verdict = verify(
        job.artifact, checkpoint, images, budget,
        runtime=job.engine, threads=job.threads,
        max_loss=job.max_drop if kept["kept"] == "int8" else MAX_LOSS,
    )  # fmt: skip
    write_json(job.folder / VERDICT, verdict.to_json())


def _summary(
    job: Quantization, schemes: dict[str, Any], kept: dict[str, Any], verdict: dict[str, Any]
) -> dict[str, Any]:
    summary = {
        **{name: kept[name] for name in ("kept", "why", "lost_at_least", "held_out", "ratio")},
        "metric": schemes["metric"],
        **{
            part: kept[part] | schemes[name] for part, name in (("fp32", "float"), ("int8", "int8"))
        },
        "schemes": schemes["schemes"],
        **{name: value for name, value in verdict.items() if name not in ("lost", "limits")},
        "lost": kept["lost"],
        "artifact": str(job.artifact),
        "device": job.device,
    }
    write_json(job.folder / SUMMARY, summary)
    return summary
