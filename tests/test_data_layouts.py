"""Folders as people download them: read as they are meant, or refused with both readings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from mobilenets.data import Images, load_images, name_of
from mobilenets.data.formats.split_names import split_named
from mobilenets.errors import DataError


def lay(root: Path, *places: str, count: int = 4) -> Path:
    """In each place `count` images; a place with a name of a file holds that one, text where it is
    no image."""
    for place in places:
        path = root / place
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".png", ".jpg"):
                picture(path)
            else:
                path.write_text("text")
            continue
        path.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture(path / f"{number}.png")
    return root


def picture(path: Path) -> None:
    """Noise, another for each path."""
    Image.frombytes("L", (4, 4), Random(str(path)).randbytes(16)).save(path)


def pets(*places: str) -> list[str]:
    """cat/ and dog/ in each place."""
    return [f"{place}/{pet}" if place else pet for place in places for pet in ("cat", "dog")]


def given(images: Images) -> dict[str, int]:
    """How many images are of each given split, "" where it is cut."""
    parts = {"train": len(images.train) + len(images.holdout)}
    if images.origin["val"] == "stratified":
        return {"": sum(parts.values()) + len(images.val)}
    parts["val" if images.origin["val"] == "given" else "test"] = len(images.val)
    return parts | ({"test": len(images.test)} if len(images.test) else {})


def said(images: Images) -> str:
    return "\n".join(images.notes)


@pytest.mark.parametrize(
    ("places", "split"),
    [
        pytest.param(pets(""), {"": 8}, id="a folder per class"),
        pytest.param(pets("train", "val"), {"train": 8, "val": 8}, id="ImageNet"),
        pytest.param(pets("Train", "TEST"), {"train": 8, "test": 8}, id="in capitals"),
        pytest.param(pets("Training", "Testing"), {"train": 8, "test": 8}, id="Brain tumours"),
        pytest.param(pets("train", "dev"), {"train": 8, "val": 8}, id="dev"),
        pytest.param(pets("train", "eval"), {"train": 8, "val": 8}, id="eval"),
        pytest.param(pets("train", "holdout"), {"train": 8, "test": 8}, id="holdout"),
        pytest.param(
            pets("train", "valid", "test"), {"train": 8, "val": 8, "test": 8}, id="Roboflow"
        ),
        pytest.param(
            pets("seg_train/seg_train", "seg_test/seg_test"), {"train": 8, "test": 8}, id="Intel"
        ),
        pytest.param(
            pets("training_set/training_set", "test_set/test_set"),
            {"train": 8, "test": 8},
            id="cats and dogs",
        ),
        pytest.param(pets("trainset", "testset"), {"train": 8, "test": 8}, id="in one word"),
        pytest.param(pets("petsTrain", "petsVal"), {"train": 8, "val": 8}, id="camel case"),
        pytest.param(pets("fold-train", "fold-valid"), {"train": 8, "val": 8}, id="with a dash"),
        pytest.param(pets("photos/photos"), {"": 8}, id="wrapped twice"),
        pytest.param(pets("pets/train", "pets/val"), {"train": 8, "val": 8}, id="wrapped splits"),
        pytest.param(
            [*pets("Images"), "Annotation/cat/a.xml", "lists/a.txt"], {"": 8}, id="Stanford Dogs"
        ),
        pytest.param(
            [*pets("images", "masks")], {"": 8}, id="masks of the same names beside the images"
        ),
        pytest.param(
            [*pets("train", "test"), *pets("ground_truth")], {"train": 8, "test": 8}, id="MVTec"
        ),
        pytest.param(
            ["train/cat/images", "train/dog/images", "train/cat/boxes.txt"],
            {"": 8},
            id="Tiny ImageNet's train",
        ),
        pytest.param(
            ["cat/train", "cat/test", "dog/train", "dog/test"],
            {"train": 8, "test": 8},
            id="splits in the classes",
        ),
        pytest.param(pets("", "test"), {"train": 8, "test": 8}, id="test beside the classes"),
        pytest.param(pets("test"), {"": 8}, id="test alone"),
        pytest.param(
            [*pets("Final_Training/Images"), "Final_Test/Images"], {"": 8}, id="traffic signs"
        ),
    ],
)
def test_a_layout_that_is_plainly_meant_is_read_so(
    tmp_path: Path, places: list[str], split: dict[str, int]
):
    images = load_images(lay(tmp_path, *places))

    assert images.task.labels == ("cat", "dog")
    assert given(images) == split
    assert Counter(images.targets.values.tolist()) == {0: sum(split.values()) / 2} | {
        1: sum(split.values()) / 2
    }


@pytest.mark.parametrize(
    ("places", "note"),
    [
        (pets("train", "dev"), "splits read in .*: train/ as train, dev/ as val"),
        (
            pets("seg_train/seg_train", "seg_test/seg_test"),
            "splits read in .*: seg_train/seg_train/ as train, seg_test/seg_test/ as test",
        ),
        ([*pets("train"), "unlabeled"], "/unlabeled is left out: its 4 images lie in no class fol"),
        (
            [*pets(""), "unlabelled"],
            "/unlabelled is left out: its 4 images lie in no class folders",
        ),
        ([*pets("train", "val"), "test1"], "/test1 is left out: its 4 images lie in no class fol"),
        ([*pets("train", "val"), "test/test"], "/test is left out: its 4 images lie in no class"),
        (
            [*pets("a_train/a_train", "a_test"), "a_pred/a_pred"],
            "/a_pred is left out: its 4 images lie in no class folders",
        ),
        (
            [*pets("train", "val"), "extra"],
            "extra/ beside the splits of .* left out, with 4 images",
        ),
        ([*pets("photos/photos")], r"/photos/photos is read: it holds the images$"),
        (
            pets("images", "masks"),
            "/images is read: it holds the images; left out beside it: masks/",
        ),
        ([*pets("train"), "val/read.txt"], "val/ of .* left out: no images in there"),
        ([*pets("train", "val"), "logo.png"], r"1 image of .* in no class folder .*, logo\.png\)"),
        (
            [*pets("train"), "test/cat/a", "test/cat/b", "test/dog/a", "test/dog/b", "extra"],
            "extra/ beside the splits",
        ),
        ([*pets(""), "bird/read.txt"], "bird/ of .* left out: no images in there"),
        ([*pets(""), "loose.png"], r"1 image of .* left out: in no class folder .*, loose\.png\)"),
        (["cat/train", "cat/val", "dog/train", "dog/val"], "the splits of .*: train/, val/"),
        (pets("", "test"), "test/ of .* read as a split, and the classes beside as train"),
        (
            [*pets(""), "a.txt", "cat/b.txt", "cat/c.MP4", "cat/._0.png"],
            r"4 files left out, not read as images: 2 \.txt, 1 \.MP4, 1 hidden",
        ),
        ([*pets(""), "__MACOSX/._a.png", ".cache/a.png"], "2 folders left out, no data: "),
        ([*pets(""), "runs/cat-v3/stages.json", "runs/cat-v3/a.png"], "no data: runs/cat-v3"),
    ],
)
def test_what_was_not_plain_is_said(tmp_path: Path, places: list[str], note: str):
    images = load_images(lay(tmp_path, *places))

    assert images.task.labels == ("cat", "dog")
    assert re.search(note, said(images)), said(images)
    assert images.to_json()["notes"] == list(images.notes)


def test_a_plain_folder_needs_no_words(tmp_path: Path):
    assert load_images(lay(tmp_path, *pets("Train", "valid"))).notes == ()


FLAT = ("train/cat.0.png", "train/dog.0.png", "test/cat.1.png", "test/dog.1.png")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        pytest.param(
            FLAT,
            r"two ways: test/, train/ are splits, .* \(train.*\.png\), or they are the classes; "
            r"for the first, put each class .*csv file of path,label; for the second, give '.*/\*'",
            id="classes in the names of files",
        ),
        pytest.param(
            pets("2023", "2024"),
            r"the classes are 2023/, 2024/, or they are the folders in there, cat/, dog/; give "
            r"'.*/\*' for the first, '.*/\*/\*' for the second",
            id="years",
        ),
        pytest.param(pets("fold1", "fold2", "fold3"), "fold1/, fold2/, fold3/, or", id="folds"),
        pytest.param(pets("color", "grayscale", "segmented"), "or they are the", id="PlantVillage"),
        pytest.param(
            ["tools/saw", "tools/axe", "animals/cat", "animals/dog"],
            "the classes are animals/, tools/, or they are the folders in there, cat/, dog/, axe/",
            id="kinds of kinds",
        ),
        pytest.param(
            [*pets("rps/rps", "rps-test-set/rps-test-set"), "rps-validation"],
            r"the classes are rps/, rps-test-set/, rps-validation/, or .* '.*/\*/\*/\*'",
            id="rock, paper, scissors",
        ),
        pytest.param(pets("a/train", "a/test", "b/train", "b/test"), "two ways", id="two sets"),
        pytest.param(
            pets("a_train", "a_test", "b_train", "b_test"), "holds two sets, a_test/, a_train/ and",
            id="two sets by name",
        ),
        pytest.param(
            [*pets("train"), "bus"], r"two ways: .* '.*/\*' .* '.*/train/\*'", id="bus"
        ),
        pytest.param(
            [*pets(""), "test"], r"has test/ beside cat/, dog/: it is a class like these, or im",
            id="test images beside the classes",
        ),
        pytest.param(pets("train", "val", "dev"), "two folders for one split", id="val and dev"),
        pytest.param(
            ["JPEGImages", "SegmentationClass", "SegmentationObject"],
            "JPEGImages holds no images in class folders",
            id="Pascal VOC",
        ),
        pytest.param(
            ["cat.0.png", "dog.0.png"], r"2 images \(the first, cat\.0\.png\) lie side", id="flat"
        ),
        pytest.param(
            ["cat/in", "cat/out", "dog/"], "one class only, 'cat'", id="an empty second class"
        ),
    ],
)  # fmt: skip
def test_two_readings_are_refused_with_both(tmp_path: Path, places: Iterable[str], message: str):
    lay(tmp_path, *places)
    if "dog/" in places:
        for path in (tmp_path / "dog").iterdir():
            path.unlink()

    with pytest.raises(DataError, match=message):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "labels", "split"),
    [
        ("*", ("2023", "2024"), {"": 16}),
        ("*/*", ("cat", "dog"), {"": 16}),
        ("*/c*", ("cat",), None),
        ("2024/*", ("cat", "dog"), {"": 8}),
    ],
)
def test_a_pattern_names_the_class_folders(
    tmp_path: Path, pattern: str, labels: tuple[str, ...], split: dict[str, int] | None
):
    lay(tmp_path, *pets("2023", "2024"))
    if split is None:
        with pytest.raises(DataError, match="one class only"):
            load_images(f"{tmp_path}/{pattern}")
        return
    images = load_images(f"{tmp_path}/{pattern}")

    assert images.task.labels == labels
    assert given(images) == split
    assert images.source.name(0).startswith(("2023/cat", "cat/"))


@pytest.mark.parametrize(
    ("places", "split"),
    [
        (pets("my_train", "my_test"), {"train": 8, "test": 8}),
        (pets("rps", "rps-test-set"), {"train": 8, "test": 8}),
        ([*pets("train", "val"), "unlabeled/all"], {"train": 8, "val": 8}),
    ],
)
def test_a_pattern_has_its_split_from_the_folders_above(
    tmp_path: Path, places: list[str], split: dict[str, int]
):
    assert given(load_images(f"{lay(tmp_path, *places)}/*/*")) == split


def test_a_pattern_of_some_splits_is_refused(tmp_path: Path):
    lay(tmp_path, *pets("train", "val", "more"))

    with pytest.raises(DataError, match=r"under train/ and others under no split, the .* more/cat"):
        load_images(f"{tmp_path}/*/*")
    with pytest.raises(DataError, match="names no folder with images; check what is in"):
        load_images(f"{tmp_path}/*/bird")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos/*/*", "photos"), ("a/set.v1", "set.v1"), ("a/set.v2/", "set.v2"),
        ("a/pets.csv", "pets"), ("digits", "digits"), ("a/{0..2}.tar", "{0..2}"),
    ],
)  # fmt: skip
def test_a_run_is_called_after_its_data(data: str, name: str):
    assert name_of(data) == name


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
def test_a_folder_called_as_what_is_built_in_is_refused_where_it_has_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / name, *pets("train"))

    with pytest.raises(
        DataError, match=rf"{name} is a data set that is built in, .* give \./{name}"
    ):
        load_images(name)
    assert load_images(f"./{name}").task.labels == ("cat", "dog")


def test_the_run_of_what_is_built_in_may_be_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / "digits", "run/stages.json", "run/a.png", "notes.txt")

    assert load_images("digits").task.labels[0] == "0"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("TRAIN", "train"), ("train2017", "train"), ("imagesTr", None),
        ("ILSVRC2012_img_train", "train"), ("trainImages", "train"), ("training set", "train"),
        ("valid", "val"), ("val_256", "val"), ("testdata", "test"), ("held", None),
        ("train_val", None), ("trainval", None), ("contest", None), ("retrain", None),
        ("devil", None), ("unlabeled_train", "unlabelled"), ("seg_pred", "unlabelled"),
    ],
)  # fmt: skip
def test_a_split_is_a_word_of_a_name(name: str, split: str | None):
    found = split_named(name)

    assert (found and found.split) == split


@pytest.mark.parametrize("classes", [("bullet_train", "test_tube"), ("train", "tram", "bus")])
def test_classes_with_such_words_are_classes(tmp_path: Path, classes: tuple[str, ...]):
    assert load_images(lay(tmp_path, *classes)).task.labels == tuple(sorted(classes))


# A table beside folders


def table(root: Path, *lines: str, name: str = "metadata.csv") -> None:
    (root / name).write_text("\n".join(lines))


def test_a_table_of_other_columns_beside_class_folders_is_left_out(tmp_path: Path):
    lay(tmp_path, *pets(""))
    rows = [f"{pet}/{n}.png,ann,{n + 2}" for pet in ("cat", "dog") for n in range(4)]
    table(tmp_path, "file_name,photographer,width", *rows)
    images = load_images(tmp_path)

    assert images.task.labels == ("cat", "dog")
    assert "1 file left out, not read as images: 1 .csv" in said(images)


def test_a_table_of_attributes_beside_class_folders_is_one_of_two_readings(tmp_path: Path):
    lay(tmp_path, *pets(""), count=9)
    rows = [f"{pet}/{n}.png,{n % 2},{int(n > 4)}" for pet in ("cat", "dog") for n in range(9)]
    table(tmp_path, "file_name,smiling,glasses", *rows)

    with pytest.raises(
        DataError, match=r"two ways: the labels are in metadata\.csv, or .* cat, dog"
    ):
        load_images(tmp_path)
    assert load_images(tmp_path, task="classification").task.labels == ("cat", "dog")
    assert load_images(tmp_path, task="attributes").task.labels == ("smiling", "glasses")
    assert load_images(tmp_path / "metadata.csv").task.labels == ("smiling", "glasses")


def test_a_table_with_the_names_of_the_folders_is_the_same_reading(tmp_path: Path):
    lay(tmp_path, *pets(""))
    table(
        tmp_path,
        "path,label",
        *[f"{pet}/{n}.png,{pet}" for pet in ("cat", "dog") for n in range(4)],
    )

    assert load_images(tmp_path).task.labels == ("cat", "dog")


def test_a_table_with_other_labels_than_the_folders_is_refused(tmp_path: Path):
    lay(tmp_path, *pets(""))
    table(
        tmp_path,
        "path,label",
        *[f"{pet}/{n}.png,{n % 2}" for pet in ("cat", "dog") for n in range(4)],
    )

    with pytest.raises(
        DataError, match=r"the labels are in metadata\.csv, or they are the names of"
    ):
        load_images(tmp_path)


@pytest.mark.parametrize("place", ["", "images"])
def test_images_in_one_folder_are_read_by_their_table(tmp_path: Path, place: str):
    lay(tmp_path / place, ".", count=8)
    inside = f"{place}/" if place else ""
    table(tmp_path, "file_name,label", *[f"{inside}{n}.png,{'ab'[n % 2]}" for n in range(8)])
    images = load_images(tmp_path)

    assert images.task.labels == ("a", "b")
    assert f"{tmp_path} is read by metadata.csv" in images.notes


def test_idx_files_beside_class_folders_are_one_of_two_readings(tmp_path: Path):
    lay(tmp_path, *pets(""))
    (tmp_path / "train-images-idx3-ubyte").touch()

    with pytest.raises(
        DataError, match=r"it holds idx files, and folders of images called cat, dog"
    ):
        load_images(tmp_path)
    assert load_images(f"{tmp_path}/*").task.labels == ("cat", "dog")
