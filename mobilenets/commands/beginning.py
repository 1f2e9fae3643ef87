"""How a run begins: its folder is its own, or it is refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mobilenets.runs.layout import ASKED
from mobilenets.runs.owner import ANEW, TRAINED_FILES, claim, set_aside
from mobilenets.runs.stages import Stages
from mobilenets.train import How, Limits


class _Asking(Protocol):
    @property
    def how(self) -> How: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def seed(self) -> int: ...


def asked_of(job: _Asking) -> dict[str, Any]:
    """The options of a training that both verbs have, but for how long it is."""
    how, limits = job.how, job.limits
    words = {} if how.named is not None else {"weights": str(how.weights)}
    return (
        how.inputs()
        | words
        | {
            "flip": limits.flip,
            "mixed": limits.mixed_precision,
            "lr": limits.learning_rate,
            "class weights": limits.class_weights,
            "seed": job.seed,
        }
    )


def begun(
    folder: Path, first: str, asked: Callable[[], dict[str, Any]], *, restart: bool
) -> Stages:
    """The stages of the run in `folder`, which begins with the stage `first` and is of what was
    `asked`. Raises `MobileNetsError` where the folder is another command's, or holds a network or
    a state that was trained with other options; with `restart` that is set aside."""
    if restart:
        set_aside(folder)
    stages = Stages(folder, first=first)
    claim(folder, ASKED, asked(), dear=TRAINED_FILES, advice=ANEW)
    return stages
