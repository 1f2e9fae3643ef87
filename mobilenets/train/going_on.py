"""Whether a training that was begun in a folder goes on: with the same arguments, or longer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobilenets.errors import FolderTaken
from mobilenets.files import read_json, remove, write_json
from mobilenets.runs.layout import LAST, METRICS, PLAN, TRAINED, TRAINING
from mobilenets.runs.owner import ANEW, TRAINED_FILES, claim

_LENGTH = ("epochs", "minutes", "patience")  # what `Recipe.limited` sets


def claim_training(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Make `folder` the place of the training with these inputs.

    One that was begun there goes on from its last whole epoch where all that differs is how long it
    is. What any other has come to is not thrown away: `FolderTaken`.
    """
    path, asked = folder / TRAINING, json.loads(json.dumps(inputs))
    there = read_json(path) if path.exists() else None
    if there == asked or not _differ_in_length(there, asked):
        claim(
            folder, TRAINING, inputs, dear=TRAINED_FILES, states=(PLAN, METRICS), what="training",
            advice=ANEW,
        )  # fmt: skip
        return
    _check_longer(folder, asked["recipe"])
    remove(folder / PLAN)  # of another length
    write_json(path, asked)


def epochs_done(folder: Path) -> int:
    """How many whole epochs the training in `folder` has behind it."""
    path = folder / METRICS
    if not path.exists() or not (folder / LAST).exists():
        return 0
    return max(0, len(path.read_text().splitlines()) - 1)


def _differ_in_length(one: Any, other: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("recipe"), dict):
        return False
    recipes = [{**run["recipe"], **dict.fromkeys(_LENGTH)} for run in (one, other)]
    return {**one, "recipe": recipes[0]} == {**other, "recipe": recipes[1]}


def _check_longer(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Raise `FolderTaken` where what is in `folder` cannot become a training of that length."""
    if not (folder / LAST).exists():
        if (folder / TRAINED).exists():
            raise FolderTaken(
                f"{folder} holds a training of another length and no {LAST} to go on from; {ANEW}, "
                f"and --weights with a copy of {TRAINED} to start from that"
            )
        return
    done, asked = epochs_done(folder), recipe["epochs"]
    if recipe["minutes"] is None and asked < done:
        raise FolderTaken(
            f"{folder} holds a training of {done} epochs, and {asked} are fewer; {ANEW}"
        )
