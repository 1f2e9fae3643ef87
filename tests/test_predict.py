"""`predict` over files and folders: what cannot be read is named, the rest goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mobilenets.archs import get_arch
from mobilenets.cli.app import app
from mobilenets.commands.predict import Found, Predicting, predict
from mobilenets.errors import FileError
from mobilenets.nn import Checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with nothing but its checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    arch = get_arch("mobilenet_v1", width=0.25, resolution=8, classes=3)
    Checkpoint.fresh(arch).save(folder / "trained.safetensors")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images, in two folders."""
    folder = tmp_path / "photos"
    for name in ("b.png", "a.png", "more/c.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), 99, np.uint8)).save(path)
    return folder


def names(found: list[Found]) -> list[str]:
    return [Path(one.image).name for each in found for one in each.predictions]


def wrong(found: list[Found]) -> list[str]:
    return [one.wrong for one in found if one.wrong]


def test_a_folder_is_all_images_in_it_in_order(run: Path, photos: Path):
    (photos / "notes.txt").write_text("no image")
    (photos / ".hidden.png").write_text("no image")

    found = list(predict(Predicting(run, (photos,))))

    assert names(found) == ["a.png", "b.png", "c.png"]
    assert wrong(found) == []
    assert [one.note for one in found if one.note] == [
        f"{photos}: 2 other files left out (.png 1, .txt 1)"
    ]


def test_a_broken_file_ends_nothing(run: Path, photos: Path):
    broken, gone = photos / "aa.png", photos / "gone.png"
    broken.write_text("no image")
    asked = (photos / "b.png", broken, gone, photos / "more", photos / "a.png")

    found = list(predict(Predicting(run / "trained.safetensors", asked)))

    assert names(found) == ["b.png", "c.png", "a.png"]
    assert [str(path) in said for path, said in zip((broken, gone), wrong(found), strict=True)] == [
        True, True,
    ]  # fmt: skip


def test_what_is_no_file_is_named_and_not_opened(run: Path, photos: Path):
    os.mkfifo(photos / "pipe.png")
    (photos / "loop.png").symlink_to("loop.png")
    (photos / "round").symlink_to(photos)

    found = list(predict(Predicting(run, (photos,))))

    assert names(found) == ["a.png", "b.png", "c.png"]
    assert [Path(said.split(" ")[0]).name for said in wrong(found)] == ["loop.png", "pipe.png"]


def test_a_folder_without_images_is_wrong(run: Path, tmp_path: Path):
    found = list(predict(Predicting(run, (tmp_path,))))

    assert wrong(found) == [
        f"{tmp_path} holds no images by name; give image files, or their folder"
    ]


def test_a_run_without_a_network_is_refused(tmp_path: Path):
    with pytest.raises(FileError, match="there is no trained network at"):
        list(predict(Predicting(tmp_path, (tmp_path,))))


def test_the_command_prints_what_it_can_and_ends_with_1(run: Path, photos: Path):
    broken = photos / "broken.jpg"
    broken.write_text("no image")

    done = CliRunner().invoke(app, ["predict", str(run), str(photos)])

    lines = done.stdout.splitlines()
    assert lines[0].split() == ["image", "label", "probability"]
    assert [Path(line.split()[0]).name for line in lines[1:]] == ["a.png", "b.png", "c.png"]
    assert f"mobilenets: {broken} cannot be read" in done.stderr
    assert done.exit_code == 1


@pytest.mark.parametrize(("file", "count", "status"), [("a.png", 1, 0), ("broken.jpg", 0, 1)])
def test_as_json_it_is_one_list(run: Path, photos: Path, file: str, count: int, status: int):
    (photos / "broken.jpg").write_text("no image")

    done = CliRunner().invoke(app, ["predict", str(run), str(photos / file), "--json"])

    assert [set(one) for one in json.loads(done.stdout)] == [
        {"image", "label", "probability"}
    ] * count
    assert done.exit_code == status
