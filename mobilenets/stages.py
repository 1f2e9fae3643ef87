"""A run folder whose stages are done once: a killed or repeated run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobilenets.errors import FileError
from mobilenets.files import read_json, write_json

_RECORD = "stages.json"


class Stages:
    """The stages of one run, kept in `folder`/stages.json.

    Each stage is known by the hash of its inputs, which include the stages before it: where one
    changes, everything after it is done again.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._chain = ""
        path = folder / _RECORD
        self._done: dict[str, str] = read_json(path) if path.exists() else {}
        if not isinstance(self._done, dict):
            raise FileError(f"{path} is not the record of a run; remove it to start anew")

    def run(self, name: str, inputs: Any, files: list[str], work: Callable[[], None]) -> bool:
        """Do `work`, which writes `files`, unless it was done with these inputs; whether it ran."""
        self._chain = _hash([self._chain, name, inputs])
        whole = all((self.folder / file).exists() for file in files)
        if whole and self._done.get(name) == self._chain:
            return False
        work()
        self._done[name] = self._chain
        write_json(self.folder / _RECORD, self._done)
        return True


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
