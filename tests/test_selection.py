"""What `eval` scores: any labelled images, but for those that trained the network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mobilenets.archs import get_arch, keep_resolution
from mobilenets.cli.app import app
from mobilenets.data import Preprocess, load_images
from mobilenets.data.trained_on import KEY, carry, find, keep, learned_from, unseen
from mobilenets.deliver import load
from mobilenets.deliver.selection import Selection, select
from mobilenets.errors import DataError
from mobilenets.nn import Checkpoint
from mobilenets.train.job import save_trained

ARCH = keep_resolution(get_arch("mobilenet_v1", width=0.25, resolution=8, classes=2), 4)


def fill(folder: Path, **classes: int) -> Path:
    """So many images of each class, no two alike, here or in folders of other names."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng(crc32(f"{folder.name}/{name}/{number}".encode()))
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def trained(data: Path, run: Path, **training: Any) -> Path:
    """A checkpoint in a run's folder, as if it had been trained on these images."""
    images = load_images(data)
    checkpoint = replace(
        Checkpoint.fresh(ARCH),
        labels=images.task.labels,
        preprocess=Preprocess(ARCH.resolution).to_json(),
        training={
            "seed": 0, "split": asdict(images.rule), "fingerprint": images.fingerprint, **training,
        },
    )  # fmt: skip
    save_trained(checkpoint, run, learned_from(images))
    return run / "trained.safetensors"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return fill(tmp_path / "pets", cat=20, dog=20)


@pytest.fixture
def network(tmp_path: Path, pets: Path) -> Path:
    return trained(pets, tmp_path / "run")


def selected(network: Path, data: str | Path, **options: Any) -> Selection:
    return select(load(network), data, **options)


def names(found: Selection) -> set[str]:
    return {found.images.source.name(int(index)) for index in found.indices}


VALIDATION = "8 validation images; 32 that trained it left out"


@pytest.mark.parametrize("moved", [shutil.copytree, Path.rename, lambda a, b: b.symlink_to(a)])
def test_wherever_the_images_lie_the_validation_images_are_scored(
    pets: Path, network: Path, tmp_path: Path, moved: Callable[[Path, Path], Any]
):
    before = selected(network, pets)
    moved(pets, tmp_path / "there")
    after = selected(network, tmp_path / "there")

    assert names(before) == names(after) == {
        before.images.source.name(int(index)) for index in load_images(tmp_path / "there").val
    }  # fmt: skip
    assert before.said == after.said == VALIDATION
    assert after.left_out == {"trained": 32, "unreadable": 0}


def test_of_other_data_the_images_that_trained_it_are_left_out(
    pets: Path, network: Path, tmp_path: Path
):
    validated = names(selected(network, pets))
    (pets / "cat" / "0.png").rename(pets / "cat" / "new name.png")
    fill(pets / "more", cat=5)
    (pets / "more" / "cat").rename(pets / "cat" / "more")
    (pets / "more").rmdir()
    for number in range(10, 20):
        (pets / "dog" / f"{number}.png").unlink()
    found = selected(network, pets)

    there = {name for name in validated if (pets / name).exists() or name == "cat/0.png"}
    renamed = {"cat/new name.png" if name == "cat/0.png" else name for name in there}
    assert names(found) == renamed | {f"cat/more/{number}.png" for number in range(5)}
    left = 35 - len(found.indices)
    assert found.said == f"{len(found.indices)} images; {left} that trained it left out"


def test_a_part_of_the_data_is_scored_without_what_trained_it(
    pets: Path, network: Path, tmp_path: Path
):
    shutil.copytree(pets / "cat", tmp_path / "part" / "cat")
    found = selected(network, tmp_path / "part")

    assert names(found) == {n for n in names(selected(network, pets)) if n.startswith("cat/")}
    assert found.said == "4 images; 16 that trained it left out"


def test_images_with_another_label_trained_it_all_the_same(
    pets: Path, network: Path, tmp_path: Path
):
    validated = names(selected(network, pets))
    (pets / "cat").rename(pets / "mouse")
    (pets / "dog").rename(pets / "cat")
    (pets / "mouse").rename(pets / "dog")
    found = selected(network, pets)

    swapped = {"cat": "dog", "dog": "cat"}
    assert names(found) == {f"{swapped[name[:3]]}{name[3:]}" for name in validated}


def test_shards_of_the_images_are_those_images(pets: Path, network: Path, tmp_path: Path):
    CliRunner().invoke(app, ["shard", str(pets), str(tmp_path / "shards")], catch_exceptions=False)

    assert selected(network, tmp_path / "shards").said == "8 images; 32 that trained it left out"


def test_of_images_it_has_never_seen_all_are_scored(network: Path, tmp_path: Path):
    other = fill(tmp_path / "others", cat=3, dog=2)

    assert selected(network, other).said == "all 5 images, of which none trained the network"


@pytest.mark.parametrize("lost", ["moved", "gone", "broken", "of another run"])
def test_where_it_cannot_be_known_what_trained_it_that_is_said(
    pets: Path, network: Path, tmp_path: Path, lost: str
):
    kept = network.with_name("trained_on.npy")
    if lost == "moved":
        network = Path(shutil.copy(network, tmp_path / "alone.safetensors"))
    elif lost == "gone":
        kept.unlink()
    elif lost == "broken":
        kept.write_bytes(kept.read_bytes()[:-3])
    else:
        trained(fill(tmp_path / "birds", owl=5, tit=5), tmp_path / "birds run")
        shutil.copy(tmp_path / "birds run" / "trained_on.npy", kept)
    assert selected(network, pets).said == VALIDATION  # the data it was trained on tells
    (pets / "cat" / "0.png").unlink()

    found = selected(network, pets)
    assert found.left_out["trained"] == 0
    assert found.said == (
        "all 39 images; whether any of them trained the network is not known, for trained_on.npy "
        f"of its run is not beside {network.name}"
    )


def test_what_comes_of_a_network_has_learned_from_the_same_images(
    pets: Path, network: Path, tmp_path: Path
):
    checkpoint = Checkpoint.load(network)
    carry(network, checkpoint.training, tmp_path / "int8 run")
    artifact = tmp_path / "int8 run" / "int8" / "model.onnx"

    found = find(artifact, checkpoint.training)
    assert found is not None
    assert found.tolist() == learned_from(load_images(pets)).tolist()


def test_a_network_has_learned_from_what_its_start_has_learned_from(pets: Path, tmp_path: Path):
    start = trained(pets, tmp_path / "first")
    owls = load_images(fill(tmp_path / "owls", cat=5, dog=5))
    checkpoint = Checkpoint.load(start)
    carried = {"surgery": 1, "before": checkpoint.training}
    before = find(start, carried, whole=False)
    save_trained(
        replace(checkpoint, training={"start": carried}), tmp_path / "second",
        learned_from(owls, before),
    )  # fmt: skip

    assert find(start, carried) is None  # that one tells of another network
    second = tmp_path / "second" / "trained.safetensors"
    assert selected(second, pets).said == "8 images; 32 that trained it left out"
    assert selected(second, tmp_path / "owls").said == "2 images; 8 that trained it left out"


def test_what_has_trained_a_network_validates_nothing_that_comes_of_it(
    pets: Path, network: Path, tmp_path: Path
):
    training = Checkpoint.load(network).training
    same = load_images(pets)
    assert unseen(same, network, training) is same

    for number in range(5):
        (pets / "cat" / f"{number}.png").unlink()  # cut anew, others come into val
    images = load_images(pets)
    left = unseen(images, network, training)
    assert 0 < len(left.val) < len(images.val)
    assert not set(left.digests[left.val]) & set(learned_from(same).tolist())
    assert f"{len(images.val) - len(left.val)} validation images left out" in left.notes[-1]

    seen = replace(images, val=images.val[np.isin(images.digests[images.val], learned_from(same))])
    with pytest.raises(
        DataError, match=r"all of which trained\.safetensors has learned from; give"
    ):
        unseen(seen, network, training)


def test_a_test_part_is_not_scored_with_the_validation_images(tmp_path: Path):
    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        fill(tmp_path / "pets" / part, cat=count, dog=count)
    network = trained(tmp_path / "pets", tmp_path / "run")

    assert selected(network, tmp_path / "pets").said == (
        "6 validation images; 20 that trained it left out; of 8 test images, give the folder"
    )
    assert selected(network, tmp_path / "pets" / "test").said.startswith("all 8 images, of which")


# Any labelled images


@pytest.mark.parametrize("classes", [{"cat": 1, "dog": 1}, {"cat": 2}, {"dog": 1}])
def test_two_images_or_one_class_can_be_scored(
    network: Path, tmp_path: Path, classes: dict[str, int]
):
    data = fill(tmp_path / "few", **classes)

    assert len(selected(network, data).indices) == sum(classes.values())


@pytest.mark.parametrize("split", ["", "train", "val"])
def test_a_class_without_images_is_no_hindrance(network: Path, tmp_path: Path, split: str):
    for part in ("train", "val") if split else ("",):
        fill(tmp_path / "few" / part, cat=2)
    (tmp_path / "few" / split / "dog").mkdir(parents=True)

    assert len(selected(network, tmp_path / "few").indices) == (4 if split else 2)


def test_classes_in_val_alone_can_be_scored(network: Path, tmp_path: Path):
    fill(tmp_path / "few/train", cat=2)
    fill(tmp_path / "few/val", dog=2)

    assert len(selected(network, tmp_path / "few").indices) == 4


def test_classes_it_does_not_know_are_named_and_left_out_where_asked(network: Path, tmp_path: Path):
    data = fill(tmp_path / "zoo", bird=3, dog=2, ant=1)

    with pytest.raises(
        DataError,
        match="zoo has classes the network was not trained for, ant, bird; it knows cat, dog; "
        "--known-only leaves them out",
    ):
        selected(network, data)
    found = selected(network, data, known_only=True)
    assert names(found) == {"dog/0.png", "dog/1.png"}
    assert found.left_out["unknown"] == 4
    assert found.said.endswith("; 4 images of ant, bird left out")


def test_a_class_it_does_not_know_without_images_is_no_hindrance(network: Path, tmp_path: Path):
    data = fill(tmp_path / "zoo", dog=2)
    (data / "ant").mkdir()

    assert len(selected(network, data).indices) == 2


@pytest.mark.parametrize("known", [False, True])
def test_where_no_image_is_left_that_is_said(
    pets: Path, network: Path, tmp_path: Path, known: bool
):
    if known:
        first = load_images(pets)
        (tmp_path / "seen" / "cat").mkdir(parents=True)
        for index in first.train[:3]:
            shutil.copy(pets / first.source.name(int(index)), tmp_path / "seen" / "cat")
    else:
        fill(tmp_path / "seen", ant=3)

    with pytest.raises(DataError, match=r"no image of seen is left to score: .*; give others"):
        selected(network, tmp_path / "seen", known_only=True)


def test_what_cannot_be_read_is_counted(network: Path, tmp_path: Path):
    data = fill(tmp_path / "few", cat=2)
    (data / "cat" / "bad.png").touch()

    found = selected(network, data)
    assert found.said.endswith("; 1 that cannot be read")
    assert "1 skipped: cat/bad.png (the file is empty)" in found.images.notes


def test_eval_says_on_stderr_and_in_json_what_it_scored(
    pets: Path, network: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("INFO"):
        done = CliRunner().invoke(app, ["eval", str(network), str(pets), "--json"])

    record = json.loads(done.stdout)
    assert f"scored on {VALIDATION}" in caplog.messages
    assert (record["images"], record["scored"]) == (8, VALIDATION)
    assert record["left_out"] == {"trained": 32, "unreadable": 0}


@pytest.mark.parametrize(
    "training", [{"split": None}, {"split": {"seed": "x"}}, {"split": {"other": 1}}, {"seed": 0}]
)
def test_a_description_of_another_shape_is_no_hindrance(
    pets: Path, tmp_path: Path, training: dict[str, Any]
):
    network = trained(pets, tmp_path / "run", **training)

    assert selected(network, pets).said == VALIDATION


def test_the_digests_are_a_set_of_numbers_that_is_told_by_its_hash(tmp_path: Path):
    digests = np.array([3, 2**63, 7], np.uint64)
    (tmp_path / "net").touch()
    training = {KEY: keep(digests, tmp_path)}

    found = find(tmp_path / "net", training)
    assert found is not None
    assert found.tolist() == digests.tolist()
    assert find(tmp_path / "net", {KEY: "0" * 16}) is None
    assert find(tmp_path / "net", {}) is None
