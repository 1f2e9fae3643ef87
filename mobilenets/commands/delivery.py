"""The last stages, which several verbs have: an artifact exported, and verified."""

from __future__ import annotations

from pathlib import Path

from mobilenets.deliver.record import read_verdict
from mobilenets.runs.layout import VERDICT
from mobilenets.runs.stages import Stage
from mobilenets.runtimes import Engine
from mobilenets.runtimes.artifact import artifact_name, files_of


def artifact_of(folder: Path, engine: Engine) -> Path:
    """The file that a run delivers."""
    return folder / artifact_name(engine.runtime)


def exported(engine: Engine) -> Stage[Path]:
    """The artifact."""
    return Stage("exported", artifact_files(engine), lambda folder: artifact_of(folder, engine))


def artifact_files(engine: Engine) -> tuple[str, ...]:
    """The names of the artifact's files, in the run's folder."""
    return tuple(file.name for file in files_of(Path(artifact_name(engine.runtime))))


VERIFIED = Stage("verified", (VERDICT,), read_verdict)
