"""A run's folder: its files' names stand in one place, and it is nobody's but its run's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from PIL import Image

import mobilenets.archs
from mobilenets.archs import Budget
from mobilenets.commands.fit import Fitting
from mobilenets.commands.origin import name_of
from mobilenets.commands.train import Training
from mobilenets.data import load_images
from mobilenets.errors import FileError, FolderTaken
from mobilenets.files import read_json, write_json
from mobilenets.runs import layout
from mobilenets.runs.owner import check_data, check_owner, claim, set_aside
from mobilenets.runs.stages import Stage, Stages

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


COMMANDS = {"chosen": "fit", "trained": "train", "adapted": "adapt", "quantized": "quantize"}


@pytest.mark.parametrize("first", COMMANDS)
def test_a_folder_is_that_of_the_command_whose_stage_came_first(tmp_path: Path, first: str):
    assert check_owner(tmp_path, first=first) == {}
    write_json(tmp_path / "stages.json", {first: "", "verified": "x"})
    write_json(tmp_path / "images.json", {"data": "a/photos"})

    assert check_owner(tmp_path, first=first) == {first: "", "verified": "x"}
    with pytest.raises(
        FolderTaken,
        match=f"{tmp_path} holds another run, of `mobilenets {COMMANDS[first]}` on a/photos; give "
        "another --out",
    ):
        check_owner(tmp_path, first="another")


@pytest.mark.parametrize("left", ["training.json", "trained.safetensors"])
def test_a_training_without_a_record_is_gone_on_with_and_not_cut_or_quantized(
    tmp_path: Path, left: str
):
    write_json(tmp_path / left, {})

    assert check_owner(tmp_path, first="trained") == check_owner(tmp_path, first="chosen") == {}
    for first in ("adapted", "quantized"):
        with pytest.raises(FolderTaken, match="holds another run; give another --out"):
            check_owner(tmp_path, first=first)


def test_a_broken_record_of_stages_is_named(tmp_path: Path):
    write_json(tmp_path / "stages.json", ["trained"])

    with pytest.raises(
        FileError, match=r"stages\.json is broken \(it must be an object.*move it away"
    ):
        check_owner(tmp_path, first="trained")


def test_what_work_of_other_inputs_left_is_removed_where_nothing_is_dear(tmp_path: Path):
    state = tmp_path / "state"
    claim(tmp_path, "asked.json", {"sizes": (1, 2)}, states=["state"], dear=["trained"])
    state.touch()

    claim(tmp_path, "asked.json", {"sizes": (1, 2)}, states=["state"], dear=["trained"])
    assert state.exists()
    claim(tmp_path, "asked.json", {"sizes": (1, 3)}, states=["state"], dear=["trained"])
    assert not state.exists()
    assert read_json(tmp_path / "asked.json") == {"sizes": [1, 3]}


def test_what_is_dear_is_refused_to_work_of_other_inputs(tmp_path: Path):
    def ask(**inputs: int) -> None:
        claim(tmp_path, "asked.json", inputs, dear=["trained"], states=["plan"], what="training")

    ask(a=1, b=2, c=3)
    for name in ("trained", "plan"):
        (tmp_path / name).touch()

    ask(a=1, b=2, c=3)
    with pytest.raises(
        FolderTaken, match=r"holds another training, of other a, c; give another --out$"
    ):
        ask(a=9, b=2, c=9)
    assert read_json(tmp_path / "asked.json") == {"a": 1, "b": 2, "c": 3}
    assert (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("b/photos", "holds a run on a/photos, and not on b/photos; give another --out, or --res"),
        ("a/photos", "holds a run on a/photos, whose files have changed since; give another --out"),
    ],
)
@pytest.mark.parametrize("dear", ["trained.safetensors", "last.ckpt", "best.ckpt", "verdict.json"])
def test_a_run_on_other_images_is_not_written_over(
    tmp_path: Path, data: str, sentence: str, dear: str
):
    write_json(tmp_path / "images.json", {"data": "a/photos", "fingerprint": "1"})
    write_json(tmp_path / "stages.json", {"trained": "x"})

    check_data(tmp_path, data, "2")  # nothing has come of them
    (tmp_path / dear).touch()
    check_data(tmp_path, data, "1")
    with pytest.raises(FolderTaken, match=sentence):
        check_data(tmp_path, data, "2")


@pytest.mark.parametrize(("first", "restarts"), [("trained", True), ("quantized", False)])
def test_only_what_can_be_restarted_says_so(tmp_path: Path, first: str, restarts: bool):
    write_json(tmp_path / "images.json", {"name": "photos", "fingerprint": "1"})
    write_json(tmp_path / "stages.json", {first: "x"})
    (tmp_path / "verdict.json").touch()

    with pytest.raises(FolderTaken) as error:
        check_data(tmp_path, "photos", "2")
    assert ("--restart" in str(error.value)) == restarts


def test_a_refused_stage_is_as_done_as_before(tmp_path: Path):
    def refused() -> None:
        raise FolderTaken("taken")

    one = Stage("trained", ("file",), lambda folder: (folder / "file").read_text())
    Stages(tmp_path, first="trained").run(one, 1, lambda: (tmp_path / "file").write_text("dear"))
    with pytest.raises(FolderTaken):
        Stages(tmp_path, first="trained").run(one, 2, refused)

    assert Stages(tmp_path, first="trained").run(one, 1, refused) == "dear"


def test_what_is_set_aside_is_all_of_the_run_and_nothing_else(tmp_path: Path):
    for name in (
        "trained.safetensors",
        "model.onnx",
        "trials/1-a/last.ckpt",
        "earlier/1/last.ckpt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "my notes.txt").touch()

    set_aside(tmp_path)
    set_aside(tmp_path / "nowhere")

    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "my notes.txt", "earlier/1/last.ckpt", "earlier/2/trained.safetensors",
        "earlier/2/model.onnx", "earlier/2/trials/1-a/last.ckpt",
    }  # fmt: skip


def test_every_name_in_the_layout_is_a_runs():
    assert all(layout.is_of_run(name) for name in NAMES)
    assert not layout.is_of_run("earlier")
    for folder in (
        layout.trial_folder(Path(), "1").parent, layout.start_folder(Path()),
        layout.step_file(Path(), 0).parent, layout.member_folder(Path(), 0).parent,
    ):  # fmt: skip
        assert layout.is_of_run(folder.name)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("set.v1", "set.v1"),
        ("set.v2/", "set.v2"),
        ("photos 2026.11.30", "photos 2026.11.30"),
        ("a/pets.csv", "pets"),
        ("a/Pets.CSV", "Pets"),
        ("shards/train.tar", "train"),
        ("digits", "digits"),
    ],
)
def test_a_run_is_called_after_its_data_and_what_looks_like_a_suffix_stays(data: str, name: str):
    assert Training("v2", data, width=0.5).folder == Path(f"runs/{name}-mobilenet_v2_0.5_224")
    assert Fitting(data, Budget(latency_ms=5)).folder == Path(f"runs/{name}-latency5ms")


def test_runs_that_come_of_others_are_called_after_the_whole_name(tmp_path: Path):
    assert name_of(tmp_path / "digits-latency0.5ms") == "digits-latency0.5ms"
    assert name_of(tmp_path / "a.run" / "trained.safetensors") == "a.run-trained"


# A run within the data


def image(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (colour, len(path.parts[-2]), 0)).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for pet in ("cat", "bird"):
        for number in range(6):
            image(tmp_path / pet / f"{number}.png", number)
    return tmp_path


@pytest.mark.parametrize("record", ["stages.json", "asked.json", "adapt.json"])
@pytest.mark.parametrize("run", ["runs/photos-latency5ms", "run", "cat/run", "a/b"])
def test_a_run_within_the_data_is_no_class_and_holds_no_images_of_one(
    pets: Path, run: str, record: str
):
    before = load_images(pets).fingerprint
    write_json(pets / run / record, {})
    image(pets / run / "picture.png", 99)
    found = load_images(pets)

    assert found.task.labels == ("bird", "cat")
    assert found.fingerprint == before
    assert any(f"no data: {run}" in note for note in found.notes)


@pytest.mark.parametrize("beside", ["photo.png", "more/photo.png"])
def test_a_class_with_images_beside_a_run_is_a_class(pets: Path, beside: str):
    write_json(pets / "runs/one/stages.json", {})
    for number in range(3):
        image(pets / "runs" / f"{number}-{beside}", 50 + number)

    assert load_images(pets).task.labels == ("bird", "cat", "runs")
