"""A run folder whose stages are done once: a killed or repeated run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mobilenets.errors import FolderTaken
from mobilenets.files import make_folder, write_json
from mobilenets.runs.layout import STAGES
from mobilenets.runs.owner import check_owner

T = TypeVar("T")


@dataclass(frozen=True)
class Stage(Generic[T]):
    """A stage: its files, which nobody else writes, and how its value is `read` from the folder."""

    name: str
    files: tuple[str, ...]
    read: Callable[[Path], T]


class Stages:
    """The stages of one run, kept in `folder`/stages.json.

    Each stage is known by the hash of its inputs, which include the stages before it: where one
    changes, everything after it is done again. Raises `MobileNetsError` for a folder that is not
    that of a run which begins with the stage `first` (`check_owner`).
    """

    def __init__(self, folder: Path, *, first: str):
        self.folder = make_folder(folder)  # before anything dear is done
        self._chain = ""
        self._done = check_owner(folder, first=first)

    def run(self, stage: Stage[T], inputs: Any, work: Callable[[], object]) -> T:
        """The stage's value. `work`, which writes its files, is done unless it was with these
        inputs."""
        self._chain = _hash([self._chain, stage.name, inputs])
        if not self._is_done(stage):
            before = dict(self._done)
            self._note(stage.name, "")
            try:
                work()
            except FolderTaken:  # all is as it was
                self._done = before
                write_json(self.folder / STAGES, before)
                raise
            self._note(stage.name, self._chain)
        return stage.read(self.folder)

    def _note(self, name: str, done: str) -> None:
        self._done[name] = done
        write_json(self.folder / STAGES, self._done)

    def _is_done(self, stage: Stage[Any]) -> bool:
        whole = all((self.folder / file).exists() for file in stage.files)
        return whole and self._done.get(stage.name) == self._chain


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
