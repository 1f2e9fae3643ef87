"""WebDataset shards: written, read at random, split as what they were made of."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from torch.testing import assert_close
from typer.testing import CliRunner

from mobilenets.archs import Size
from mobilenets.cli.app import app
from mobilenets.commands import shard as command
from mobilenets.data import (
    Images,
    Members,
    ShardSize,
    load_images,
    pack,
    remembered,
    train_pixels,
    write_shards,
)
from mobilenets.data.formats.shards import expand_braces
from mobilenets.errors import DataError


def fill(folder: Path, *, cats: int = 10, dogs: int = 10, suffix: str = "png") -> Path:
    """A folder per class; every image is its own colour, in folders of other names too."""
    for pet, count in (("cat", cats), ("dog", dogs)):
        (folder / pet).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            colour = (10 * number, 100 if pet == "cat" else 200, crc32(folder.name.encode()) % 256)
            Image.new("RGB", (6, 4), colour).save(folder / pet / f"{number}.{suffix}")
    return folder


def sharded(tmp_path: Path, *, count: int = 7) -> tuple[Images, Images]:
    """The images of a folder, and those of its shards."""
    images = load_images(fill(tmp_path / "pets"))
    write_shards(images, tmp_path / "shards", ShardSize(count=count))
    return images, load_images(tmp_path / "shards")


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def members(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return tar.getmembers()


def dot(colour: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


def dots(count: int = 8, *, label: str = "{}") -> dict[str, bytes]:
    """Samples 00, 01, ... with labels 0, 1, 0, 1, ..."""
    files: dict[str, bytes] = {}
    for number in range(count):
        files[f"{number:02}.png"] = dot(number)
        files[f"{number:02}.cls"] = label.format(number % 2).encode()
    return files


def index_of(folder: Path, **record: Any) -> None:
    (folder / "shards.json").write_text(json.dumps(record))


def pixels(images: Images, split: str) -> torch.Tensor:
    return torch.stack([images.source.read(int(index)) for index in getattr(images, split)])


# What we write


@pytest.mark.parametrize("split", ["train", "holdout", "val"])
def test_shards_are_split_as_the_folder_they_were_made_of(tmp_path: Path, split: str):
    images, shards = sharded(tmp_path)

    assert shards.task.labels == images.task.labels == ("cat", "dog")
    assert_close(pixels(shards, split), pixels(images, split), rtol=0, atol=0)
    chosen = getattr(shards, split)
    assert (
        shards.targets.values[chosen].tolist()
        == images.targets.values[getattr(images, split)].tolist()
    )


def test_training_batches_are_those_of_the_folder(tmp_path: Path):
    images, shards = sharded(tmp_path)
    one, other = (train_pixels(each, Size(8, 8), memory_bytes=0) for each in (images, shards))

    for a, b in zip(one.__getitems__([3, 0, 5]), other.__getitems__([3, 0, 5]), strict=True):
        assert_close(a, b, rtol=0, atol=0)


def test_a_given_split_is_kept(tmp_path: Path):
    fill(tmp_path / "pets/train", cats=6, dogs=6)
    fill(tmp_path / "pets/test", cats=2, dogs=1)
    index = write_shards(load_images(tmp_path / "pets"), tmp_path / "shards")
    shards = load_images(tmp_path / "shards")

    assert index["shards"] == ["train-000000.tar", "test-000001.tar"]
    assert (len(shards.train) + len(shards.holdout), len(shards.val)) == (12, 3)
    assert shards.origin["val"] == "given as test"


def test_a_shard_holds_at_most_so_many_images(tmp_path: Path):
    sharded(tmp_path, count=7)

    assert [len(members(path)) // 2 for path in expand(tmp_path, 3)] == [7, 7, 6]


def test_a_shard_holds_at_most_so_many_bytes_but_one_image(tmp_path: Path):
    images = load_images(fill(tmp_path / "pets", cats=3, dogs=3))
    index = write_shards(images, tmp_path / "shards", ShardSize(size_bytes=1))

    assert len(index["shards"]) == 6


def expand(tmp_path: Path, count: int) -> list[Path]:
    return expand_braces(f"{tmp_path}/shards/images-{{000000..{count - 1:06}}}.tar")


def test_shards_are_the_same_bytes_each_time(tmp_path: Path):
    images = load_images(fill(tmp_path / "pets"))
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        write_shards(images, folder, ShardSize(count=9))

    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in second.iterdir())
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_jpeg_files_are_copied_and_others_become_png(tmp_path: Path):
    fill(tmp_path / "pets", cats=3, dogs=0, suffix="jpg")
    fill(tmp_path / "pets", cats=0, dogs=3, suffix="webp")
    images = load_images(tmp_path / "pets")
    write_shards(images, tmp_path / "shards")
    shards = load_images(tmp_path / "shards")

    assert shards.source.stored(0) == (tmp_path / "pets/cat/0.jpg").read_bytes()
    assert shards.source.name(5) == "images-000000.tar/00000005.png"
    assert_close(shards.source.read(5), images.source.read(5), rtol=0, atol=0)


def test_built_in_images_keep_their_pixels_and_that_they_have_no_mirror_image(tmp_path: Path):
    digits = load_images("digits")
    few = replace(digits, train=digits.train[:60], holdout=digits.holdout[:0], val=digits.val[:10])
    write_shards(few, tmp_path / "shards")
    shards = load_images(tmp_path / "shards")

    assert shards.flip is False
    order = np.sort(np.concatenate([few.train, few.val]))
    assert_close(shards.source.read(9), digits.source.read(int(order[9])), rtol=0, atol=0)


def test_images_that_cannot_be_read_are_left_out_and_named(tmp_path: Path):
    fill(tmp_path / "pets")
    (tmp_path / "pets/cat/broken.png").write_bytes(b"no picture")
    index = write_shards(load_images(tmp_path / "pets"), tmp_path / "shards")

    assert index["images"] == 20
    assert index["skipped"][0]["name"] == "cat/broken.png"


def test_killed_and_called_again_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = load_images(fill(tmp_path / "pets"))
    shards, write = tmp_path / "shards", pack.write_bytes

    def stop(path: Path, data: bytes) -> None:
        if path.name == "images-000001.tar":
            raise MemoryError("killed")
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(pack, "write_bytes", stop)
        with pytest.raises(MemoryError):
            write_shards(images, shards, ShardSize(count=7))
    with pytest.raises(DataError, match=r"lacks shards\.json: its shards were not finished"):
        load_images(shards)
    before = (shards / "images-000000.tar").stat().st_mtime_ns
    write_shards(images, shards, ShardSize(count=7))

    assert (shards / "images-000000.tar").stat().st_mtime_ns == before
    assert len(load_images(shards).source) == 20


def test_finished_shards_are_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = load_images(fill(tmp_path / "pets"))
    first = write_shards(images, tmp_path / "shards")
    monkeypatch.setattr(pack, "write_bytes", None)  # would fail if called

    assert write_shards(images, tmp_path / "shards") == first


def test_shards_of_other_images_are_not_overwritten(tmp_path: Path):
    images, _ = sharded(tmp_path)

    with pytest.raises(DataError, match="holds shards of other images or of another size"):
        write_shards(replace(images, fingerprint="other"), tmp_path / "shards", ShardSize(count=7))
    with pytest.raises(DataError, match="is not empty; choose a new folder"):
        write_shards(images, tmp_path / "pets")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"size_bytes": 0}, "a shard's size must be positive, got 0"),
        ({"count": 0}, "a shard must hold at least 1 image, got 0"),
    ],
)
def test_shards_that_cannot_be_are_refused(size: dict[str, int], message: str):
    with pytest.raises(DataError, match=message):
        ShardSize(**size)


def test_the_command_says_what_it_wrote(tmp_path: Path):
    fill(tmp_path / "pets")
    out = str(tmp_path / "shards")

    run = CliRunner().invoke(app, ["shard", str(tmp_path / "pets"), out, "--count", "15"])

    assert run.stdout == f"2 shards of 20 images: {out}\n"


def test_the_command_says_what_it_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (fill(tmp_path / "pets") / "cat" / "list.txt").touch()
    said: list[str] = []
    monkeypatch.setattr(command.log, "warning", said.append)
    command.shard(command.Sharding(tmp_path / "pets", tmp_path / "shards", ShardSize()))

    assert said[0] == "1 file left out, not read as images: 1 .txt"


# WebDataset's own package


# The package leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_what_we_write(tmp_path: Path):
    images, _ = sharded(tmp_path, count=20)
    url = str(tmp_path / "shards/images-000000.tar")
    dataset = webdataset.WebDataset(url, shardshuffle=False).decode("rgb8").to_tuple("png", "cls")
    theirs = sorted((int(label), image.tobytes()) for image, label in dataset)

    ours = [images.source.read(i).permute(1, 2, 0).numpy().tobytes() for i in range(20)]
    assert theirs == sorted(zip(images.targets.values.tolist(), ours, strict=True))


@pytest.mark.parametrize("kind", ["cls", "json"])
def test_what_webdataset_writes_is_read(tmp_path: Path, kind: str):
    with webdataset.ShardWriter(str(tmp_path / "train-%03d.tar"), maxcount=8, verbose=0) as writer:
        for number in range(20):
            label = number % 3
            sample = {"png": dot(number), kind: label if kind == "cls" else {"label": label}}
            writer.write({"__key__": f"sample{number:04}", **sample})
    images = load_images(tmp_path)

    assert len(images.source) == 20
    assert images.task.labels == ("0", "1", "2")
    assert images.targets.values[:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert images.source.read(13)[0].unique().tolist() == [13]


# Shards of others


def test_a_pattern_names_some_shards_of_a_folder(tmp_path: Path):
    for number in range(3):
        tar_of(tmp_path / f"pets-{number:03}.tar", dots())
    images = load_images(f"{tmp_path}/pets-{{000..001}}.tar")

    assert len(images.source) == 16
    assert images.source.name(8) == "pets-001.tar/00.png"


def test_braces_are_expanded_with_their_zeros():
    names = expand_braces("{1..2}/a-{008..010}.tar")

    assert [str(name) for name in names] == [
        "1/a-008.tar", "1/a-009.tar", "1/a-010.tar", "2/a-008.tar", "2/a-009.tar", "2/a-010.tar"
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["{}/000.tar", "pets-{}-000.tar"])
def test_the_split_is_in_the_path(tmp_path: Path, place: str):
    tar_of(tmp_path / place.format("train"), dots())
    tar_of(tmp_path / place.format("validation"), dots(4))
    images = load_images(tmp_path)

    assert (len(images.val), images.origin["val"]) == (4, "given")


def test_a_split_in_some_names_only_is_refused(tmp_path: Path):
    tar_of(tmp_path / "train.tar", dots())
    tar_of(tmp_path / "more.tar", dots())

    with pytest.raises(DataError, match="train, val or test in the names of some shards only"):
        load_images(tmp_path)


def test_numbers_are_sorted_as_numbers(tmp_path: Path):
    files = {k: v if k.endswith("png") else b"10" if v == b"0" else b"9" for k, v in dots().items()}
    tar_of(tmp_path / "a.tar", files)

    assert load_images(tmp_path).task.labels == ("9", "10")


def test_a_class_may_be_named_in_the_shard_or_in_the_index(tmp_path: Path):
    tar_of(tmp_path / "named/a.tar", dots(label="pet {}"))
    tar_of(tmp_path / "numbered/a.tar", dots())
    index_of(tmp_path / "numbered", classes=["dog", "cat"])

    assert load_images(tmp_path / "named").task.labels == ("pet 0", "pet 1")
    numbered = load_images(tmp_path / "numbered")
    assert numbered.task.labels == ("dog", "cat")
    assert numbered.targets.values[:2].tolist() == [0, 1]


def test_files_beside_image_and_label_are_counted_as_ignored(tmp_path: Path):
    tar_of(tmp_path / "a.tar", {"read.me": b"", "00.txt": b"a dot"} | dots())

    images = load_images(tmp_path)

    assert len(images.source) == 8
    assert images.ignored == 2


def test_an_image_that_cannot_be_read_is_skipped_and_named(tmp_path: Path):
    tar_of(tmp_path / "a.tar", dots(10) | {"03.png": b"no picture"})
    images = load_images(tmp_path)

    assert images.skipped == (("a.tar/03.png", "not an image of a known format"),)
    assert 3 not in np.concatenate([images.train, images.holdout, images.val])


def test_images_in_a_tar_that_were_read_before_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tar_of(tmp_path / "a.tar", dots(10) | {"03.png": b"no picture"})
    monkeypatch.setattr(remembered, "SETTLED_NS", 0)
    first, read = load_images(tmp_path), list[int]()
    stored = Members.stored
    monkeypatch.setattr(
        Members, "stored", lambda self, index: read.append(index) or stored(self, index)
    )
    again = load_images(tmp_path, known=first.to_json())

    assert read == [3]
    assert again.skipped == first.skipped == (("a.tar/03.png", "not an image of a known format"),)
    assert again.fingerprint == first.fingerprint


def test_shards_are_what_their_members_hold_and_hold_what_the_files_do(tmp_path: Path):
    images, shards = sharded(tmp_path)
    shutil.copytree(tmp_path / "shards", tmp_path / "there", copy_function=shutil.copyfile)

    assert sorted(shards.digests.tolist()) == sorted(images.digests.tolist())
    assert load_images(tmp_path / "there").fingerprint == shards.fingerprint


def test_a_folder_of_classes_with_an_archive_is_no_shards(tmp_path: Path):
    fill(tmp_path)
    tar_of(tmp_path / "pets.tar", dots())

    assert load_images(tmp_path).task.labels == ("cat", "dog")


# Failing well


@pytest.mark.parametrize("cut", [100, 700, 3000])
def test_a_tar_that_is_cut_short_is_refused(tmp_path: Path, cut: int):
    path = tar_of(tmp_path / "a.tar", dots())
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(DataError, match=r"a\.tar (cannot be read as a tar file|ends before)"):
        load_images(tmp_path)


def test_a_tar_cut_between_its_files_is_refused(tmp_path: Path):
    path = tar_of(tmp_path / "a.tar", dots())
    path.write_bytes(path.read_bytes()[: members(path)[-1].offset])

    with pytest.raises(DataError, match=r"a\.tar ends before its end mark"):
        load_images(tmp_path)


def test_a_shard_of_ours_that_is_cut_short_is_refused(tmp_path: Path):
    sharded(tmp_path)
    path = tmp_path / "shards/images-000001.tar"
    path.write_bytes(path.read_bytes()[:-512])

    with pytest.raises(DataError, match=r"images-000001\.tar has 10240 bytes|cut short"):
        load_images(tmp_path / "shards")


def test_a_shard_cut_short_after_it_was_listed_is_refused(tmp_path: Path):
    _, shards = sharded(tmp_path)
    path = tmp_path / "shards" / shards.source.name(0).split("/")[0]
    path.write_bytes(path.read_bytes()[:512])

    with pytest.raises(DataError, match="is shorter than it was: copy it again"):
        shards.source.read(0)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read: No such file or directory; put it back"):
        shards.source.read(0)


def test_a_missing_shard_is_named(tmp_path: Path):
    sharded(tmp_path)
    (tmp_path / "shards/images-000001.tar").unlink()

    with pytest.raises(DataError, match=r"1 of 3 shards are missing, the first .*images-000001"):
        load_images(tmp_path / "shards")
    with pytest.raises(DataError, match=r"2 of 2 shards are missing, the first .*other-0"):
        load_images(f"{tmp_path}/other-{{0..1}}.tar")


def test_an_index_that_is_none_is_refused(tmp_path: Path):
    sharded(tmp_path)
    index = tmp_path / "shards/images-000000.index.json"
    index.write_text("{}")

    with pytest.raises(DataError, match=r"does not index .*write the shards anew"):
        load_images(tmp_path / "shards")
    (tmp_path / "shards/shards.json").write_text("[]")
    with pytest.raises(DataError, match=r"shards\.json is not an index of shards"):
        load_images(tmp_path / "shards")


def test_an_image_without_label_is_named(tmp_path: Path):
    tar_of(tmp_path / "a.tar", dots() | {"more.png": dot()})

    with pytest.raises(DataError, match=r"a\.tar: more\.png has no label; put a \.cls or \.json"):
        load_images(tmp_path)


def test_a_json_without_label_is_named(tmp_path: Path):
    tar_of(tmp_path / "a.tar", dots() | {"more.png": dot(), "more.json": b'{"caption": "a dot"}'})

    with pytest.raises(DataError, match=r"more\.json holds no label; it needs one of label, class"):
        load_images(tmp_path)


def test_a_label_beyond_the_classes_is_named(tmp_path: Path):
    tar_of(tmp_path / "a.tar", dots() | {"more.png": dot(), "more.cls": b"2"})
    index_of(tmp_path, classes=["cat", "dog"])

    with pytest.raises(DataError, match=r"more\.png has the label '2', and shards\.json has 2 cl"):
        load_images(tmp_path)


def test_shards_can_be_read_in_a_process_that_was_handed_them(tmp_path: Path):
    import pickle

    _, shards = sharded(tmp_path)
    again = pickle.loads(pickle.dumps(shards.source))

    assert isinstance(again, Members)
    assert_close(again.read(4), shards.source.read(4), rtol=0, atol=0)
