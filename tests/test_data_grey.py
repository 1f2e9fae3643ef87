"""Deep grey: one range for a whole data set, and what is said of images that show nothing."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.testing import assert_close
from typer.testing import CliRunner

from mobilenets.archs import Size
from mobilenets.cli.app import app
from mobilenets.commands.origin import images_of
from mobilenets.commands.train import Training, train_named
from mobilenets.data import (
    Images,
    Reading,
    ShardSize,
    decode,
    load_images,
    parse_reading,
    train_pixels,
    write_shards,
)
from mobilenets.data import grey as grey_module
from mobilenets.deliver import load
from mobilenets.deliver.selection import select
from mobilenets.errors import DataError
from mobilenets.nn import Checkpoint
from mobilenets.train import Limits


def stripes(upright: bool, number: int) -> NDArray[np.float64]:
    """0 and 1, three pixels wide; the number is in the last row, so that no two are alike."""
    shift = np.random.default_rng(number).integers(0, 6)
    y, x = np.mgrid[:24, :24]
    pattern = ((x if upright else y) + shift) // 3 % 2.0
    pattern[-1, :6] = [(2 * number + upright) >> bit & 1 for bit in range(6)]
    return pattern


def write(folder: Path, scale: Any, *, each: int = 8, suffix: str = ".png") -> Path:
    """Two classes of stripes; `scale` makes an image's array of a 0 and 1 pattern."""
    for label, upright in (("level", False), ("upright", True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            pixels = scale(stripes(upright, number))
            Image.fromarray(pixels).save(folder / label / f"{number:02d}{suffix}")
    return folder


def twelve_bits(pattern: NDArray[np.float64]) -> NDArray[np.uint16]:
    return (300 + 900 * pattern).astype(np.uint16)


def hounsfield(pattern: NDArray[np.float64]) -> NDArray[np.float32]:
    return (-900 + 1300 * pattern).astype(np.float32)


def eight_bits(pattern: NDArray[np.float64]) -> NDArray[np.uint8]:
    return (60 + 120 * pattern).astype(np.uint8)


def first(images: Images) -> list[int]:
    """The grey levels of the first image as it trains."""
    index = int(images.train[0])
    return images.source.read(index, grey_range=images.grey_range).unique().tolist()


@pytest.mark.parametrize(
    ("scale", "suffix", "expected"),
    [
        pytest.param(twelve_bits, ".png", (300, 1200), id="12 bits"),
        pytest.param(twelve_bits, ".tiff", (300, 1200), id="12 bits, TIFF"),
        pytest.param(
            lambda pattern: twelve_bits(pattern).astype(">u2"), ".tif", (300, 1200), id="big-endian"
        ),
        pytest.param(hounsfield, ".tif", (-900, 400), id="float with negatives"),
        pytest.param(
            lambda pattern: hounsfield(pattern).astype(np.int32), ".tif", (-900, 400), id="32 bits"
        ),
        pytest.param(lambda pattern: pattern.astype(np.float32), ".tif", (0, 1), id="fractions"),
        pytest.param(lambda pattern: pattern.astype(np.uint16), ".png", (0, 1), id="a mask"),
    ],
)
def test_the_range_of_deep_grey_is_that_of_the_images(
    tmp_path: Path, scale: Any, suffix: str, expected: tuple[float, float]
):
    images = load_images(write(tmp_path, scale, suffix=suffix))

    assert images.grey_range == expected
    assert first(images) == [0, 255]
    low, high = expected
    assert images.notes == (
        f"16-bit or float grey images: {low} to {high}, by the training images, is taken as black "
        "to white; --range LOW:HIGH changes it",
    )


def test_images_of_8_bits_have_no_range(tmp_path: Path):
    images = load_images(write(tmp_path, eight_bits))

    assert (images.grey_range, images.notes) == (None, ())
    assert first(images) == [60, 180]


def test_the_range_is_the_training_images_own(tmp_path: Path):
    write(tmp_path / "train", twelve_bits)
    write(tmp_path / "val", lambda pattern: (4000 * pattern).astype(np.uint16))

    images = load_images(tmp_path)

    assert images.grey_range == (300, 1200)
    assert images.preprocess(28).grey_range == (300, 1200)


def test_what_trains_and_what_is_scored_is_read_by_the_range(tmp_path: Path):
    images = load_images(write(tmp_path, twelve_bits))

    scored = decode(images, images.val, images.preprocess(24))
    kept = train_pixels(images, Size(24, 24))
    streamed = train_pixels(images, Size(24, 24), memory_bytes=0)

    assert scored.unique().tolist() == [0, 255]
    for training in (kept, streamed):
        assert training.__getitems__([0, 1, 2]).pixels.unique().tolist() == [0, 255]


def test_a_few_hot_pixels_do_not_darken_the_others(tmp_path: Path):
    def hot(pattern: NDArray[np.float64]) -> NDArray[np.uint16]:
        values = np.tile(twelve_bits(pattern), (3, 3))
        values[5, 7] = 65535
        return values

    assert load_images(write(tmp_path, hot)).grey_range == (300, 1200)


def test_a_few_bright_pixels_are_seen_where_all_else_is_black(tmp_path: Path):
    height = count(64)

    def star(pattern: NDArray[np.float64]) -> NDArray[np.uint16]:
        values = np.zeros((next(height), 64), np.uint16)
        values[5, 7] = 4000
        return values

    assert load_images(write(tmp_path, star)).grey_range == (0, 4000)


def test_a_range_that_is_given_is_taken_without_a_word(tmp_path: Path):
    images = load_images(write(tmp_path, twelve_bits), reading=Reading((0, 4095)))

    assert (images.grey_range, images.notes) == ((0, 4095), ())
    assert first(images) == [round(300 * 255 / 4095), round(1200 * 255 / 4095)]


def test_a_mixed_set_is_told(tmp_path: Path):
    write(tmp_path, twelve_bits, each=4, suffix=".tif")
    images = load_images(write(tmp_path, eight_bits, each=12))

    (note,) = images.notes
    assert note.startswith(
        "25 % of the images are 16-bit or float grey, the others are read as they are; of the "
        "former: 300 to 1200, by the training images, is taken"
    )


def test_a_range_beside_the_values_is_warned_of(tmp_path: Path):
    images = load_images(write(tmp_path, twelve_bits), reading=Reading((400, 1100)))

    (note,) = images.notes
    assert note.startswith("100 % of the values of the 16-bit or float grey images lie beyond 400 ")


def test_a_range_for_images_of_8_bits_is_said_to_change_nothing(tmp_path: Path):
    images = load_images(write(tmp_path, eight_bits), reading=Reading((0, 4095)))

    assert images.notes == (
        "no image is 16-bit or float grey: the range 0 to 4095 changes nothing",
    )


def test_deep_grey_for_a_network_that_knows_none_is_told(tmp_path: Path):
    images = load_images(write(tmp_path, twelve_bits), reading=Reading(None))

    assert images.grey_range is None
    assert images.notes == (
        "16 images are 16-bit or float grey, of which the network was trained on none: 0 to 65535 "
        "is taken as black to white, of floats 0 to 1",
    )


def test_images_of_one_colour_are_warned_of(tmp_path: Path):
    write(tmp_path, eight_bits)
    Image.new("RGB", (24, 24), "red").save(tmp_path / "level" / "02.png")
    Image.new("RGB", (24, 24), "blue").save(tmp_path / "upright" / "x.jpg")

    assert load_images(tmp_path).notes == (
        "2 of 17 images are of one colour only, the first level/02.png",
    )


def test_deep_grey_of_one_value_is_warned_of(tmp_path: Path):
    height = count(24)
    write(tmp_path, lambda pattern: np.full((next(height), 24), 700, np.uint16))
    images = load_images(tmp_path)

    assert images.grey_range == (700, 701)
    assert images.notes[-1].startswith("16 of 16 images are of one colour only")


def test_what_holds_no_number_is_no_range(tmp_path: Path):
    height = count(24)
    write(tmp_path, lambda pattern: np.full((next(height), 24), np.nan, np.float32), suffix=".tif")

    assert load_images(tmp_path).grey_range is None


def test_what_is_known_of_the_values_is_not_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    images = load_images(write(tmp_path, twelve_bits))
    monkeypatch.setattr(grey_module, "deep_values", lambda data: pytest.fail("read again"))

    again = load_images(tmp_path, known=images.to_json())

    assert (again.grey_range, again.notes) == (images.grey_range, images.notes)


def test_a_known_range_does_not_stand_for_another(tmp_path: Path):
    images = load_images(write(tmp_path, twelve_bits))

    again = load_images(tmp_path, known=images.to_json(), reading=Reading((0, 4095)))

    assert again.grey_range == (0, 4095)


def test_images_of_kinds_that_cannot_be_read_are_left_out_with_what_to_do(tmp_path: Path):
    write(tmp_path, eight_bits)
    (tmp_path / "level" / "IMG_1.NEF").write_bytes(b"raw")

    (note,) = load_images(tmp_path).notes

    assert note == (
        "1 file left out, not read as images: 1 .NEF (convert them to PNG, JPEG or TIFF)"
    )


def test_shards_keep_the_values_of_deep_grey(tmp_path: Path):
    images = load_images(write(tmp_path / "ct", hounsfield, suffix=".tif"))
    write_shards(images, tmp_path / "shards", ShardSize(count=5))

    shards = load_images(tmp_path / "shards")

    assert shards.grey_range == (-900, 400)
    assert_close(
        shards.source.read(5, grey_range=(-900, 400)),
        images.source.read(5, grey_range=(-900, 400)),
        rtol=0, atol=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("0:4095", (0, 4095)),
        ("-1000:400", (-1000, 400)),
        ("0.5:1e3", (0.5, 1000)),
    ],
)
def test_a_range_is_low_colon_high(text: str | None, expected: Any):
    assert parse_reading(text, None).grey_range == expected


@pytest.mark.parametrize("text", ["", "12", "5:5", "9:1", "a:b", "1:2:3", ":", "0:inf", "nan:1"])
def test_what_is_no_range_is_refused(text: str):
    with pytest.raises(DataError, match=r"first below the second, such as 0:4095, got"):
        parse_reading(text, None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data and the checkpoint of a network for 12 bits."""
    folder = tmp_path_factory.mktemp("grey")
    data = write(folder / "twelve", twelve_bits)
    job = Training(
        "mobilenet_v3_small", data, width=0.35, resolution=24, limits=Limits(epochs=1),
        recipe="small_images", out=folder / "run",
    )  # fmt: skip
    train_named(job)
    return data, folder / "run" / "trained.safetensors"


def test_the_checkpoint_has_the_range_and_predicts_by_it(trained: tuple[Path, Path]):
    data, path = trained
    network = load(path)
    photo = data / "level" / "00.png"
    grey = stripes(upright=False, number=0).astype(np.uint8) * 255
    pixels = torch.from_numpy(grey).expand(3, 24, 24)

    (found,) = network.predict([photo])

    assert Checkpoint.load(path).preprocess["grey_range"] == [300, 1200]
    logits = network.outputs(pixels[None])["logits"][0]
    chances = np.exp(logits) / np.exp(logits).sum()
    assert found.probability == pytest.approx(chances.max(), rel=1e-5)


def test_other_images_are_scored_by_the_networks_range(trained: tuple[Path, Path], tmp_path: Path):
    _, path = trained
    darker = write(tmp_path / "darker", lambda pattern: twelve_bits(pattern) // 2)

    assert select(load(path), darker).images.grey_range == (300, 1200)
    start = Checkpoint.load(path)
    assert images_of(darker, start, tmp_path / "run").grey_range == (300, 1200)


def test_the_option_is_what_the_network_keeps(tmp_path: Path):
    data = write(tmp_path / "twelve", twelve_bits)
    words = [
        "train", "mobilenet_v3_small", str(data), "--width", "0.35", "--resolution", "24",
        "--epochs", "1", "--range", "-5:4095", "--out", str(tmp_path / "run"),
    ]  # fmt: skip

    done = CliRunner().invoke(app, words)

    assert done.exit_code == 0, done.output
    kept = Checkpoint.load(tmp_path / "run" / "trained.safetensors").preprocess["grey_range"]
    assert kept == [-5, 4095]


@pytest.mark.parametrize("verb", [["train", "mobilenet_v2"], ["fit"]])
def test_an_option_that_is_no_range_is_refused_before_anything_is_done(
    tmp_path: Path, verb: list[str]
):
    words = [*verb, "nowhere", "--range", "9:1", "--out", str(tmp_path / "run")]
    words += ["--macs", "1M"] if verb == ["fit"] else []

    done = CliRunner().invoke(app, words)

    assert "such as 0:4095, got ('9', '1')" in str(done.exception)
    assert not (tmp_path / "run").exists()
