"""A run folder whose stages are done once: a killed or repeated run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobilenets import group
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
        self._done: dict[str, str] = group.decided(self._read)

    def run(
        self,
        name: str,
        inputs: Any,
        files: list[str],
        work: Callable[[], None],
        *,
        together: bool = False,
    ) -> bool:
        """Do `work`, which writes `files`, unless it was done with these inputs; whether it ran.

        Of several processes the first decides and works, or all do, `together`.
        """
        self._chain = _hash([self._chain, name, inputs])
        if group.decided(lambda: self._is_done(name, files)):
            return False
        if together:
            work()
        else:
            group.decided(work)
        self._done[name] = self._chain
        group.decided(lambda: write_json(self.folder / _RECORD, self._done))
        return True

    def _read(self) -> dict[str, str]:
        path = self.folder / _RECORD
        done = read_json(path) if path.exists() else {}
        if not isinstance(done, dict):
            raise FileError(f"{path} is not the record of a run; remove it to start anew")
        return done

    def _is_done(self, name: str, files: list[str]) -> bool:
        whole = all((self.folder / file).exists() for file in files)
        return whole and self._done.get(name) == self._chain


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
