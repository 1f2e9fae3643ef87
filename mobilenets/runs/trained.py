"""The trained network a command starts from: a checkpoint, or a run folder that has one."""

from __future__ import annotations

from pathlib import Path

from mobilenets.data import Images
from mobilenets.errors import FileError
from mobilenets.nn import Checkpoint
from mobilenets.runs.stages import RECORD, another_run
from mobilenets.train.job import read_images


def trained_in(source: Path) -> Path:
    """The checkpoint of a run folder, or the file itself."""
    path = source / "trained.safetensors" if source.is_dir() else source
    if not path.is_file():
        raise FileError(f"there is no trained network at {path}; give a run folder or a checkpoint")
    return path


def check_unclaimed(folder: Path) -> None:
    """Raise where a training lies in `folder` of which no record of stages tells (`Stages` refuses
    those with one): a library call's, or one that was copied there."""
    left = any((folder / name).exists() for name in ("training.json", "trained.safetensors"))
    if left and not (folder / RECORD).exists():
        raise another_run(folder)


def name_of(source: Path) -> str:
    """What a run that comes from this one is called after: the folder, or folder and file."""
    path = source.resolve()
    return f"{path.parent.name}-{path.stem}" if path.suffix == ".safetensors" else path.stem


def images_of(data: str | Path, start: Checkpoint, folder: Path) -> Images:
    """Split as they were when the start was trained on them: what it has seen validates nothing."""
    return read_images(data, folder, seed=int(start.training.get("seed", 0)))
