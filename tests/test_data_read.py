"""One image file to one tensor, and the rule from there to the network's input."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as pil_transforms

from mobilenets.data import Arrays, Files, Preprocess, read_image
from mobilenets.data.read import probe
from mobilenets.errors import DataError

RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
HALF_RED = [255, 127, 127]  # half red, half the white below


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def rows(image: torch.Tensor) -> list[list[list[int]]]:
    """[row][column] -> [red, green, blue]"""
    return image.permute(1, 2, 0).tolist()


def grey(image: torch.Tensor) -> list[list[int]]:
    assert (image[0] == image[1]).all()
    assert (image[0] == image[2]).all()
    return image[0].tolist()


def photo(width: int, height: int) -> Image.Image:
    """Smooth, so that JPEG and resizing keep it nearly."""
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    waves = [np.sin(x + y), np.cos(x * y), np.sin(2 * x - y)]
    return Image.fromarray(((np.stack(waves, axis=2) + 1) * 127).astype(np.uint8))


def test_grey_comes_as_three_equal_channels(tmp_path: Path):
    path = save(Image.fromarray(np.array([[0, 100], [200, 255]], np.uint8)), tmp_path / "a.png")

    assert grey(read_image(path)) == [[0, 100], [200, 255]]


def test_an_image_is_uint8_of_channels_height_width(tmp_path: Path):
    image = read_image(save(photo(7, 5), tmp_path / "a.png"))

    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, 5, 7))


def test_bytes_are_read_as_a_file_is():
    file = BytesIO()
    Image.new("RGB", (2, 1), "red").save(file, "PNG")

    assert rows(read_image(file.getvalue())) == [[RED, RED]]


def test_a_palette_is_looked_up(tmp_path: Path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)

    assert rows(read_image(save(image, tmp_path / "a.png"))) == [[RED, GREEN]]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_transparent_palette_colour_is_white(tmp_path: Path, suffix: str):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    path = save(image, tmp_path / f"a.{suffix}", transparency=1)

    assert rows(read_image(path)) == [[RED, WHITE]]


def test_palette_transparency_given_as_bytes_is_composited(tmp_path: Path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    path = save(image, tmp_path / "a.png", transparency=bytes([128, 0]))

    assert rows(read_image(path)) == [[HALF_RED, WHITE]]


def test_rgba_is_composited_on_white(tmp_path: Path):
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 128))
    image.putpixel((2, 0), (255, 0, 0, 0))

    assert rows(read_image(save(image, tmp_path / "a.png"))) == [[RED, HALF_RED, WHITE]]


def test_grey_with_alpha_is_composited_on_white(tmp_path: Path):
    image = Image.new("LA", (2, 1), (40, 255))
    image.putpixel((1, 0), (40, 0))

    assert grey(read_image(save(image, tmp_path / "a.png"))) == [[40, 255]]


def test_a_transparent_colour_of_an_rgb_file_is_white(tmp_path: Path):
    image = Image.new("RGB", (2, 1), "blue")
    image.putpixel((1, 0), (1, 2, 3))
    path = save(image, tmp_path / "a.png", transparency=(1, 2, 3))

    assert rows(read_image(path)) == [[BLUE, WHITE]]


def test_one_bit_is_black_and_white(tmp_path: Path):
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)

    assert grey(read_image(save(image, tmp_path / "a.png"))) == [[0, 255]]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_divided_by_257(tmp_path: Path, suffix: str):
    deep = np.array([[0, 257], [65278, 65535]], np.uint16)
    path = save(Image.fromarray(deep), tmp_path / f"a.{suffix}")

    with Image.open(path) as image:
        assert image.mode.startswith("I;16")
    assert grey(read_image(path)) == [[0, 1], [254, 255]]


def test_bytes_in_a_16_bit_file_stay_as_they_are(tmp_path: Path):
    deep = np.array([[0, 100], [200, 255]], np.uint16)

    assert grey(read_image(save(Image.fromarray(deep), tmp_path / "a.png"))) == [
        [0, 100],
        [200, 255],
    ]


def test_32_bit_integers_are_16_bit_values_within_their_range(tmp_path: Path):
    deep = np.array([[-5, 257], [65535, 10**6]], np.int32)

    assert grey(read_image(save(Image.fromarray(deep), tmp_path / "a.tiff"))) == [
        [0, 1],
        [255, 255],
    ]


def test_float_grey_up_to_one_is_multiplied_by_255(tmp_path: Path):
    values = np.array([[0.0, 0.2], [1.0, np.nan]], np.float32)

    assert grey(read_image(save(Image.fromarray(values), tmp_path / "a.tiff"))) == [
        [0, 51],
        [255, 0],
    ]


def test_float_grey_of_bytes_stays(tmp_path: Path):
    values = np.array([[0.0, 99.6], [2.0, 255.0]], np.float32)

    assert grey(read_image(save(Image.fromarray(values), tmp_path / "a.tiff"))) == [
        [0, 100],
        [2, 255],
    ]


def test_a_16_bit_mask_of_zeros_and_ones_stays(tmp_path: Path):
    mask = np.array([[0, 1]], np.uint16)

    assert grey(read_image(save(Image.fromarray(mask), tmp_path / "a.png"))) == [[0, 1]]


def test_a_cmyk_jpeg_as_adobe_writes_it_keeps_its_colours(tmp_path: Path):
    path = save(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "a.jpg")

    assert b"Adobe" in path.read_bytes()  # that is, stored inverted
    assert_close(read_image(path)[:, 8, 8], torch.tensor(RED, dtype=torch.uint8), atol=3, rtol=0)


def test_exif_orientation_6_turns_the_picture_right(tmp_path: Path):
    image = Image.new("RGB", (32, 16), "blue")
    image.paste("red", (0, 0, 16, 16))  # red left of blue; a quarter turn right: red above blue
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_image(save(image, tmp_path / "a.jpg", exif=exif, quality=95))

    assert tuple(turned.shape) == (3, 32, 16)
    assert (turned[0, 4, 8] > 200, turned[2, 28, 8] > 200) == (True, True)


def test_exif_that_cannot_be_parsed_does_not_lose_the_picture(tmp_path: Path):
    path = save(Image.new("RGB", (8, 4)), tmp_path / "a.jpg", exif=b"Exif\x00\x00garbage")

    assert tuple(read_image(path).shape) == (3, 4, 8)


def test_a_truncated_jpeg_is_refused_with_path_and_reason(tmp_path: Path):
    path = save(photo(64, 64), tmp_path / "cut.jpg")
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(DataError, match=r"cut\.jpg cannot be read as an image: .*truncated"):
        read_image(path)


def test_a_truncated_png_is_refused(tmp_path: Path):
    path = save(photo(64, 64), tmp_path / "cut.png")
    path.write_bytes(path.read_bytes()[:2000])

    with pytest.raises(DataError, match=r"cut\.png cannot be read as an image"):
        read_image(path)


def test_an_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "none.png").touch()

    with pytest.raises(DataError, match=r"none\.png .*: the file is empty; replace or remove it"):
        read_image(tmp_path / "none.png")


def test_text_named_png_is_refused(tmp_path: Path):
    (tmp_path / "note.png").write_text("no pixels here")

    with pytest.raises(DataError, match=r"note\.png .*: not an image of a known format"):
        read_image(tmp_path / "note.png")


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone\.png .*: No such file or directory"):
        read_image(tmp_path / "gone.png")


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(DataError, match="an image given as bytes cannot be read"):
        read_image(b"no pixels here")


def test_a_large_picture_is_read_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(Image.new("RGB", (4, 4)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # PIL warns above, refuses above 20

    assert tuple(read_image(path).shape) == (3, 4, 4)


def test_a_picture_beyond_pils_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(Image.new("RGB", (5, 5)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    with pytest.raises(DataError, match="exceeds limit of 20 pixels"):
        read_image(path)


def test_reading_in_threads_leaves_the_warning_filters_alone(tmp_path: Path):
    path = save(photo(200, 200), tmp_path / "a.jpg")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read_image, [path] * 64))

    assert warnings.filters == before


def test_a_jpeg_may_be_decoded_smaller_but_not_below_the_short_side(tmp_path: Path):
    path = save(photo(400, 300), tmp_path / "a.jpg")

    assert tuple(read_image(path, short_side=75).shape) == (3, 75, 100)
    assert tuple(read_image(path, short_side=76).shape) == (3, 150, 200)


def test_a_probe_gives_the_short_side(tmp_path: Path):
    assert probe(save(photo(40, 30), tmp_path / "a.jpg"), header_only=False) == 30


def test_a_probe_of_pixels_meets_truncation(tmp_path: Path):
    path = save(photo(640, 480), tmp_path / "cut.jpg", quality=95)
    path.write_bytes(path.read_bytes()[:-500])

    assert "truncated" in str(probe(path, header_only=False))


def test_a_probe_of_the_header_does_not_meet_truncation(tmp_path: Path):
    path = save(photo(640, 480), tmp_path / "cut.jpg", quality=95)
    path.write_bytes(path.read_bytes()[:-500])

    assert probe(path, header_only=True) == 480


def test_files_are_named_by_their_path_below_the_root(tmp_path: Path):
    save(Image.new("RGB", (2, 1), "red"), tmp_path / "a.png")
    source = Files(("a.png",), str(tmp_path))

    assert (len(source), source.name(0), rows(source.read(0))) == (1, "a.png", [[RED, RED]])


def test_grey_arrays_are_read_as_rgb():
    source = Arrays(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), "digits")

    assert (len(source), source.name(1), grey(source.read(1))) == (2, "digits #1", [[4, 5], [6, 7]])


def test_colour_arrays_are_read_with_channels_first():
    source = Arrays(np.array([[[RED, GREEN]]], np.uint8), "two")

    assert rows(source.read(0)) == [[RED, GREEN]]


def test_arrays_of_floats_are_refused():
    with pytest.raises(
        DataError, match=r"x: images must be uint8 .* got float64 of shape \(1, 2, 2\)"
    ):
        Arrays(np.zeros((1, 2, 2)), "x")


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (50, 40), (225, 1000)])
@pytest.mark.parametrize(("resolution", "crop"), [(96, 1.0), (112, 0.875), (33, 0.9)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_preprocessing_agrees_with_pil(
    size: tuple[int, int], resolution: int, crop: float, mode: str
):
    image = photo(*size)
    short = {(96, 1.0): 96, (112, 0.875): 128, (33, 0.9): 37}[resolution, crop]
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    ours = Preprocess(resolution, crop, mode)(pixels)
    resized = pil_transforms.resize(image, short, InterpolationMode(mode))
    theirs = pil_transforms.center_crop(resized, [resolution])

    expected = torch.from_numpy(np.array(theirs)).permute(2, 0, 1)
    assert_close(ours, expected, atol=2, rtol=0)  # both round after each of two passes


def test_preprocessing_leaves_an_image_of_the_right_size():
    image = torch.arange(3 * 8 * 8, dtype=torch.uint8).view(3, 8, 8)

    assert_close(Preprocess(8)(image), image, rtol=0, atol=0)


def test_preprocessing_cuts_the_centre():
    image = torch.arange(16, dtype=torch.uint8).expand(3, 8, 16)

    assert Preprocess(8)(image)[0, 0].tolist() == [4, 5, 6, 7, 8, 9, 10, 11]


def test_preprocessing_is_the_same_in_either_memory_layout():
    last = torch.from_numpy(np.array(photo(301, 203))).permute(2, 0, 1)

    assert_close(Preprocess(96)(last), Preprocess(96)(last.contiguous()), rtol=0, atol=0)


def test_a_preprocessing_record_describes_the_whole_rule():
    assert Preprocess(224, 0.875).to_json() == {
        "resolution": 224,
        "crop": 0.875,
        "interpolation": "bilinear",
        "antialias": True,
        "value_range": [0, 1],
        "colour": "RGB",
    }


def test_a_preprocessing_record_reads_back():
    rule = Preprocess(192, 0.9, "bicubic")

    assert Preprocess.from_json(rule.to_json()) == rule


def test_a_record_without_its_interpolation_is_bilinear():
    assert Preprocess.from_json({"resolution": 8, "crop": 1.0}) == Preprocess(8)


@pytest.mark.parametrize("record", [{}, {"resolution": 8}, "224", None])
def test_a_record_without_its_numbers_is_refused(record: Any):
    with pytest.raises(DataError, match="a preprocessing record needs resolution and crop, got"):
        Preprocess.from_json(record)


def test_a_record_of_another_rule_is_refused():
    record = {**Preprocess(8).to_json(), "interpolation": "nearest"}

    with pytest.raises(DataError, match="interpolation 'nearest' is not known, only bilinear and"):
        Preprocess.from_json(record)


@pytest.mark.parametrize("resolution", [0, -1, 96.0, "96", True])
def test_a_resolution_that_is_no_count_is_refused(resolution: Any):
    with pytest.raises(DataError, match="resolution must be a whole number"):
        Preprocess(resolution)


@pytest.mark.parametrize("crop", [0, 1.1, -0.5, "1", float("nan")])
def test_a_crop_beyond_the_image_is_refused(crop: Any):
    with pytest.raises(DataError, match="crop must be above 0 and at most 1, got"):
        Preprocess(8, crop)
