"""Whose a folder is: asked before anything is written there.

A folder is a command's whose stages its record tells of, known by the first of them; where no
record tells of the training in it, it is that of a library call (`check_owner`). Within a run a
training and an adaptation keep what they were asked for, and know by that whether to go on
(`claim`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilenets.errors import FileError, FolderTaken
from mobilenets.files import read_json, remove, write_json
from mobilenets.runs.layout import (
    BEST,
    IMAGES,
    KEPT,
    LAST,
    STAGES,
    STEPS,
    TRAINED,
    TRAINING,
    VERDICT,
    earlier_folder,
    is_of_run,
)

# What to do where a folder is another's; a training can also begin anew there.
ANOTHER = "give another --out"
ANEW = f"{ANOTHER}, or --restart, which keeps what is there in earlier/"

# First stages of the commands that go on with a training of which no record tells.
_TRAINING = ("chosen", "trained")
_COMMANDS = {"chosen": "fit", "trained": "train", "adapted": "adapt", "quantized": "quantize"}
# What took training or measuring, and is not written over unasked.
TRAINED_FILES = (LAST, BEST, TRAINED)
# What older records lack, and meant.
_UNSAID = {"device": "local"}
_DEAR = (*TRAINED_FILES, STEPS, KEPT, VERDICT)
log = logging.getLogger(__name__)


def check_owner(folder: Path, *, first: str) -> dict[str, str]:
    """The record of the stages done in `folder`, for a run that begins with the stage `first`.

    Raises `FolderTaken` where the folder is another's, and `FileError` for a broken record.
    """
    done = _record(folder)
    if not done and has_any(folder, (TRAINING, TRAINED)) and first not in _TRAINING:
        raise _another_run(folder, "")
    there = next(iter(done), first)
    if there != first:
        raise _another_run(folder, there)
    return done


def claim(
    folder: Path,
    record: str,
    inputs: Mapping[str, Any],
    *,
    dear: Sequence[str] = (),
    states: Sequence[str] = (),
    what: str = "run",
    advice: str = ANOTHER,
) -> None:
    """Make `folder` the work of these inputs, kept in its file `record`.

    What work of other inputs left there is not written over: where any of the `dear` files is
    there, it is refused with a `FolderTaken` that says `what` it is. Without these, its
    `states` are removed.
    """
    path, asked = folder / record, json.loads(json.dumps(inputs))  # tuples become lists, as there
    there = read_json(path) if path.exists() else None
    if there == asked:
        return
    known = _UNSAID | there if isinstance(there, dict) else {}
    other = [name for name in asked if known.get(name) != asked[name]]
    if other and there is not None and has_any(folder, dear):
        of = ", ".join(other)
        raise FolderTaken(f"{folder} holds another {what}, of other {of}; {advice}")
    for name in states:
        remove(folder / name)
    write_json(path, asked)


def check_data(folder: Path, data: object, fingerprint: str) -> None:
    """Raise `FolderTaken` where `folder` holds what came of other images."""
    there = _images_record(folder) if has_any(folder, _DEAR) else {}
    if there.get("fingerprint", fingerprint) == fingerprint:
        return
    was = there.get("data", there.get("name"))
    why = "whose files have changed since" if was == str(data) else f"and not on {data}"
    first = next(iter(_record(folder)), "")
    advice = ANEW if first in _TRAINING else ANOTHER
    raise FolderTaken(f"{folder} holds a run on {was}, {why}; {advice}")


def has_any(folder: Path, names: Sequence[str]) -> bool:
    """Whether one of these files is there."""
    return any((folder / name).exists() for name in names)


def has_all(folder: Path, names: Sequence[str]) -> bool:
    """Whether all of these files are there."""
    return all((folder / name).exists() for name in names)


def set_aside(folder: Path) -> None:
    """Move what a run left in `folder` into a folder of its own there, for another to begin."""
    try:
        left = [one for one in folder.glob("*") if is_of_run(one.name)]
        if left:
            before = [one.name for one in earlier_folder(folder).glob("*")]
            number = max((int(name) for name in before if name.isdecimal()), default=0) + 1
            aside = earlier_folder(folder) / str(number)
            aside.mkdir(parents=True)
            for one in left:
                one.rename(aside / one.name)
            log.info(f"what {folder} held is in {aside}")
    except OSError as error:
        raise FileError(f"cannot set aside what is in {folder}: {error.strerror}") from error


def _record(folder: Path) -> dict[str, str]:
    path = folder / STAGES
    done: dict[str, str] = read_json(path, dict[str, str]) if path.exists() else {}
    return done


def _images_record(folder: Path) -> dict[str, Any]:
    """What it says of the images; nothing where it is broken, for it is written anew then."""
    try:
        found = read_json(folder / IMAGES) if (folder / IMAGES).exists() else {}
    except FileError:
        return {}
    return found if isinstance(found, dict) else {}


def _another_run(folder: Path, first: str) -> FolderTaken:
    """Whose it is, as far as that is known."""
    command = _COMMANDS.get(first)
    whose = f", of `mobilenets {command}`" if command else ""
    data = _images_record(folder).get("data")
    on = f" on {data}" if data and whose else ""
    return FolderTaken(f"{folder} holds another run{whose}{on}; {ANOTHER}")
