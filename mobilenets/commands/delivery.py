"""The last stages, which several verbs have: an artifact exported, and verified."""

from __future__ import annotations

from pathlib import Path

from mobilenets.deliver.record import read_verdict
from mobilenets.measuring.device import LOCAL
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


def there(device: str) -> list[str]:
    """What the device adds to the inputs of a stage that measures: nothing for this machine, as
    in older runs."""
    return [] if device == LOCAL.name else [device]


def suffix(device: str) -> str:
    """What the device adds to the name of a run's folder."""
    return "".join(f"-{name}" for name in there(device))


VERIFIED = Stage("verified", (VERDICT,), read_verdict)
