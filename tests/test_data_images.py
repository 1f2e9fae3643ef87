"""From a folder, a CSV file, idx files or a built-in name to images with their split."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torchvision
from PIL import Image
from sklearn.datasets import load_digits

from mobilenets.data import Arrays, Images, SplitRule, content, find_images, load_images, remembered
from mobilenets.data.formats import builtin
from mobilenets.data.formats.idx import read_idx
from mobilenets.data.split import divide
from mobilenets.errors import DataError
from mobilenets.tasks.attributes import AttributeTable
from mobilenets.tasks.classification import ClassNumbers

DIFFERENT = np.arange(1, 41, dtype=np.uint64)  # digests of images of which none is a copy


def fill(folder: Path, count: int, *, size: tuple[int, int] = (4, 4)) -> None:
    """`count` PNG files 0.png, 1.png, ... in a new folder, no two alike, here or elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(crc32(str(folder).encode()))
    for number in range(count):
        pixels = rng.integers(0, 256, size[::-1], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def pets(root: Path, *, cats: int = 10, dogs: int = 10) -> Path:
    """A folder per class."""
    fill(root / "cat", cats)
    fill(root / "dog", dogs)
    return root


def counts(images: Images) -> dict[str, int]:
    return images.to_json()["counts"]


def names(images: Images, split: str) -> set[str]:
    return {images.source.name(int(index)) for index in getattr(images, split)}


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    shape = np.array(array.shape, dtype=">u4").tobytes()
    content = bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def idx_folder(folder: Path, *, train: int = 12, val: int = 4, suffix: str = "") -> Path:
    """The four files, labels 0, 1, 0, 1, ...; each image is filled with its number, the t10k part's
    counted from 100."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, first in (("train", train, 0), ("t10k", val, 100)):
        pixels = np.repeat(first + np.arange(count), 6).reshape(count, 2, 3)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", pixels)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", np.arange(count) % 2)
    return folder


def write_csv(folder: Path, lines: Iterable[str], *, cats: int = 4, dogs: int = 4) -> Path:
    pets(folder, cats=cats, dogs=dogs)
    path = folder / "pets.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def pet_rows(*, splits: str = "") -> list[str]:
    """Eight rows of path,label; `splits` gives each number 0..3 of both classes its split."""
    parts = splits.split()
    ends = [f",{parts[n]}" if parts else "" for n in range(4)]
    return [f"{pet}/{n}.png,{pet}{ends[n]}" for pet in ("cat", "dog") for n in range(4)]


# Built-in names


def test_digits_are_scikit_learns_with_16_as_255():
    images = load_images("digits")
    first = images.source.read(0)

    # load_digits().images[0][0] is 0 0 5 13 9 1 0 0
    assert first[0, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert (len(images.source), tuple(first.shape), images.native_size) == (1797, (3, 8, 8), 8)


def test_digits_keep_their_labels():
    assert load_images("digits").targets.values.tolist() == load_digits().target.tolist()


def test_digits_are_split_by_class_with_a_fifth_for_val():
    # 178 182 177 183 181 182 181 179 174 180 images of 0 to 9: each a fifth off, then a tenth
    assert counts(load_images("digits")) == {"train": 1295, "holdout": 143, "val": 359, "test": 0}


def test_mirrored_digits_are_no_digits():
    assert load_images("digits").flip is False


def test_a_folder_named_digits_needs_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pets(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(
        DataError, match=r"digits is a data set that is built in, and a folder .* give \./digits"
    ):
        load_images("digits")
    assert load_images("./digits").task.labels == ("cat", "dog")
    assert load_images(Path("digits")).task.labels == ("cat", "dog")


def test_fashion_mnist_comes_from_debians_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    idx_folder(tmp_path, train=40, val=10, suffix=".gz")
    for part, count in (("train", 40), ("t10k", 10)):
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    monkeypatch.setattr(builtin, "DEBIAN", tmp_path)
    images = load_images("fashion-mnist")

    assert counts(images) == {"train": 30, "holdout": 10, "val": 10, "test": 0}
    assert (images.task.labels[0], images.task.labels[9], images.flip) == (
        "T-shirt-top",
        "Ankle-boot",
        True,
    )


def test_fashion_mnist_is_downloaded_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def download(root: str, download: bool) -> None:
        folder = idx_folder(Path(root) / "FashionMNIST" / "raw", train=40, val=10)
        write_idx(folder / "train-labels-idx1-ubyte", np.arange(40) % 10)

    monkeypatch.setattr(builtin, "DEBIAN", tmp_path / "no package")
    monkeypatch.setattr(builtin, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", download)

    assert len(load_images("fashion-mnist").val) == 10


def test_a_failed_download_says_where_to_put_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def download(root: str, download: bool) -> None:
        raise OSError("no network")

    monkeypatch.setattr(builtin, "DEBIAN", tmp_path / "no package")
    monkeypatch.setattr(builtin, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", download)

    with pytest.raises(
        DataError, match=r"\(no network\); put its four idx files into .*cache/Fash"
    ):
        load_images("fashion-mnist")


# idx files


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_idx_files_has_t10k_as_val(tmp_path: Path, suffix: str):
    images = load_images(idx_folder(tmp_path, suffix=suffix))

    assert counts(images) == {"train": 10, "holdout": 2, "val": 4, "test": 0}
    assert (images.task.labels, images.flip, images.native_size) == (("0", "1"), False, 2)


def test_idx_images_keep_their_pixels_and_labels(tmp_path: Path):
    images = load_images(idx_folder(tmp_path))

    assert images.source.read(7)[0].tolist() == [[7, 7, 7], [7, 7, 7]]
    assert images.targets.values[:3].tolist() == [0, 1, 0]
    assert images.source.read(int(images.val[3]))[0, 0].tolist() == [103, 103, 103]


def test_a_missing_idx_file_is_named(tmp_path: Path):
    (idx_folder(tmp_path) / "t10k-labels-idx1-ubyte").unlink()

    with pytest.raises(
        DataError, match=r"lacks t10k-labels-idx1-ubyte \(or .*\.gz\); put all four"
    ):
        load_images(tmp_path)


def test_an_idx_file_with_another_start_is_refused(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"<html>404</html>")

    with pytest.raises(DataError, match=r"not an idx file of bytes in 3 dimensions: .* 3c68746d"):
        read_idx(tmp_path / "a", dimensions=3)


def test_a_short_idx_file_is_refused(tmp_path: Path):
    write_idx(tmp_path / "a", np.zeros(5))
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-2])

    with pytest.raises(DataError, match="a holds 3 bytes where its header says 5; fetch it again"):
        read_idx(tmp_path / "a", dimensions=1)


def test_a_broken_gzip_file_is_refused(tmp_path: Path):
    write_idx(tmp_path / "a.gz", np.zeros(500))
    (tmp_path / "a.gz").write_bytes((tmp_path / "a.gz").read_bytes()[:-9])

    with pytest.raises(DataError, match=r"a\.gz cannot be unpacked: .*; fetch it again"):
        read_idx(tmp_path / "a.gz", dimensions=1)


def test_idx_images_without_a_label_each_are_refused(tmp_path: Path):
    write_idx(idx_folder(tmp_path) / "train-labels-idx1-ubyte", np.zeros(11))

    with pytest.raises(DataError, match="holds 12 images and train-labels-idx1-ubyte 11 labels"):
        load_images(tmp_path)


def test_idx_parts_of_different_sizes_are_refused(tmp_path: Path):
    write_idx(idx_folder(tmp_path) / "t10k-images-idx3-ubyte", np.zeros((4, 5, 5)))

    with pytest.raises(DataError, match=r"training images of \(2, 3\) pixels and t10k .* \(5, 5\)"):
        load_images(tmp_path)


def test_more_labels_than_classes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_idx(idx_folder(tmp_path) / "t10k-labels-idx1-ubyte", np.array([0, 1, 0, 10]))
    monkeypatch.setattr(builtin, "DEBIAN", tmp_path)

    with pytest.raises(DataError, match="has label 10 but 10 classes"):
        load_images("fashion-mnist")


# A folder per class


def test_a_folder_per_class_is_split_by_class(tmp_path: Path):
    record = load_images(pets(tmp_path, cats=10, dogs=20)).to_json()

    assert record["class_counts"] == {
        "train": {"cat": 7, "dog": 14},
        "holdout": {"cat": 1, "dog": 2},
        "val": {"cat": 2, "dog": 4},
        "test": {"cat": 0, "dog": 0},
    }


def test_every_image_is_in_one_split(tmp_path: Path):
    images = load_images(pets(tmp_path))
    used = np.concatenate([images.train, images.holdout, images.val, images.test])

    assert sorted(used.tolist()) == list(range(20))


def test_labels_follow_the_folders(tmp_path: Path):
    images = load_images(pets(tmp_path, cats=3, dogs=4))

    assert [images.source.name(i)[:3] for i in range(7)] == ["cat"] * 3 + ["dog"] * 4
    assert images.targets.values.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_the_same_seed_gives_the_same_split(tmp_path: Path):
    pets(tmp_path)
    first, again, other = (load_images(tmp_path, seed=seed) for seed in (1, 1, 2))

    assert names(first, "val") == names(again, "val")
    assert names(first, "val") != names(other, "val")


def test_a_class_of_three_has_one_image_in_every_split(tmp_path: Path):
    record = load_images(pets(tmp_path, cats=3, dogs=40)).to_json()

    assert [record["class_counts"][split]["cat"] for split in ("train", "holdout", "val")] == [
        1,
        1,
        1,
    ]


def test_nested_images_belong_to_the_class_above(tmp_path: Path):
    pets(tmp_path)
    fill(tmp_path / "cat" / "indoor" / "2024", 2)

    assert load_images(tmp_path).to_json()["class_counts"]["train"]["cat"] == 9  # of 12


def test_other_files_are_ignored_and_counted(tmp_path: Path):
    pets(tmp_path)
    for name in ("README.txt", "cat/.DS_Store", "cat/Thumbs.db", "cat/._0.png", "loose.png"):
        (tmp_path / name).touch()
    (tmp_path / ".git").mkdir()
    record = load_images(tmp_path).to_json()

    assert (record["ignored"], record["skipped"]) == (5, [])


def test_links_are_followed_but_not_in_circles(tmp_path: Path):
    pets(tmp_path / "data", cats=4)
    fill(tmp_path / "elsewhere", 3)
    (tmp_path / "data" / "bird").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "data" / "bird")
    images = load_images(tmp_path / "data")

    assert images.task.labels == ("bird", "cat", "dog")
    assert int((images.targets.values == 0).sum()) == 3


def test_an_unreadable_image_is_skipped_with_its_reason(tmp_path: Path):
    pets(tmp_path)
    (tmp_path / "cat" / "3.png").write_text("not pixels")
    (tmp_path / "dog" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    images = load_images(tmp_path)

    assert images.skipped == (
        ("cat/3.png", "not an image of a known format"),
        ("dog/lost.jpg", "No such file or directory"),
    )
    assert sum(counts(images).values()) == 19


def test_a_truncated_image_is_skipped(tmp_path: Path):
    pets(tmp_path)
    path = tmp_path / "cat" / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-200])

    assert "truncated" in dict(load_images(tmp_path).skipped)["cat/cut.jpg"]


def test_beyond_the_limit_only_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pets(tmp_path)
    path = tmp_path / "cat" / "cut.jpg"
    Image.new("RGB", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-50])
    monkeypatch.setattr(content, "CHECKED_WHOLE", 20)

    assert load_images(tmp_path).skipped == ()


def test_the_native_size_is_the_median_short_side(tmp_path: Path):
    fill(tmp_path / "a", 3, size=(10, 30))
    fill(tmp_path / "b", 4, size=(50, 20))

    assert load_images(tmp_path).native_size == 20


def test_progress_ends_with_every_image(tmp_path: Path):
    seen: list[tuple[int, int]] = []
    load_images(pets(tmp_path, cats=100), progress=lambda done, total: seen.append((done, total)))

    assert (seen[-1], seen == sorted(seen)) == ((110, 110), True)


def test_a_trailing_dot_is_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(pets(tmp_path / "pets"))
    images = load_images(".")

    assert (images.name, images.source.name(0)) == ("pets", "cat/0.png")


# Given splits


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_train_and_val_folders_are_the_split(tmp_path: Path, val: str):
    pets(tmp_path / "train")
    pets(tmp_path / val, cats=3, dogs=3)
    images = load_images(tmp_path)

    assert counts(images) == {"train": 18, "holdout": 2, "val": 6, "test": 0}
    assert {name.split("/")[0] for name in names(images, "val")} == {val}


def test_the_holdout_comes_from_the_training_images(tmp_path: Path):
    pets(tmp_path / "train")
    pets(tmp_path / "val", cats=3, dogs=3)

    assert {name[:5] for name in names(load_images(tmp_path), "holdout")} == {"train"}


def test_train_val_and_test_are_three_parts(tmp_path: Path):
    pets(tmp_path / "train")
    pets(tmp_path / "val", cats=1, dogs=2)
    pets(tmp_path / "test", cats=2, dogs=3)

    record = load_images(tmp_path).to_json()
    assert record["counts"] == {"train": 18, "holdout": 2, "val": 3, "test": 5}
    assert record["split"] == {
        "val": "given",
        "test": "given",
        "holdout": "stratified",
        "holdout_fraction": 0.1,
        "seed": 0,
    }


def test_test_without_val_is_val(tmp_path: Path):
    pets(tmp_path / "train")
    pets(tmp_path / "test", cats=2, dogs=3)
    images = load_images(tmp_path)

    assert counts(images) == {"train": 18, "holdout": 2, "val": 5, "test": 0}
    assert images.origin == {"val": "given as test", "test": "none"}


def test_train_alone_is_cut(tmp_path: Path):
    images = load_images(pets(tmp_path / "train").parent)

    assert counts(images) == {"train": 14, "holdout": 2, "val": 4, "test": 0}
    assert images.to_json()["split"] == {
        "val": "stratified",
        "test": "none",
        "holdout": "stratified",
        "val_fraction": 0.2,
        "holdout_fraction": 0.1,
        "seed": 0,
    }


def test_an_unlabelled_test_folder_is_ignored(tmp_path: Path):
    pets(tmp_path / "train")
    fill(tmp_path / "test", 3)
    record = load_images(tmp_path).to_json()

    assert (record["counts"]["val"], record["counts"]["test"], record["ignored"]) == (4, 0, 3)


def test_train_may_be_a_class_beside_others(tmp_path: Path):
    fill(tmp_path / "train" / "steam", 3)
    fill(tmp_path / "bus", 3)

    assert load_images(tmp_path).task.labels == ("bus", "train")


def test_train_with_images_of_its_own_is_a_class_beside_another(tmp_path: Path):
    fill(tmp_path / "train", 3)
    fill(tmp_path / "tram", 3)

    assert load_images(tmp_path).task.labels == ("train", "tram")


def test_a_class_that_train_lacks_is_refused(tmp_path: Path):
    pets(tmp_path / "train")
    fill(tmp_path / "val" / "bird", 1)

    with pytest.raises(
        DataError,
        match=r"val has class 'bird' \(val/bird/0\.png\), which train lacks; .* cat, dog;",
    ):
        load_images(tmp_path)


def test_two_folders_for_one_split_are_refused(tmp_path: Path):
    for name in ("train", "val", "valid"):
        pets(tmp_path / name)

    with pytest.raises(DataError, match=r"two folders for one split \(val/, valid/, which both re"):
        load_images(tmp_path)


def test_a_val_folder_without_classes_is_refused(tmp_path: Path):
    pets(tmp_path / "train")
    fill(tmp_path / "val", 3)

    with pytest.raises(DataError, match="val holds no folder of images per class; put its images"):
        load_images(tmp_path)


def test_a_given_val_that_cannot_be_read_is_refused(tmp_path: Path):
    pets(tmp_path / "train")
    fill(tmp_path / "val" / "cat", 1)
    (tmp_path / "val" / "cat" / "0.png").write_text("no pixels")

    with pytest.raises(DataError, match="none of the images given as val can be read; replace"):
        load_images(tmp_path)


# CSV


def test_a_csv_file_names_paths_beside_it(tmp_path: Path):
    images = load_images(write_csv(tmp_path, pet_rows()))

    assert (images.name, images.task.labels) == ("pets", ("cat", "dog"))
    assert tuple(images.source.read(5).shape) == (3, 4, 4)


@pytest.mark.parametrize(
    "header", ["path,label", "Path , LABEL", "file,class", "\ufeffpath,label"], ids=repr
)
def test_a_header_is_no_image(tmp_path: Path, header: str):
    assert len(load_images(write_csv(tmp_path, [header, *pet_rows()])).source) == 8


def test_a_header_may_name_the_columns_in_any_order(tmp_path: Path):
    rows = [",".join(reversed(row.split(","))) for row in pet_rows()]

    assert load_images(write_csv(tmp_path, ["label,path", *rows])).task.labels == ("cat", "dog")


def test_a_third_column_is_the_split(tmp_path: Path):
    images = load_images(write_csv(tmp_path, pet_rows(splits="train train valid test")))

    assert counts(images) == {"train": 2, "holdout": 2, "val": 2, "test": 2}
    assert names(images, "test") == {"cat/3.png", "dog/3.png"}


def test_a_header_of_other_words_keeps_the_order(tmp_path: Path):
    rows = ["file,class,subset", *pet_rows(splits="train train valid test")]

    assert counts(load_images(write_csv(tmp_path, rows)))["test"] == 2


def test_quoted_labels_and_empty_lines_are_fine(tmp_path: Path):
    rows = [row.replace(",dog", ',"dog, large"') for row in pet_rows()]

    assert load_images(write_csv(tmp_path, [*rows, "", ""])).task.labels == ("cat", "dog, large")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("cat/0.png,cat,train,7", r"line 9: a row is path,label or"),
        ("cat/0.png,dog", r"line 9 repeats 'cat/0\.png' of .*pets\.csv line 1 with another"),
        ("cat/0.png,cat,later", r"line 9: split must be train, val or test, got 'later'"),
    ],
)
def test_a_bad_row_is_refused_by_line(tmp_path: Path, row: str, message: str):
    with pytest.raises(DataError, match=message):
        load_images(write_csv(tmp_path, [*pet_rows(), row]))


def test_a_split_for_some_rows_only_is_refused(tmp_path: Path):
    rows = [pet_rows()[0] + ",train", *pet_rows()[1:]]

    with pytest.raises(DataError, match="gives a split to some rows only; give it to all or to no"):
        load_images(write_csv(tmp_path, rows))


def test_a_csv_that_is_not_utf_8_is_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(b"caf\xe9.png,a\n")

    with pytest.raises(DataError, match=r"a\.csv cannot be read as CSV: .*; save it as UTF-8"):
        load_images(tmp_path / "a.csv")


def test_an_empty_csv_holds_no_images(tmp_path: Path):
    (tmp_path / "a.csv").touch()

    with pytest.raises(DataError, match=r"a\.csv holds no images"):
        load_images(tmp_path / "a.csv")


# What cannot be used


def test_nothing_there_is_refused_with_what_could_be():
    with pytest.raises(
        DataError, match=r"there is nothing at fashion_mnist; .* digits, fashion-mn"
    ):
        load_images("fashion_mnist")


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    (tmp_path / "pets.zip").touch()

    with pytest.raises(DataError, match=r"pets\.zip is neither a folder nor a \.csv file; give"):
        load_images(tmp_path / "pets.zip")


def test_a_folder_without_class_folders_is_refused(tmp_path: Path):
    fill(tmp_path, 3)

    with pytest.raises(DataError, match="holds no images in class folders"):
        load_images(tmp_path)


def test_an_empty_class_folder_is_left_out_and_named(tmp_path: Path):
    (pets(tmp_path) / "bird").mkdir()
    images = load_images(tmp_path)

    assert images.task.labels == ("cat", "dog")
    assert images.notes[0] == f"bird/ of {tmp_path} left out: no images in there"


def test_one_class_is_refused(tmp_path: Path):
    fill(tmp_path / "outer", 4)

    with pytest.raises(
        DataError, match="holds one class only, 'outer'; give the folder whose sub-"
    ):
        load_images(tmp_path)


def test_a_class_too_small_to_cut_is_refused(tmp_path: Path):
    with pytest.raises(
        DataError,
        match=r"class 'cat' has 2 usable training images and needs at least 3, .* and val;",
    ):
        load_images(pets(tmp_path, cats=2))


def test_with_a_given_val_two_images_a_class_suffice(tmp_path: Path):
    pets(tmp_path / "train", cats=2, dogs=2)
    pets(tmp_path / "val", cats=1, dogs=1)

    assert counts(load_images(tmp_path)) == {"train": 2, "holdout": 2, "val": 2, "test": 0}


def test_unreadable_images_do_not_count_for_their_class(tmp_path: Path):
    (pets(tmp_path, cats=3) / "cat" / "0.png").write_text("no pixels")

    with pytest.raises(DataError, match="class 'cat' has 2 usable training images and needs at"):
        load_images(tmp_path)


def test_images_of_which_none_can_be_read_are_refused(tmp_path: Path):
    for name in ("a/0.png", "b/0.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("no pixels")

    with pytest.raises(
        DataError, match=r"none of the 2 images can be read \(the first, a/0\.png: n"
    ):
        load_images(tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: Any):
    with pytest.raises(DataError, match="holdout_fraction must lie between 0 and 1, got"):
        load_images("digits", holdout_fraction=fraction)


@pytest.mark.parametrize("seed", [-1, 1.5, "0"])
def test_a_seed_that_is_no_count_is_refused(seed: Any):
    with pytest.raises(DataError, match="seed must be a whole number of at least 0, got"):
        load_images("digits", seed=seed)


def test_a_large_fraction_still_leaves_a_class_its_training_image():
    labels, given = np.repeat([0, 1], [3, 30]), np.full(33, "")
    rule = SplitRule(val_fraction=0.9, holdout_fraction=0.9)
    split = divide(ClassNumbers(labels), given, np.arange(33), rule, ("a", "b"), DIFFERENT[:33])

    assert np.bincount(labels[split.train]).tolist() == [1, 1]
    assert np.bincount(labels[split.holdout]).tolist() == [1, 2]
    assert np.bincount(labels[split.val]).tolist() == [1, 27]


def test_the_same_seed_cuts_the_same_images_as_ever():
    """By the rule as it was when targets were plain labels."""
    rng = np.random.default_rng(7)
    numbers = rng.integers(0, 3, 24).astype(np.int64)
    table = rng.choice([0, 1, np.nan], (24, 3), p=[0.5, 0.3, 0.2]).astype(np.float32)
    table[5] = np.nan
    given, rule = np.full(24, ""), SplitRule(3)

    classes, attributes = (
        divide(targets, given, np.arange(24), rule, ("a", "b", "c"), DIFFERENT[:24])
        for targets in (ClassNumbers(numbers), AttributeTable(table))
    )

    assert classes.val.tolist() == [1, 6, 7, 17, 21]
    assert classes.holdout.tolist() == [3, 14, 23]
    assert attributes.val.tolist() == [10, 12, 17, 19]
    assert attributes.holdout.tolist() == [7, 13, 16, 18]


# Copies


def copies(folder: Path, *, each: int) -> None:
    """Of every image so many in all: "0.png", "0 (1).png", ..."""
    for path in list(folder.rglob("*.png")):
        for number in range(1, each):
            shutil.copyfile(path, path.with_name(f"{path.stem} ({number}).png"))


def parts_of(images: Images) -> dict[int, set[str]]:
    """The parts of the split in which each digest is."""
    found: dict[int, set[str]] = {}
    for split in ("train", "holdout", "val", "test"):
        for digest in images.digests[getattr(images, split)].tolist():
            found.setdefault(digest, set()).add(split)
    return found


@pytest.mark.parametrize("each", [2, 5])
def test_copies_of_an_image_come_into_one_part(tmp_path: Path, each: int):
    copies(pets(tmp_path), each=each)
    images = load_images(tmp_path)

    assert {len(parts) for parts in parts_of(images).values()} == {1}
    assert counts(images) == {"train": 14 * each, "holdout": 2 * each, "val": 4 * each, "test": 0}
    assert images.notes == (
        f"{20 * (each - 1)} of {20 * each} images are there more than once, such as "
        "cat/0 (1).png and cat/0.png; copies come into the same part of the split"
        if each == 2
        else f"{20 * (each - 1)} of {20 * each} images are there more than once, such as "
        "cat/0 (1).png and cat/0 (2).png; copies come into the same part of the split",
    )


def test_links_to_an_image_are_copies_of_it(tmp_path: Path):
    pets(tmp_path)
    for number in range(10):
        os.link(tmp_path / "cat" / f"{number}.png", tmp_path / "cat" / f"hard{number}.png")
        (tmp_path / "dog" / f"soft{number}.png").symlink_to(tmp_path / "dog" / f"{number}.png")

    assert {len(parts) for parts in parts_of(load_images(tmp_path)).values()} == {1}


def test_a_training_image_that_is_in_val_or_test_is_left_out(tmp_path: Path):
    for split in ("train", "val", "test"):
        pets(tmp_path / split, cats=5, dogs=5)
    for split in ("val", "test"):
        shutil.copyfile(tmp_path / split / "dog/0.png", tmp_path / "train/dog" / f"{split}.png")
    images = load_images(tmp_path)

    assert counts(images) == {"train": 8, "holdout": 2, "val": 10, "test": 10}
    assert not names(images, "train") & {"train/dog/val.png", "train/dog/test.png"}
    assert images.notes == (
        "2 training images are left out, being in val or test too: train/dog/test.png and "
        "test/dog/0.png",
    )


def test_an_image_with_two_labels_is_named_and_on_one_side(tmp_path: Path):
    pets(tmp_path)
    for number in range(10):
        shutil.copyfile(tmp_path / f"cat/{number}.png", tmp_path / f"dog/cat{number}.png")
    images = load_images(tmp_path)

    assert {len(parts) for parts in parts_of(images).values()} == {1}
    assert images.notes[1] == (
        "10 images are there with two labels, the first cat/0.png and dog/cat0.png; mend the label "
        "of one"
    )


def test_arrays_have_copies_too(tmp_path: Path):
    idx_folder(tmp_path)
    pixels = np.repeat(np.arange(4), 6).reshape(4, 2, 3)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", pixels)  # the first four training images
    images = load_images(tmp_path)

    assert counts(images) == {"train": 6, "holdout": 2, "val": 4, "test": 0}


def test_copies_are_not_enough_for_a_class(tmp_path: Path):
    pets(tmp_path, cats=1)
    copies(tmp_path / "cat", each=5)

    with pytest.raises(
        DataError,
        match=r"class 'cat' has 1 usable training images and needs at least 3, .*; copies of an "
        "image count once, and not where they are in val or test",
    ):
        load_images(tmp_path)


def test_of_copies_with_attributes_one_of_which_something_is_known_is_cut():
    table = np.array([[1, 0], [0, 1]] * 6 + [[np.nan, np.nan]] * 12, np.float32)
    digests = np.concatenate([DIFFERENT[:12], DIFFERENT[:12]])
    split = divide(
        AttributeTable(table), np.full(24, ""), np.arange(24), SplitRule(), ("a", "b"), digests
    )

    assert split.val.tolist() == sorted({*split.val % 12, *(split.val % 12 + 12)})
    assert len(split.val) == 4


# The record


def test_the_record_survives_json(tmp_path: Path):
    (pets(tmp_path) / "cat" / "bad.png").touch()
    record = load_images(tmp_path).to_json()

    assert json.loads(json.dumps(record)) == record
    assert record["skipped"] == [{"name": "cat/bad.png", "reason": "the file is empty"}]


def copied(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to, copy_function=shutil.copyfile)


def cloned(folder: Path, to: Path) -> None:
    """As git gives files: new times, others' permissions."""
    copied(folder, to)
    for path in to.rglob("*.png"):
        os.utime(path, (1, 1))
        path.chmod(0o600)


def linked(folder: Path, to: Path) -> None:
    to.symlink_to(folder)


@pytest.mark.parametrize("moved", [copied, cloned, linked, Path.rename])
def test_data_is_what_its_files_hold_wherever_they_lie(
    tmp_path: Path, moved: Callable[[Path, Path], Any]
):
    before = load_images(pets(tmp_path / "here"))
    moved(tmp_path / "here", tmp_path / "there")
    after = load_images(tmp_path / "there")

    assert after.fingerprint == before.fingerprint
    assert after.digests.tolist() == before.digests.tolist()
    assert after.val.tolist() == before.val.tolist()


def test_a_touch_changes_nothing(tmp_path: Path):
    before = load_images(pets(tmp_path)).fingerprint
    os.utime(tmp_path / "cat" / "0.png", ns=(1, 1))

    assert load_images(tmp_path).fingerprint == before


@pytest.mark.parametrize("settled_ns", [0, 2 * 10**9])
def test_a_changed_byte_is_seen_though_size_and_time_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled_ns: int
):
    monkeypatch.setattr(remembered, "SETTLED_NS", settled_ns)
    path = pets(tmp_path) / "cat" / "0.png"
    before, found = load_images(tmp_path), path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # the last one's checksum is not read
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    after = load_images(tmp_path)

    assert path.stat().st_size == found.st_size
    assert after.fingerprint != before.fingerprint
    assert np.flatnonzero(after.digests != before.digests).tolist() == [0]


@pytest.mark.parametrize("changed", ["added", "removed", "renamed"])
def test_a_file_more_or_less_or_of_another_name_is_other_data(tmp_path: Path, changed: str):
    before = load_images(pets(tmp_path)).fingerprint
    path = tmp_path / "cat" / "0.png"
    if changed == "added":
        fill(tmp_path / "cat" / "more", 1)
    elif changed == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("00.png"))

    assert load_images(tmp_path).fingerprint != before


def test_the_fingerprint_tells_a_file_that_changed_class(tmp_path: Path):
    before = load_images(pets(tmp_path)).fingerprint
    (tmp_path / "cat" / "0.png").rename(tmp_path / "dog" / "00.png")

    assert load_images(tmp_path).fingerprint != before


def test_the_fingerprint_of_arrays_tells_pixels_and_labels(tmp_path: Path):
    before = load_images(idx_folder(tmp_path)).fingerprint
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.array([1, 1, 0, 0]))
    relabelled = load_images(tmp_path).fingerprint
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.ones((4, 2, 3)))

    assert len({before, relabelled, load_images(tmp_path).fingerprint}) == 3


# What is remembered


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been there for long."""
    monkeypatch.setattr(remembered, "SETTLED_NS", 0)


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from now on."""
    found: list[str] = []
    read = Path.read_bytes

    def noted(path: Path) -> bytes:
        if path.suffix == ".png":
            found.append(path.name)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    return found


@pytest.mark.usefixtures("settled")
def test_files_that_were_read_before_are_not_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (pets(tmp_path) / "cat" / "bad.png").write_text("junk")
    first = load_images(tmp_path)
    again_read = opened(monkeypatch)
    again = load_images(tmp_path, known=first.to_json())  # else a part is looked at for its values

    assert again_read == ["bad.png"]  # which another version may be able to read
    assert again.to_json() == first.to_json()
    assert again.digests.tolist() == first.digests.tolist()


@pytest.mark.usefixtures("settled")
def test_only_what_is_new_is_read_and_what_is_gone_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    load_images(pets(tmp_path))
    fill(tmp_path / "bird", 3)
    (tmp_path / "cat" / "0.png").unlink()
    again_read = opened(monkeypatch)
    found = find_images(tmp_path)

    assert sorted(again_read) == ["0.png", "1.png", "2.png"]
    assert found.contents.sides.tolist() == 22 * [4]


def test_a_file_just_written_is_read_again_for_it_may_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    find_images(pets(tmp_path))
    again_read = opened(monkeypatch)
    find_images(tmp_path)

    assert len(again_read) == 20


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("broken", [b"", b"junk", None, "flipped"])
def test_what_is_remembered_wrongly_is_not_believed(
    tmp_path: Path, remembered_images: Path, broken: bytes | str | None
):
    before = load_images(pets(tmp_path / "pets"))
    (kept,) = (remembered_images / "images").iterdir()
    content = kept.read_bytes()
    kept.write_bytes(
        broken if isinstance(broken, bytes)
        else content[:-70] if broken is None
        else content[:60] + bytes([content[60] ^ 1]) + content[61:]
    )  # fmt: skip
    after = load_images(tmp_path / "pets")

    assert after.fingerprint == before.fingerprint
    assert kept.read_bytes() == content


@pytest.mark.usefixtures("settled")
def test_where_nothing_can_be_remembered_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a file").touch()
    monkeypatch.setattr(remembered, "cache_folder", lambda: tmp_path / "a file")
    before = load_images(pets(tmp_path / "pets"))

    assert load_images(tmp_path / "pets").fingerprint == before.fingerprint


@pytest.mark.usefixtures("settled")
def test_folders_that_were_listed_long_ago_are_forgotten_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered_images: Path
):
    load_images(pets(tmp_path / "old"))
    (old,) = (remembered_images / "images").iterdir()
    os.utime(old, (1, 1))
    monkeypatch.setattr(remembered, "_MOST_BYTES", 1.5 * old.stat().st_size)
    load_images(pets(tmp_path / "new"))

    (new,) = (remembered_images / "images").iterdir()
    assert new != old


@pytest.mark.usefixtures("settled")
def test_two_tables_of_one_folder_are_both_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table = write_csv(tmp_path, pet_rows(), cats=8, dogs=8)
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("/", "/4"))
    for pet in ("cat", "dog"):
        for number in range(4):
            (tmp_path / pet / f"{4 + number}.png").rename(tmp_path / pet / f"4{number}.png")
    find_images(table)
    find_images(other)
    again_read = opened(monkeypatch)
    find_images(table)

    assert again_read == []


@pytest.mark.usefixtures("settled")
def test_headers_alone_are_not_taken_for_a_look_at_the_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pets(tmp_path)
    path = tmp_path / "cat" / "cut.jpg"
    Image.new("RGB", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-50])
    with monkeypatch.context() as patch:
        patch.setattr(content, "CHECKED_WHOLE", 20)
        assert load_images(tmp_path).skipped == ()

    assert [name for name, _ in load_images(tmp_path).skipped] == ["cat/cut.jpg"]


def test_builtin_images_are_arrays():
    assert isinstance(load_images("digits").source, Arrays)
