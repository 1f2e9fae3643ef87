"""Whose a folder is: asked before anything is written there.

A folder is a command's whose stages its record tells of, known by the first of them; where no
record tells of the training in it, it is that of a library call (`check_owner`). Within a run a
training and an adaptation keep what they were asked for, and know by that whether to go on
(`claim`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilenets.errors import MobileNetsError
from mobilenets.files import read_json, remove, write_json
from mobilenets.runs.layout import STAGES, TRAINED, TRAINING

# First stages of the commands that go on with a training of which no record tells.
_TRAINING = ("chosen", "trained")


def check_owner(folder: Path, *, first: str) -> dict[str, str]:
    """The record of the stages done in `folder`, for a run that begins with the stage `first`.

    Raises `MobileNetsError` where the folder is another's, and `FileError` for a broken record.
    """
    path = folder / STAGES
    if not path.exists():
        left = any((folder / name).exists() for name in (TRAINING, TRAINED))
        if left and first not in _TRAINING:
            raise _another_run(folder)
        return {}
    done: dict[str, str] = read_json(path, dict[str, str])
    if next(iter(done), first) != first:
        raise _another_run(folder)
    return done


def claim(
    folder: Path,
    record: str,
    inputs: Mapping[str, Any],
    *,
    states: Sequence[str] = (),
    dear: str = "",
) -> None:
    """Make `folder` the work of these inputs, kept in its file `record`.

    What work of other inputs left there, its `states`, is removed; but where that was `dear`, such
    as "adaptation", it is refused with a `MobileNetsError`.
    """
    path, asked = folder / record, json.loads(json.dumps(inputs))  # tuples become lists, as there
    there = read_json(path) if path.exists() else None
    if there == asked:
        return
    known = there if isinstance(there, dict) else {}
    other = [name for name in asked if known.get(name) != asked[name]]
    if dear and other and there is not None:
        raise MobileNetsError(
            f"{folder} holds another {dear}, of other {', '.join(other)}; give another --out"
        )
    for name in states:
        remove(folder / name)
    write_json(path, asked)


def _another_run(folder: Path) -> MobileNetsError:
    return MobileNetsError(f"{folder} holds another run; give another --out")
