"""Images as tensors: decoding, training squares, the order of an epoch, augmentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader
from torchvision.transforms import functional as pil_transforms

from mobilenets.archs import Size
from mobilenets.data import (
    Arrays,
    Augment,
    EpochSampler,
    Images,
    MemoryPixels,
    Preprocess,
    SplitRule,
    StreamedPixels,
    augment,
    decode,
    load_images,
    physical_bytes,
    train_pixels,
    training_size,
    whole,
)
from mobilenets.data.pool import each
from mobilenets.errors import DataError
from mobilenets.tasks.classification import Classification, ClassNumbers


def array_images(count: int = 12, size: int = 8) -> Images:
    """Image i is filled with i; its label is i % 3; the first two thirds train."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, size, size))
    parts = np.split(np.arange(count), [count * 2 // 3, count - 2, count - 1])
    return Images(
        "numbers",
        Classification(("a", "b", "c")),
        Arrays(pixels, "numbers"),
        ClassNumbers(np.arange(count) % 3),
        *parts,
        skipped=(),
        ignored=0,
        native_size=size,
        digests=np.arange(count, dtype=np.uint64),
        fingerprint="0",
        flip=False,
        rule=SplitRule(),
        origin={"val": "given", "test": "given"},
    )


def photo_images(folder: Path, *, suffix: str = "png", size: tuple[int, int] = (60, 40)) -> Images:
    """Six smooth pictures in two classes."""
    x, y = np.meshgrid(np.linspace(0, 3, size[0]), np.linspace(0, 2, size[1]))
    for number in range(6):
        path = folder / "ab"[number % 2] / f"{number}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        waves = [np.sin(x + y + number), np.cos(x * y), np.sin(2 * x - y)]
        Image.fromarray(((np.stack(waves, axis=2) + 1) * 127).astype(np.uint8)).save(path)
    return load_images(folder)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=seeded(7))


def ramp(count: int, size: int) -> torch.Tensor:
    """(count, 3, size, size); red grows with x, green with y, blue is 100."""
    steps = torch.linspace(0, 255, size).round()
    red, green = steps.expand(size, size), steps.view(-1, 1).expand(size, size)
    image = torch.stack([red, green, torch.full((size, size), 100.0)])
    return image.to(torch.uint8).expand(count, 3, size, size)


# Decoding


def test_decoded_images_are_what_pil_makes_of_the_files(tmp_path: Path):
    images = photo_images(tmp_path)
    pixels = decode(images, images.val, Preprocess(28, 0.875))

    for got, index in zip(pixels, images.val, strict=True):
        with Image.open(tmp_path / images.source.name(int(index))) as image:
            theirs = pil_transforms.center_crop(pil_transforms.resize(image, 32), [28])
        expected = torch.from_numpy(np.array(theirs)).permute(2, 0, 1)
        assert_close(got, expected, atol=2, rtol=0)  # both round after each of two passes


def test_decoding_keeps_the_order_of_the_indices():
    pixels = decode(array_images(), np.array([5, 0, 11]), Preprocess(8))

    assert (tuple(pixels.shape), pixels.dtype) == ((3, 3, 8, 8), torch.uint8)
    assert pixels[:, 0, 0, 0].tolist() == [5, 0, 11]


@pytest.mark.parametrize("small_s", [0.0, 1e9], ids=["threads", "one thread"])
def test_images_are_decoded_in_inference_mode_too(small_s: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mobilenets.data.pool.SMALL_S", small_s)

    with torch.inference_mode():
        pixels = decode(array_images(), np.repeat(np.arange(12), 20), Preprocess(8))

    assert pixels[:, 0, 0, 0].tolist() == np.repeat(np.arange(12), 20).tolist()


def test_decoding_nothing_gives_an_empty_tensor():
    assert tuple(decode(array_images(), np.array([], int), Preprocess(8)).shape) == (0, 3, 8, 8)


def test_decoding_reports_progress():
    seen: list[tuple[int, int]] = []
    images = array_images(200)
    decode(images, images.train, Preprocess(8), progress=lambda *state: seen.append(state))

    assert seen[-1] == (133, 133)


def test_a_file_that_went_bad_stops_decoding(tmp_path: Path):
    images = photo_images(tmp_path)
    (tmp_path / "a" / "0.png").write_text("no pixels")

    with pytest.raises(DataError, match=r"0\.png cannot be read as an image"):
        decode(images, np.arange(6), Preprocess(8))


def test_images_that_memory_does_not_hold_are_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def empty(*shape: Any, **options: Any) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "empty", empty)

    with pytest.raises(
        DataError, match=r"12 images of 8 x 8 pixels take 0\.0 GB, more memory than"
    ):
        decode(array_images(), np.arange(12), Preprocess(8))


@pytest.mark.parametrize("small_s", [0.0, 1e9], ids=["threads", "one thread"])
def test_work_comes_back_in_order(small_s: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mobilenets.data.pool.SMALL_S", small_s)

    assert each(lambda index: index * 2, 1000) == list(range(0, 2000, 2))


# Training squares


@pytest.mark.parametrize(
    ("native", "resolution", "side"),
    [(28, 32, 28), (28, 28, 28), (224, 224, 224), (500, 224, 258), (100, 96, 100), (500, 96, 110)],
)
def test_training_squares_have_room_for_crops_but_invent_no_pixels(
    native: int, resolution: int, side: int
):
    images = replace(array_images(), native_size=native)

    assert training_size(images, Size(resolution, resolution)) == (side, side)


def test_training_pixels_are_the_training_images_with_their_labels():
    data = train_pixels(array_images(), Size(16, 16))

    assert isinstance(data, MemoryPixels)
    assert data.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert data.target.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert tuple(data.pixels.shape) == (8, 3, 8, 8)


@pytest.mark.parametrize(("memory_bytes", "kind"), [(1536, MemoryPixels), (1535, StreamedPixels)])
def test_images_beyond_the_memory_limit_are_streamed(memory_bytes: int, kind: type):
    assert (
        type(train_pixels(array_images(), Size(8, 8), memory_bytes=memory_bytes)) is kind
    )  # 8 * 3 * 8 * 8


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_streamed_batches_equal_those_in_memory(tmp_path: Path, suffix: str):
    images = photo_images(tmp_path, suffix=suffix, size=(640, 480))
    memory, streamed = (train_pixels(images, Size(32, 32), memory_bytes=n) for n in (10**9, 0))
    got, expected = streamed.__getitems__([1, 0]), memory.__getitems__([1, 0])

    assert isinstance(streamed, StreamedPixels)
    assert_close(got[0], expected[0], rtol=0, atol=0)
    assert_close(got[1], expected[1], rtol=0, atol=0)


def test_a_photo_read_smaller_for_training_looks_the_same(tmp_path: Path):
    images = photo_images(tmp_path, suffix="jpg", size=(640, 480))
    squares = train_pixels(images, Size(32, 32)).__getitems__(range(len(images.train)))[0]

    exact = decode(images, images.train, images.preprocess(37))
    assert_close(squares.float(), exact.float(), atol=4, rtol=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_hands_whole_batches_over(tmp_path: Path, workers: int):
    data = train_pixels(photo_images(tmp_path), Size(16, 16), memory_bytes=0)
    loader = DataLoader(
        data,
        batch_size=2,
        sampler=EpochSampler(len(data), seed=0),
        collate_fn=whole,
        num_workers=workers,
    )
    batch = next(iter(loader))
    pixels, target = batch.pixels, batch.target

    assert (tuple(pixels.shape), target.dtype) == ((2, 3, 18, 18), torch.int64)


def test_the_machine_has_some_memory():
    assert 10**8 < physical_bytes() < 10**14


# The order of an epoch


def test_an_epoch_visits_every_index_once():
    assert sorted(EpochSampler(100, seed=0)) == list(range(100))


def test_the_order_depends_on_seed_and_epoch_only():
    resumed = EpochSampler(100, seed=3)
    resumed.set_epoch(7)
    ran = EpochSampler(100, seed=3)
    for epoch in range(8):
        ran.set_epoch(epoch)
        order = list(ran)

    assert list(resumed) == order


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = set()
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        sampler = EpochSampler(100, seed=seed)
        sampler.set_epoch(epoch)
        orders.add(tuple(sampler))

    assert len(orders) == 4


# Augmentation


def varied(batch: Tensor, side: int, how: Augment, generator: torch.Generator) -> Tensor:
    return augment(batch, Size(side, side), how, generator=generator)[0]


def test_without_variation_images_are_only_scaled_to_0_1():
    batch = batch_of(4, 16)

    got = varied(batch, 16, Augment.none(), generator=seeded())
    assert_close(got, batch / 255, atol=1e-5, rtol=0)


def test_without_variation_enlarging_is_a_bilinear_resize():
    batch = batch_of(4, 28)

    expected = F.interpolate(batch / 255, size=(32, 32), mode="bilinear")
    assert_close(varied(batch, 32, Augment.none(), generator=seeded()), expected, atol=1e-5, rtol=0)


def test_large_images_are_shrunk_with_antialiasing():
    column = torch.arange(256) % 8
    stripes = (((column == 3) | (column == 4)) * 255).to(torch.uint8).expand(1, 3, 256, 256)

    got = varied(stripes, 32, Augment.none(), generator=seeded())[..., 1:-1]
    assert_close(got, torch.full((1, 3, 32, 30), 0.25), atol=0.01, rtol=0)  # aliased: 1


def test_the_same_generator_gives_the_same_batch():
    batch, how = batch_of(8, 20), Augment(shift=0.1, rotate_degrees=10)
    first, again, other = (varied(batch, 16, how, generator=seeded(s)) for s in (1, 1, 2))

    assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)


def test_augmentation_leaves_its_input():
    batch = batch_of(4, 16)
    before = batch.clone()
    varied(batch, 16, Augment(), generator=seeded())

    assert_close(batch, before, rtol=0, atol=0)


def test_augmented_images_stay_within_0_1():
    how = Augment(colour=1.0, rotate_degrees=180, shift=0.5)
    got = varied(batch_of(64, 20), 16, how, generator=seeded())

    assert (got.dtype, tuple(got.shape)) == (torch.float32, (64, 3, 16, 16))
    assert (float(got.min()), float(got.max())) == (0.0, 1.0)


def test_half_of_the_images_are_mirrored():
    images = ramp(1000, 8)
    got = varied(images, 8, replace(Augment.none(), flip=True), generator=seeded())
    mirrored = (got[:, 0, 0, 0] > 0.5).nonzero().flatten()

    assert 450 < len(mirrored) < 550
    assert_close(got[mirrored], (images[mirrored] / 255).flip(3), atol=1e-5, rtol=0)


def test_every_image_is_varied_by_itself():
    got = varied(ramp(50, 16), 16, Augment(), generator=seeded())

    assert len({tuple(image.flatten().tolist()) for image in got}) == 50


def test_a_crop_of_a_quarter_spans_half_of_each_side():
    how = replace(Augment.none(), scale=(0.25, 0.25))
    got = varied(ramp(200, 64), 32, how, generator=seeded())

    across = got[:, 0, 16, 31] - got[:, 0, 16, 0]  # 31 of 32 steps of half a ramp
    assert_close(across, torch.full((200,), 31 / 63), atol=0.02, rtol=0)


def test_crops_reach_every_edge_and_not_beyond():
    how = replace(Augment.none(), scale=(0.25, 0.25))
    got = varied(ramp(2000, 64), 32, how, generator=seeded())

    left = got[:, 0, 16, 0] * 63  # the ramp is the coordinate, in steps of one pixel
    assert_close(left.min(), torch.tensor(0.0), atol=0.3, rtol=0)
    assert_close(left.max(), torch.tensor(32.0), atol=0.3, rtol=0)


def test_ratio_is_width_over_height():
    how = replace(Augment.none(), scale=(0.25, 0.25), ratio=(2.0, 2.0))
    got = varied(ramp(50, 64), 32, how, generator=seeded())

    across, down = (got[:, 0, 16, 31] - got[:, 0, 16, 0]), (got[:, 1, 31, 16] - got[:, 1, 0, 16])
    assert_close(across / down, torch.full((50,), 2.0), rtol=0.05, atol=0)


def test_a_shift_moves_the_image_and_mirrors_the_outside():
    how = replace(Augment.none(), shift=0.25)
    got = varied(ramp(500, 64), 64, how, generator=seeded())

    # At the utmost, 16 of 64 pixels to the right: column 0 shows column 16 mirrored about the edge.
    far = got[got[:, 0, 32, 63].argmin(), 0, 32] * 63
    assert_close(far[0], torch.tensor(15.0), atol=0.5, rtol=0)
    assert_close(far[16], torch.tensor(0.0), atol=0.5, rtol=0)
    assert_close(far[63], torch.tensor(47.0), atol=0.5, rtol=0)


def test_a_quarter_turn_swaps_the_axes():
    how = replace(Augment.none(), rotate_degrees=90)
    torch_rand = torch.ones(9, 1)  # every draw at its upper end: +90 degrees

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda *_, **__: torch_rand)
        got = varied(ramp(1, 16), 16, how, generator=seeded())
    assert_close(got[0, :2], torch.rot90(ramp(1, 16)[0, :2] / 255, dims=(1, 2)), atol=1e-5, rtol=0)


def test_colour_changes_brightness_within_its_range():
    grey = torch.full((500, 3, 4, 4), 100, dtype=torch.uint8)  # contrast leaves an even image
    how = replace(Augment.none(), colour=0.2)
    got = varied(grey, 4, how, generator=seeded()) * 255

    assert_close(got.amin(), torch.tensor(80.0), atol=0.5, rtol=0)
    assert_close(got.amax(), torch.tensor(120.0), atol=0.5, rtol=0)


def test_colour_changes_contrast_about_the_mean():
    batch = torch.tensor([100, 140], dtype=torch.uint8).view(1, 1, 1, 2).expand(500, 3, 2, 2)
    how = replace(Augment.none(), colour=0.2)
    got = varied(batch, 2, how, generator=seeded()) * 255

    spread = (got[:, 0, 0, 1] - got[:, 0, 0, 0]) / got.mean(dim=(1, 2, 3))  # brightness cancels
    assert_close(spread.amin(), torch.tensor(0.8 * 40 / 120), atol=0.005, rtol=0)
    assert_close(spread.amax(), torch.tensor(1.2 * 40 / 120), atol=0.005, rtol=0)


def test_points_go_where_the_pixels_go():
    how = Augment(scale=(0.6, 0.9), shift=0.1, rotate_degrees=30, colour=0)
    column, row = torch.full((200,), 20), torch.arange(24, 40).repeat(13)[:200]
    marked = torch.zeros(200, 3, 64, 64, dtype=torch.uint8)
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):  # four pixels about a corner
        marked[torch.arange(200), :, row - dy, column - dx] = 255
    places = torch.stack([column, row], dim=1) / 32 - 1

    got, geometry = augment(marked, Size(64, 64), how, generator=seeded())
    moved = geometry.points(places[:, None].float())[:, 0]

    inside = (moved.abs() < 0.8).all(dim=1)  # further out the mirrored image has a mark, too
    seen = got[inside, 0] / got[inside, 0].sum(dim=(1, 2), keepdim=True)
    centres = (torch.arange(64) + 0.5) / 32 - 1
    middle = torch.stack([(seen.sum(1) * centres).sum(1), (seen.sum(2) * centres).sum(1)], dim=1)
    assert inside.sum() > 100
    assert (moved[inside, 0] > 0).float().mean() > 0.2  # the mirrored ones
    assert_close(middle, moved[inside], atol=0.2 / 32, rtol=0)  # a fifth of a pixel


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (0.0, 1.0)}, r"scale must rise within 0\.\.1, such as \(0\.35, 1\), got \(0\.0"),
        ({"scale": (0.9, 0.3)}, r"scale must rise within 0\.\.1"),
        ({"scale": (0.5, 1.1)}, r"scale must rise within 0\.\.1"),
        ({"ratio": (0.0, 1.0)}, "ratio must rise above 0"),
        ({"shift": 0.6}, "shift must be at least 0 and at most 0.5, got 0.6"),
        ({"rotate_degrees": -1}, "rotate_degrees must be at least 0 and at most 180, got -1"),
        ({"colour": 1.5}, "colour must be at least 0 and at most 1, got 1.5"),
    ],
)
def test_a_variation_that_cannot_be_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(DataError, match=message):
        Augment(**options)
