"""Images that break while training runs: told, counted, and never trained on as garbage."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from mobilenets.archs import Size
from mobilenets.commands.train import Training, train_named
from mobilenets.data import Images, load_images, train_pixels, whole
from mobilenets.data import batches as loading
from mobilenets.errors import DataError
from mobilenets.nn import Checkpoint
from mobilenets.train import Limits
from mobilenets.train.module import Learner
from tests.three import three_digits

NAME = "mobilenet_v1_0.25_8_os4"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A hundred images of each of three digits."""
    return three_digits(tmp_path)


def training_files(images: Images, count: int) -> list[Path]:
    return [images.source.stored(int(index)) for index in images.train[:count]]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:60])


@pytest.mark.parametrize("workers", [0, 1])
def test_another_image_of_the_batch_stands_in_with_its_own_label(data: Path, workers: int):
    images = load_images(data)
    pixels = train_pixels(images, Size(8, 8), memory_bytes=0)
    given = list(range(0, 200, 50))
    before = pixels.__getitems__(given)
    truncate(training_files(images, 51)[0])
    training_files(images, 51)[50].unlink()
    loader = DataLoader(pixels, batch_sampler=[given], collate_fn=whole, num_workers=workers)

    batch = next(iter(loader))

    assert before.broken == ()
    assert torch.equal(batch.pixels, before.pixels[[2, 3, 2, 3]])
    assert torch.equal(batch.target, before.target[[2, 3, 2, 3]])
    first, second = (file.name for file in (training_files(images, 51)[at] for at in (0, 50)))
    assert re.search(rf"{first} cannot be read as an image: .*truncated", batch.broken[0])
    assert re.search(rf"{second} cannot be read as an image: No such file", batch.broken[1])


def run_and_break(data: Path, out: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """A streamed training of three epochs; before the second, so many of its files break."""
    files = training_files(load_images(data), count)
    plain = Learner.start_epoch

    def start(module: Learner, epoch: int) -> None:
        if epoch == 1:
            for file in files:
                truncate(file)
        plain(module, epoch)

    monkeypatch.setattr(loading, "MEMORY_PART", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(Learner, "start_epoch", start)
    train_named(Training(NAME, data, limits=Limits(epochs=3, flip=False), out=out))
    return Checkpoint.load(out / "trained.safetensors")


@pytest.mark.slow
def test_one_broken_image_is_told_once_and_training_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, logger="mobilenets"):
        checkpoint = run_and_break(data, tmp_path / "run", 1, monkeypatch)

    warned = [record.getMessage() for record in caplog.records if "stands in" in record.message]
    assert len(warned) == 1
    assert re.search(r"png cannot be read as an image: .*truncated.*; another .*\(1 so", warned[0])
    [noted] = checkpoint.training["unreadable"]
    assert warned[0].startswith(noted)
    assert re.match(rf"{data}/\d/\d+\.png ", noted)


@pytest.mark.slow
def test_more_than_one_in_a_hundred_stop_it_and_the_last_epoch_is_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(
        DataError, match=r"\d images cannot be read any more, the last: .*png .*, and run the same"
    ):
        run_and_break(data, tmp_path / "run", 20, monkeypatch)

    assert (tmp_path / "run" / "last.ckpt").exists()
    assert not (tmp_path / "run" / "trained.safetensors").exists()
