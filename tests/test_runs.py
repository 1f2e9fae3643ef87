"""A run's folder: its files' names stand in one place, and it is nobody's but its run's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mobilenets.archs
from mobilenets.errors import FileError, MobileNetsError
from mobilenets.files import read_json, write_json
from mobilenets.runs import layout
from mobilenets.runs.owner import check_owner, claim

PACKAGE = Path(mobilenets.archs.__file__).parents[1]
NAMES = {value for name, value in vars(layout).items() if name.isupper()}


def strings(source: str) -> set[str]:
    return {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_the_layout_names_every_file_once():
    values = [value for name, value in vars(layout).items() if name.isupper()]

    assert len(values) == len(NAMES)
    assert {"trained.safetensors", "verdict.json", "steps.jsonl", "README.md"} <= NAMES


def test_the_names_of_a_runs_files_stand_in_the_layout_only():
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in PACKAGE.rglob("*.py")
        for name in strings(path.read_text()) & NAMES
    }

    assert found == {("runs/layout.py", name) for name in NAMES}


@pytest.mark.parametrize("first", ["chosen", "trained", "adapted", "quantised"])
def test_a_folder_is_that_of_the_command_whose_stage_came_first(tmp_path: Path, first: str):
    assert check_owner(tmp_path, first=first) == {}
    write_json(tmp_path / "stages.json", {first: "", "verified": "x"})

    assert check_owner(tmp_path, first=first) == {first: "", "verified": "x"}
    with pytest.raises(MobileNetsError, match=f"{tmp_path} holds another run; give another --out"):
        check_owner(tmp_path, first="another")


@pytest.mark.parametrize("left", ["training.json", "trained.safetensors"])
def test_a_training_without_a_record_is_gone_on_with_and_not_cut_or_quantised(
    tmp_path: Path, left: str
):
    write_json(tmp_path / left, {})

    assert check_owner(tmp_path, first="trained") == check_owner(tmp_path, first="chosen") == {}
    for first in ("adapted", "quantised"):
        with pytest.raises(MobileNetsError, match="holds another run; give another --out"):
            check_owner(tmp_path, first=first)


def test_a_broken_record_of_stages_is_named(tmp_path: Path):
    write_json(tmp_path / "stages.json", ["trained"])

    with pytest.raises(
        FileError, match=r"stages\.json is broken \(it must be an object.*move it away"
    ):
        check_owner(tmp_path, first="trained")


def test_what_work_of_other_inputs_left_is_removed(tmp_path: Path):
    state = tmp_path / "state"
    claim(tmp_path, "asked.json", {"sizes": (1, 2)}, states=["state"])
    state.touch()

    claim(tmp_path, "asked.json", {"sizes": (1, 2)}, states=["state"])
    assert state.exists()
    claim(tmp_path, "asked.json", {"sizes": (1, 3)}, states=["state"])
    assert not state.exists()
    assert read_json(tmp_path / "asked.json") == {"sizes": [1, 3]}


def test_what_was_dear_is_refused_to_work_of_other_inputs(tmp_path: Path):
    claim(tmp_path, "asked.json", {"a": 1, "b": 2, "c": 3}, dear="adaptation")

    claim(tmp_path, "asked.json", {"a": 1, "b": 2, "c": 3}, dear="adaptation")
    with pytest.raises(
        MobileNetsError,
        match=r"holds another adaptation, of other a, c; give another --out$",
    ):
        claim(tmp_path, "asked.json", {"a": 9, "b": 2, "c": 9}, dear="adaptation")
    assert read_json(tmp_path / "asked.json") == {"a": 1, "b": 2, "c": 3}
