"""The last stages, which several verbs have: an artefact exported, and verified."""

from __future__ import annotations

from pathlib import Path

from mobilenets.deliver.record import read_verdict
from mobilenets.runs.layout import VERDICT
from mobilenets.runs.stages import Stage
from mobilenets.runtimes import Engine
from mobilenets.runtimes.artefact import artefact_name, files_of


def artefact_of(folder: Path, engine: Engine) -> Path:
    """The file that a run hands over."""
    return folder / artefact_name(engine.runtime)


def exported(engine: Engine) -> Stage[Path]:
    """The artefact."""
    return Stage("exported", artefact_files(engine), lambda folder: artefact_of(folder, engine))


def artefact_files(engine: Engine) -> tuple[str, ...]:
    """The names of the artefact's files, in the run's folder."""
    return tuple(file.name for file in files_of(Path(artefact_name(engine.runtime))))


VERIFIED = Stage("verified", (VERDICT,), read_verdict)
