"""One image file to one tensor, and the rule from there to the network's input."""

from __future__ import annotations

import json
import os
import tracemalloc
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as pil_transforms

from mobilenets.data import Arrays, Files, Preprocess, read, read_image
from mobilenets.data.read import is_image_name, probe, readable_suffixes, unreadable_suffixes
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


@pytest.mark.parametrize("brightest", [1, 200, 300, 65535])
def test_the_scale_of_deep_grey_does_not_depend_on_the_image(tmp_path: Path, brightest: int):
    deep = np.array([[0, 25700 * (brightest > 25700), brightest]], np.uint16)

    image = read_image(save(Image.fromarray(deep), tmp_path / "a.png"))

    assert grey(image) == [[0, 100 * (brightest > 25700), round(brightest / 257)]]


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


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32, ">u2"])
def test_the_values_of_a_range_are_black_to_white(tmp_path: Path, kind: Any):
    values = np.array([[0, 100, 110, 151, 200, 4000]]).astype(kind)
    path = save(Image.fromarray(values), tmp_path / "a.tiff")

    assert grey(read_image(path, grey_range=(100, 200))) == [[0, 0, 26, 130, 255, 255]]


def test_a_range_may_be_negative_and_no_number_is_black(tmp_path: Path):
    values = np.array([[-1024, -600, -100, 400, np.nan, np.inf, -np.inf]], np.float32)
    path = save(Image.fromarray(values), tmp_path / "a.tiff")

    assert grey(read_image(path, grey_range=(-600, 400))) == [[0, 0, 128, 255, 0, 255, 0]]


def test_big_endian_16_bit_grey_is_the_same(tmp_path: Path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + np.array([257, 65535], ">u2").tobytes())

    assert grey(read_image(path)) == [[1, 255]]


def test_16_bit_grey_is_white_where_it_is_transparent(tmp_path: Path):
    deep = Image.fromarray(np.array([[0, 500, 1000]], np.uint16))
    path = save(deep, tmp_path / "a.png", transparency=500)

    assert grey(read_image(path, grey_range=(0, 1000))) == [[0, 255, 255]]


def test_a_range_leaves_8_bits_alone(tmp_path: Path):
    path = save(Image.fromarray(np.array([[0, 100, 255]], np.uint8)), tmp_path / "a.png")

    assert grey(read_image(path, grey_range=(100, 200))) == [[0, 100, 255]]


def test_the_first_of_several_frames_is_read(tmp_path: Path):
    first, second = Image.new("RGB", (2, 1), "red"), Image.new("RGB", (2, 1), "blue")
    path = save(first, tmp_path / "a.gif", save_all=True, append_images=[second])

    assert rows(read_image(path)) == [[RED, RED]]


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

    with pytest.raises(DataError, match=r"none\.png .*: the file is empty; replace it or leave"):
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

    with pytest.raises(DataError, match="more than the 20 pixels that are read; replace it"):
        read_image(path)


@pytest.mark.parametrize("size", [(1, 60000), (60000, 1), (20, 2001)])
def test_an_image_whose_centre_shows_nothing_is_refused(tmp_path: Path, size: tuple[int, int]):
    path = save(Image.new("L", size), tmp_path / "line.png")

    with pytest.raises(DataError, match=r"line\.png .*: one side is over 100 times the other"):
        read_image(path)
    assert probe(path, header_only=True) == "one side is over 100 times the other"


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path):
    header = save(Image.new("1", (1, 1)), tmp_path / "a.png").read_bytes()
    sides = (30000).to_bytes(4) + (30000).to_bytes(4)
    chunk = b"IHDR" + sides + header[24:29]
    (tmp_path / "bomb.png").write_bytes(
        header[:12] + chunk + crc32(chunk).to_bytes(4) + header[33:]
    )

    for header_only in (True, False):
        assert "more than the 178,956,970 pixels" in str(
            probe(tmp_path / "bomb.png", header_only=header_only)
        )


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for a writer
    (tmp_path / "link.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")

    for name in ("pipe.png", "link.png", "folder.png"):
        for header_only in (True, False):
            assert probe(tmp_path / name, header_only=header_only) == "not a regular file"
        with pytest.raises(DataError, match=f"{name} cannot .* not a regular file"):
            read_image(tmp_path / name)
    assert "symbolic links" in str(probe(tmp_path / "loop.png", header_only=False))


def test_a_file_too_large_for_an_image_is_not_read(tmp_path: Path):
    path = save(photo(40, 30), tmp_path / "a.jpg")
    with path.open("ab") as file:
        file.truncate(3 * 10**9)  # a hole, no bytes on the disk

    assert probe(path, header_only=False) == "the file has 3.0 GB, over the 2 that are read"


def test_the_header_of_a_large_file_is_looked_at_before_the_rest_is_read(tmp_path: Path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(10**8)
    tracemalloc.start()
    reason = probe(path, header_only=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert reason == "not an image of a known format"
    assert peak < 1e7


def test_too_little_memory_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def load(image: Image.Image) -> None:
        raise MemoryError

    path = save(photo(7, 5), tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)

    with pytest.raises(DataError, match=r"a\.png .*: there is not enough memory to decode it"):
        read_image(path)


def test_large_images_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(photo(7, 5), tmp_path / "a.png")
    waits, decode = list[bool](), read._pixels

    def watched(*given: Any) -> Any:
        waits.append(read._ONE_AT_A_TIME.locked())
        return decode(*given)

    monkeypatch.setattr(read, "_pixels", watched)
    read_image(path)
    monkeypatch.setattr(read, "_LARGE", 34)  # pixels; it has 35
    read_image(path)

    assert waits == [False, True]
    assert not read._ONE_AT_A_TIME.locked()


@pytest.mark.parametrize("suffix", ["heic", "heif", "avif"])
def test_what_phones_write_is_read(tmp_path: Path, suffix: str):
    if f".{suffix}" not in readable_suffixes():
        pytest.skip(f"no library that reads .{suffix} is installed")
    read._register_plugins()  # to save, too
    path = save(Image.new("RGB", (64, 32), "red"), tmp_path / f"a.{suffix}", quality=95)

    assert is_image_name(path.name.upper())
    assert probe(path, header_only=True) == 32
    assert tuple(read_image(path).shape) == (3, 32, 64)
    assert_close(
        read_image(path.read_bytes())[:, 16, 32],
        torch.tensor(RED, dtype=torch.uint8),
        atol=8,
        rtol=0,
    )


@pytest.fixture
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where PIL has none of the helpers."""
    caches = (readable_suffixes, unreadable_suffixes)
    monkeypatch.setattr(read, "find_spec", lambda name: None)
    monkeypatch.setattr(read.features, "check", lambda name: False)
    monkeypatch.setattr(read, "_register_plugins", lambda: None)
    monkeypatch.setattr(Image, "ID", ["PNG"])
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("without_plugins")
@pytest.mark.parametrize(
    ("suffix", "hint"),
    [
        (".heic", "pip install 'mobilenets[heif]'"),
        (".hif", "pip install 'mobilenets[heif]'"),
        (".avif", "pip install --upgrade pillow"),
    ],
)
def test_an_image_that_needs_a_library_says_which(tmp_path: Path, suffix: str, hint: str):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic")

    assert not is_image_name(path.name)
    assert unreadable_suffixes()[suffix] == hint
    assert probe(path, header_only=False) == f"{suffix} files cannot be read here: {hint}"


def test_no_suffix_is_both_readable_and_not():
    assert not readable_suffixes() & unreadable_suffixes().keys()
    assert unreadable_suffixes()[".nef"] == "convert them to PNG, JPEG or TIFF"


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
    assert_close(ours, expected, atol=0, rtol=0)


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
        "grey_range": None,
        "resize": "crop",
        "antialias": True,
        "resized_as_by": "Pillow",
        "value_range": [0, 1],
        "colour": "RGB",
        "reading": {
            "frame": "first",
            "orientation": "EXIF",
            "transparency": "on white",
            "colour_profile": "ignored",
        },
    }


def test_a_preprocessing_record_reads_back():
    rule = Preprocess(192, 0.9, "bicubic", (-600, 400.5), "stretch")

    assert Preprocess.from_json(json.loads(json.dumps(rule.to_json()))) == rule


@pytest.mark.parametrize("word", ["pad", "", None, 3])
def test_a_record_of_another_resizing_is_refused(word: Any):
    with pytest.raises(DataError, match="images are resized by crop or stretch, got"):
        Preprocess.from_json({**Preprocess(8).to_json(), "resize": word})


def test_a_record_without_its_resizing_cuts_the_centre():
    assert Preprocess.from_json({"resolution": 8, "crop": 1.0}).resize == "crop"


@pytest.mark.parametrize("shape", [(301, 203), (203, 301), (96, 96)])
@pytest.mark.parametrize("resolution", [96, (64, 128)])
def test_an_image_is_stretched_as_pillow_resizes_it(shape: Any, resolution: Any):
    picture = photo(*shape)
    rule = Preprocess(resolution, resize="stretch")

    ours = rule(torch.from_numpy(np.array(picture)).permute(2, 0, 1))

    size = (96, 96) if resolution == 96 else (128, 64)
    theirs = np.array(picture.resize(size, Image.Resampling.BILINEAR))
    assert_close(ours.permute(1, 2, 0), torch.from_numpy(theirs), rtol=0, atol=0)


def test_of_a_stretched_image_a_part_may_be_cut():
    picture = photo(300, 200)

    ours = Preprocess(56, 0.875, resize="stretch")(
        torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    )

    theirs = np.array(picture.resize((64, 64), Image.Resampling.BILINEAR))[4:60, 4:60]
    assert_close(ours.permute(1, 2, 0), torch.from_numpy(theirs), rtol=0, atol=0)


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


@pytest.mark.parametrize(
    "grey_range", [5, "12", [1], [1, 2, 3], [2, 2], [3, 1], ["a", 1], [0, "nan"]]
)
def test_a_record_with_an_odd_range_is_refused(grey_range: Any):
    with pytest.raises(DataError, match=r"a range of grey is two numbers, .* such as 0:4095, got"):
        Preprocess.from_json({**Preprocess(8).to_json(), "grey_range": grey_range})


@pytest.mark.parametrize("resolution", [0, -1, 96.0, "96", True])
def test_a_resolution_that_is_no_count_is_refused(resolution: Any):
    with pytest.raises(DataError, match="resolution must be a whole number"):
        Preprocess(resolution)


@pytest.mark.parametrize("crop", [0, 1.1, -0.5, "1", float("nan")])
def test_a_crop_beyond_the_image_is_refused(crop: Any):
    with pytest.raises(DataError, match="crop must be above 0 and at most 1, got"):
        Preprocess(8, crop)
