"""The trained network a command starts from: a checkpoint, or a run folder that has one."""

from __future__ import annotations

from pathlib import Path

from mobilenets.archs import Budget
from mobilenets.data import Images, Preprocess
from mobilenets.data.trained_on import unseen
from mobilenets.errors import FileError
from mobilenets.files import read_json
from mobilenets.nn import Checkpoint
from mobilenets.prune.members import Asked
from mobilenets.runs.layout import ADAPTATION, BUDGET, TRAINED
from mobilenets.runtimes import RUNTIMES
from mobilenets.runtimes.artifact import artifact_name
from mobilenets.train.job import read_images


def trained_in(source: Path) -> Path:
    """The checkpoint of a run folder, or the file itself."""
    path = source / TRAINED if source.is_dir() else source
    if not path.is_file():
        raise FileError(f"there is no trained network at {path}; give a run folder or a checkpoint")
    return path


def network_in(source: Path) -> Path:
    """The artifact of a run folder, where it has none its checkpoint; or the file itself."""
    if not source.is_dir():
        return source
    artifacts = (source / artifact_name(runtime) for runtime in RUNTIMES)
    found = next((path for path in artifacts if path.is_file()), None)
    return found or trained_in(source)


def budget_of(source: Path) -> Budget:
    """The limits of the run of `fit` or `adapt` that it is; none where there are none."""
    fitted, adapted = source / BUDGET, source / ADAPTATION
    if adapted.is_file():
        return Asked.read(source).budget
    return read_json(fitted, Budget) if fitted.is_file() else Budget()


def name_of(source: Path) -> str:
    """What a run that comes from this one is called after: the folder, or folder and file."""
    path = source.resolve()
    return f"{path.parent.name}-{path.stem}" if path.suffix == ".safetensors" else path.name


def images_of(
    data: str | Path, start: Checkpoint, folder: Path, *, file: Path | None = None
) -> Images:
    """Split as they were when the start, which is in `file`, was trained on them: what it has seen
    validates nothing; and read as they were."""
    seed = start.training.get("seed", 0)
    reading = Preprocess.from_json(start.preprocess).reading
    images = read_images(data, folder, seed=seed, reading=reading)
    return images if file is None else unseen(images, file, start.training)
