"""A run folder whose stages are done once: a killed or repeated run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobilenets.errors import FileError, MobileNetsError
from mobilenets.files import read_json, write_json

RECORD = "stages.json"


class Stages:
    """The stages of one run, kept in `folder`/stages.json.

    Each stage is known by the hash of its inputs, which include the stages before it: where one
    changes, everything after it is done again. A run begins with the stage `first`: a folder whose
    record begins with another is another command's, and refused.
    """

    def __init__(self, folder: Path, *, first: str):
        self.folder, self._first = folder, first
        self._chain = ""
        self._done: dict[str, str] = self._read()

    def run(self, name: str, inputs: Any, files: list[str], work: Callable[[], None]) -> bool:
        """Do `work`, which writes `files`, unless it was done with these inputs; whether it ran."""
        self._chain = _hash([self._chain, name, inputs])
        if self._is_done(name, files):
            return False
        self._note(name, "")
        work()
        self._note(name, self._chain)
        return True

    def _note(self, name: str, done: str) -> None:
        self._done[name] = done
        write_json(self.folder / RECORD, self._done)

    def _read(self) -> dict[str, str]:
        path = self.folder / RECORD
        done = read_json(path) if path.exists() else {}
        if not isinstance(done, dict):
            raise FileError(f"{path} is not the record of a run; remove it to start anew")
        if next(iter(done), self._first) != self._first:
            raise another_run(self.folder)
        return done

    def _is_done(self, name: str, files: list[str]) -> bool:
        whole = all((self.folder / file).exists() for file in files)
        return whole and self._done.get(name) == self._chain


def another_run(folder: Path) -> MobileNetsError:
    """What to raise where `folder` is not this run's."""
    return MobileNetsError(f"{folder} holds another run; give another --out")


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
