"""Images that are no squares: cut or resized whole, by the training images or as the user says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mobilenets.cli.app import app
from mobilenets.commands.origin import images_of
from mobilenets.data import Reading, load_images, parse_reading
from mobilenets.deliver import load
from mobilenets.deliver.selection import select
from mobilenets.errors import DataError
from mobilenets.nn import Checkpoint

RNG = np.random.default_rng(0)


def write(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    """Two classes, each of images of these widths and heights."""
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number, (width, height) in enumerate(sizes):
            pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([(24, 24)] * 8, "crop", id="squares"),
        pytest.param([(26, 24)] * 8, "crop", id="nearly squares"),
        pytest.param([(32, 24)] * 8, "stretch", id="wide"),
        pytest.param([(24, 32)] * 8, "stretch", id="tall"),
        pytest.param([(32, 24), (24, 32)] * 4, "stretch", id="wide and tall"),
        pytest.param([(24, 24)] * 6 + [(240, 24)] * 2, "crop", id="few that are long"),
    ],
)
def test_images_that_are_long_are_resized_whole(
    tmp_path: Path, sizes: list[tuple[int, int]], expected: str
):
    images = load_images(write(tmp_path, sizes))

    assert images.preprocess(24).resize == expected
    assert any("--resize crop" in note for note in images.notes) == (expected == "stretch")


def test_what_is_said_names_the_shape_and_the_other_way(tmp_path: Path):
    (note,) = load_images(write(tmp_path, [(32, 24)] * 8)).notes

    assert note == (
        "the median image is 1.33 times as long as its short side: images are resized whole, "
        "whatever their shape; --resize crop cuts the centre"
    )


@pytest.mark.parametrize("asked", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(24, 24), (32, 24)])
def test_what_is_asked_stands(tmp_path: Path, asked: str, size: tuple[int, int]):
    images = load_images(write(tmp_path, [size] * 8), reading=parse_reading(None, asked))

    assert (images.preprocess(24).resize, images.notes) == (asked, ())


@pytest.mark.parametrize("word", ["pad", "", "Crop"])
def test_what_is_no_way_to_resize_is_refused(word: str):
    with pytest.raises(DataError, match=f"images are resized by crop or stretch, got '{word}'"):
        parse_reading(None, word)


def test_what_is_known_does_not_stand_for_another(tmp_path: Path):
    known = load_images(write(tmp_path, [(32, 24)] * 8)).to_json()

    assert load_images(tmp_path, known=known).values.resize == "stretch"
    again = load_images(tmp_path, known=known, reading=Reading(resize="crop"))
    assert again.values.resize == "crop"


@pytest.mark.parametrize(("words", "expected"), [([], "stretch"), (["--resize", "crop"], "crop")])
def test_the_network_keeps_it_and_other_images_are_scored_by_it(
    tmp_path: Path, words: list[str], expected: str
):
    data = write(tmp_path / "wide", [(32, 24)] * 8)
    squares = write(tmp_path / "squares", [(24, 24)] * 8)
    run = tmp_path / "run"
    done = CliRunner().invoke(
        app,
        [
            "train", "mobilenet_v3_small", str(data), "--width", "0.35", "--resolution", "24",
            "--epochs", "1", "--out", str(run), *words,
        ],
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    path = run / "trained.safetensors"
    start = Checkpoint.load(path)
    assert start.preprocess["resize"] == expected
    assert select(load(path), squares).images.values.resize == expected
    assert images_of(squares, start, tmp_path / "other").values.resize == expected
