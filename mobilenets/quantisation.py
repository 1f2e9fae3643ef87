"""`quantise`: a trained network in; in 8-bit integers, scored and timed beside float, out."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from mobilenets.adaptation import images_of, name_of, trained_in
from mobilenets.archs import Budget
from mobilenets.data import Images, Preprocess, decode
from mobilenets.deliver.predictor import load
from mobilenets.deliver.verify import drop_undecided, verify
from mobilenets.errors import MobileNetsError
from mobilenets.files import read_json, write_bytes, write_json
from mobilenets.measurement.latency import compare, measure
from mobilenets.nn import Checkpoint
from mobilenets.runtimes import RUNTIMES, check_runtime
from mobilenets.runtimes.artefact import artefact_name, export_int8, files_of, move, size_of
from mobilenets.runtimes.isolated import Job, export_isolated
from mobilenets.shrink.family import ASKED
from mobilenets.shrink.quantise import Scheme, quantised
from mobilenets.stages import Stages
from mobilenets.tasks import get_task
from mobilenets.words import counted

# Training images that the numbers are taken from.
CALIBRATION = 256
# A gain that is less than sessions differ is none.
_WORTH = 0.97
# h-swish takes this runtime back to float, unless it is taken apart (`runtimes.integer_form`).
_TAKEN_APART = ("onnxruntime",)
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
    runtime: str = "onnxruntime"
    threads: int = 1
    drop: float = 1.0
    smaller: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        if "int8" not in check_runtime(self.runtime).precisions:
            able = ", ".join(name for name, one in RUNTIMES.items() if "int8" in one.precisions)
            raise MobileNetsError(f"{self.runtime} has no int8 here; give one of {able}")
        if not 0 <= self.drop <= 100:
            raise MobileNetsError(f"drop must be 0 to 100 percent, got {self.drop:g}")

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
    if (folder / "trained.safetensors").exists():
        raise MobileNetsError(f"{folder} holds another run; give another --out")
    images = images_of(job.data, checkpoint, folder)
    stages = Stages(folder)
    inputs = [checkpoint.digest(), images.fingerprint, job.runtime]
    stages.run(
        "quantised", inputs, ["schemes.json", *_files(job, "int8"), *_files(job, "fp32")],
        lambda: _quantise(job, checkpoint, images),
    )  # fmt: skip
    stages.run(
        "chosen", [job.threads, job.drop, job.smaller], ["kept.json", *_files(job, "")],
        lambda: _keep(job),
    )  # fmt: skip
    drop_undecided(folder)
    stages.run(
        "verified", job.budget.to_json(), ["verdict.json"],
        lambda: _verify(job, checkpoint, images),
    )  # fmt: skip
    return _summary(job)


def _files(job: Quantisation, part: str) -> list[str]:
    path = Path(part, artefact_name(job.runtime))
    return [str(file) for file in files_of(path)]


def _quantise(job: Quantisation, checkpoint: Checkpoint, images: Images) -> None:
    """Both artefacts, float and int8: of the schemes the one of the least loss on the holdout."""
    float_file = job.folder / "fp32" / artefact_name(job.runtime)
    export_isolated([Job(trained_in(job.source), float_file)], job.runtime)
    held_out = _HeldOut(checkpoint, images)
    float_score = held_out.score(float_file)
    log.info(f"float: holdout loss {float_score['loss']:.4f}")
    found = []
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=".schemes-") as drafts:
        for at, (scheme, model) in enumerate(_models(job, checkpoint, images)):
            draft = Path(drafts, str(at), float_file.name)
            export_int8(model, checkpoint.about() | {"scheme": asdict(scheme)}, job.runtime, draft)
            found.append(asdict(scheme) | held_out.score(draft))
            log.info(f"{scheme.words()}: holdout loss {found[-1]['loss']:.4f}")
        best = min(range(len(found)), key=lambda at: found[at]["loss"])
        (job.folder / "int8").mkdir(exist_ok=True)
        move(Path(drafts, str(best), float_file.name), job.folder / "int8")
    record = {"metric": held_out.task.metric, "float": float_score, "schemes": found}
    write_json(job.folder / "schemes.json", record | {"int8": found[best]})


def _models(
    job: Quantisation, checkpoint: Checkpoint, images: Images
) -> Iterator[tuple[Scheme, Any]]:
    """The network in integers by each scheme."""
    count = min(CALIBRATION, len(images.train))
    log.info(f"quantising, from {counted(count, 'training image')}")
    chosen = np.random.default_rng(images.seed).choice(images.train, count, replace=False)
    pixels = decode(images, chosen, Preprocess.from_json(checkpoint.preprocess))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, artefact_name("onnxruntime"))
        export_isolated([Job(trained_in(job.source), path)], "onnxruntime")
        model = onnx.load(path)
    del model.metadata_props[:]  # the float file's description and seal
    return quantised(model, pixels.float() / 255, hswish=job.runtime in _TAKEN_APART)


class _HeldOut:
    """The images that choose among the schemes."""

    def __init__(self, checkpoint: Checkpoint, images: Images):
        self.task = get_task(checkpoint.task, checkpoint.labels)
        self._pixels = decode(images, images.holdout, Preprocess.from_json(checkpoint.preprocess))
        self._labels = images.labels[images.holdout]

    def score(self, path: Path) -> dict[str, float | None]:
        """The loss and the task's metric of an artefact."""
        logits = load(path).logits(self._pixels)
        loss = self.task.loss(torch.from_numpy(logits), torch.from_numpy(self._labels))
        return {"loss": float(loss), self.task.metric: self.task.score(logits, self._labels).value}


def _keep(job: Quantisation) -> None:
    """Time both in turns, and put the one to hand over beside them."""
    name = artefact_name(job.runtime)
    files = [job.folder / part / name for part in ("fp32", "int8")]
    latencies = measure(files, runtime=job.runtime, threads=job.threads)
    ratio = compare(latencies)[1]
    schemes = read_json(job.folder / "schemes.json")
    lost = (schemes["float"][schemes["metric"]] or 0) - (schemes["int8"][schemes["metric"]] or 0)
    why = objection(job, lost, ratio)
    kept = "fp32" if why else "int8"
    for file in files_of(job.folder / kept / name):
        write_bytes(job.folder / file.name, file.read_bytes())
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
        job.folder / artefact_name(job.runtime), checkpoint, images, job.budget,
        runtime=job.runtime, threads=job.threads, **limits,
    )  # fmt: skip
    write_json(job.folder / "verdict.json", verdict.to_json())


def _summary(job: Quantisation) -> dict[str, Any]:
    kept, schemes, verdict = (
        read_json(job.folder / name) for name in ("kept.json", "schemes.json", "verdict.json")
    )
    summary = {
        **{name: kept[name] for name in ("kept", "why", "lost", "ratio")},
        **{
            part: kept[part] | schemes[name] for part, name in (("fp32", "float"), ("int8", "int8"))
        },
        "schemes": schemes["schemes"],
        **{name: value for name, value in verdict.items() if name not in ("undecided", "limits")},
        "artefact": str(job.folder / artefact_name(job.runtime)),
    }
    write_json(job.folder / "summary.json", summary)
    return summary
