"""Attributes: how tables are read, what is learned from what is known, how it is scored."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from torch.nn.functional import cross_entropy

from mobilenets import Budget, fit
from mobilenets.archs import get_arch, keep_resolution
from mobilenets.cli.app import app
from mobilenets.data import Augment, Images, load_images, read_image, write_shards
from mobilenets.deliver import load
from mobilenets.errors import DataError, FileError, TrainingStopped
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.prune import netadapt
from mobilenets.tasks import get_task
from mobilenets.tasks.attributes import Attributes, AttributeTable, average_precisions
from mobilenets.train import Distill, Limits, Teacher, from_scratch, train
from mobilenets.train.module import Learner
from mobilenets.train.scoring import score

NAMES = ("even", "prime", "loop", "above four")
HAVE = ({0, 2, 4, 6, 8}, {2, 3, 5, 7}, {0, 6, 8, 9}, {5, 6, 7, 8, 9})
ARCH = keep_resolution(get_arch("mobilenet_v1", width=0.25, resolution=8, classes=4), 4)
PLAIN = replace(
    from_scratch(flip=False), epochs=6, minutes=None, batch_size=32, augment=Augment.none()
)
NAN = float("nan")


def write_digits(folder: Path, *, count: int = 300, known: float = 1.0) -> Path:
    """Digits as PNG and what is true of them; of a part `known` of the cells, drawn by chance."""
    digits, rng = load_digits(), np.random.default_rng(0)
    rows = [["file", *NAMES]]
    for at in range(count):
        name, digit = f"{at}.png", int(digits.target[at])
        folder.mkdir(exist_ok=True)
        Image.fromarray((digits.images[at] * 255 / 16).astype(np.uint8)).save(folder / name)
        cells = ["1" if digit in have else "0" for have in HAVE]
        rows.append([name, *(cell if rng.random() < known else "" for cell in cells)])
    return write_table(folder / "labels.csv", rows)


def write_table(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="module")
def digits(table: Path) -> Images:
    return load_images(table)


@pytest.fixture(scope="module")
def trained(digits: Images, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return train(ARCH, digits, PLAIN, folder=tmp_path_factory.mktemp("trained"))


# Tables


def small_table(folder: Path, header: list[str], rows: list[list[str]]) -> Path:
    for at, row in enumerate(rows):
        Image.new("RGB", (8, 8), (at, 0, 0)).save(folder / row[0])
    return write_table(folder / "table.csv", [header, *rows])


def test_a_table_is_read_as_it_stands(digits: Images):
    target = load_digits().target[:300]

    assert (digits.task.name, digits.task.labels) == ("attributes", NAMES)
    assert digits.targets.values.dtype == np.float32
    for column, have in zip(digits.targets.values.T, HAVE, strict=True):
        assert column.tolist() == [float(digit in have) for digit in target]
    counted = digits.to_json()["class_counts"]["val"]
    assert counted["even"] == (digits.targets.values[digits.val, 0] == 1).sum()


def test_minus_one_is_not_there_and_nothing_is_unknown(tmp_path: Path):
    rows = [[f"{at}.png", "1" if at % 2 else "-1", "" if at == 0 else "-1"] for at in range(12)]
    rows += [[f"{at}.png", "1", "1"] for at in range(12, 18)]

    labels = load_images(small_table(tmp_path, ["file", "a", "b"], rows)).targets.values

    np.testing.assert_array_equal(labels[:3], [[0, NAN], [1, 0], [0, 0]])


def test_a_folder_with_images_and_their_table_is_that_table(table: Path, digits: Images):
    images = load_images(table.parent)

    assert images.task.labels == NAMES
    assert images.fingerprint == digits.fingerprint


def test_celeba_is_read_with_its_split(tmp_path: Path):
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    lines, parts = ["20", "Smiling Eyeglasses "], []
    for at in range(20):
        Image.new("RGB", (8, 8), (12 * at, 0, 0)).save(folder / f"{at:06}.jpg")
        lines.append(f"{at:06}.jpg  {1 if at % 2 else -1} {1 if at % 3 else -1}")
        parts.append(f"{at:06}.jpg {0 if at < 14 else 1 if at < 17 else 2}")
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")

    images = load_images(tmp_path)

    assert images.task.labels == ("Smiling", "Eyeglasses")
    assert images.targets.values[:4].tolist() == [[0, 0], [1, 1], [0, 1], [1, 0]]
    assert (images.val.tolist(), images.test.tolist()) == ([14, 15, 16], [17, 18, 19])


def test_path_label_split_stays_classes_whatever_its_columns_are_called(tmp_path: Path):
    rows = [[f"{at}.png", str(at % 2), "train" if at < 8 else "val"] for at in range(12)]

    images = load_images(small_table(tmp_path, ["file", "class", "subset"], rows))

    assert (images.task.name, images.task.labels) == ("classification", ("0", "1"))


@pytest.mark.parametrize(
    ("header", "cells", "message"),
    [
        (["file", "a", "b"], ["32", "1"], "attribute 'a' must be 1, 0 or -1, or empty .* got '32'"),
        (["file", "a", "a"], ["1", "1"], "two columns called 'a'; give each"),
        (["file", "a", ""], ["1", "1"], "a column without a name"),
        (["file", "a", "b"], ["1"], "line 2 has 2 cells where the first line names 3 columns"),
        (["file", "a", "b"], ["-1", "0"], "has both 0 and -1; write 0"),
        (["file", "a", "b"], ["0", "1"], "'a' is 1 in 0 and 0 in 6 .* needs at least 3 of each"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(
    tmp_path: Path, header: list[str], cells: list[str], message: str
):
    rows = [[f"{at}.png", *cells] for at in range(6)]

    with pytest.raises(DataError, match=message):
        load_images(small_table(tmp_path, header, rows))


@pytest.mark.parametrize(
    ("data", "task", "message"),
    [
        ("digits", "attributes", "digits holds no attributes; give a .csv file"),
        (
            "digits",
            "smiles",
            "no task is called 'smiles'; there are classification, attributes, detection",
        ),
    ],
)
def test_another_task_than_the_data_is_for_is_refused(data: str, task: str, message: str):
    with pytest.raises(DataError, match=message):
        load_images(data, task=task)


def test_a_table_of_attributes_is_not_read_as_classes(table: Path):
    with pytest.raises(DataError, match="a row is path,label or path,label,split"):
        load_images(table, task="classification")


def test_one_attribute_is_two_classes(tmp_path: Path):
    table = small_table(tmp_path, ["file", "a"], [[f"{at}.png", str(at % 2)] for at in range(9)])

    with pytest.raises(DataError, match="has 1 columns of attributes and needs two at least"):
        load_images(table, task="attributes")


def test_a_rare_attribute_is_in_every_part(tmp_path: Path):
    rows = [[f"{at}.png", str(int(at < 3)), str(at % 2)] for at in range(40)]

    images = load_images(small_table(tmp_path, ["file", "rare", "often"], rows))

    assert [
        images.targets.values[part, 0].sum() for part in (images.train, images.holdout, images.val)
    ] == [1, 1, 1]


def test_images_of_which_nothing_is_known_only_train(tmp_path: Path):
    known = [[f"{at}.png", str(at % 2), str(int(at % 3 == 0))] for at in range(30)]
    rows = known + [[f"{at}.png", "", ""] for at in range(30, 60)]

    images = load_images(small_table(tmp_path, ["file", "a", "b"], rows))

    assert max(images.val.max(), images.holdout.max()) < 30
    assert set(range(30, 60)) <= set(images.train.tolist())


def test_shards_and_adaptation_are_refused(digits: Images, tmp_path: Path):
    with pytest.raises(DataError, match="has attributes, and shards hold one class an image"):
        write_shards(digits, tmp_path / "shards")
    with pytest.raises(DataError, match="has attributes, and only classifiers are adapted"):
        next(netadapt(Checkpoint.fresh(ARCH), 1.0, images=digits, price=lambda arch: 2.0))


# Loss


def random_logits(seed: int = 0, count: int = 40) -> torch.Tensor:
    return 3 * torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def random_labels(count: int = 40, *, known: float = 0.7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (count, 4), generator=generator).float()
    labels[torch.rand(count, 4, generator=generator) > known] = NAN
    return labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_cross_entropy_over_there_and_not(smoothing: float):
    """A sigmoid of z is a softmax of (0, z); torch smooths a softmax's labels."""
    logits, labels = random_logits(), random_labels(known=1.0)
    pairs = torch.stack([torch.zeros_like(logits), logits], 1)
    expected = cross_entropy(pairs, labels.long(), label_smoothing=smoothing)

    loss = Attributes(NAMES).loss({"logits": logits}, labels, smoothing=smoothing)

    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_unknown_entries_change_nothing():
    logits, labels = random_logits().requires_grad_(), random_labels()
    known = ~labels.isnan()
    rows, columns = known.nonzero(as_tuple=True)
    pairs = torch.stack([torch.zeros_like(logits), logits], 2)[rows, columns]
    expected = cross_entropy(pairs, labels[known].long(), reduction="sum") / labels.numel()

    loss = Attributes(NAMES).loss({"logits": logits}, labels)
    (gradient,) = torch.autograd.grad(loss, logits)

    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    assert (gradient[~known] == 0).all()
    assert (gradient[known] != 0).all()


def test_a_teacher_answers_where_the_label_is_unknown():
    task, logits, theirs, labels = (
        Attributes(NAMES),
        random_logits(),
        random_logits(2),
        random_labels(),
    )
    filled = torch.where(labels.isnan(), theirs.sigmoid(), labels)

    found = task.loss({"logits": logits}, labels, teacher={"logits": theirs})

    assert not task.knows_all(labels)
    torch.testing.assert_close(found, task.loss({"logits": logits}, filled))


def test_imitation_is_cross_entropy_to_the_teachers_probabilities():
    """The V1 paper's, averaged over attributes; least where both say the same."""
    task, ours, theirs = Attributes(NAMES), random_logits(), random_logits(2)
    q, p = (1 / (1 + np.exp(-one.double().numpy())) for one in (ours, theirs))
    by_hand = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean()

    one, other = {"logits": ours}, {"logits": theirs}
    assert task.imitation(one, other, temperature=4.0).item() == pytest.approx(by_hand, rel=1e-5)
    assert task.imitation(other, other, temperature=4.0) < by_hand


# Metric


def test_mean_average_precision_is_scikit_learns():
    logits, labels = random_logits(count=60), random_labels(60)
    expected = [
        100 * average_precision_score(column[known].numpy(), said[known].numpy())
        for column, said in zip(labels.T, logits.T, strict=True)
        for known in [~column.isnan()]
    ]

    scored = Attributes(NAMES).score({"logits": logits.numpy()}, AttributeTable(labels.numpy()))
    meter = Attributes(NAMES).meter(4)
    for at in range(0, 60, 25):
        meter.update({"logits": logits[at : at + 25]}, labels[at : at + 25])

    assert [one["average_precision"] for one in scored.attributes] == pytest.approx(expected)
    assert scored.map == pytest.approx(np.mean(expected))
    assert 100 * meter.compute().item() == pytest.approx(np.mean(expected))


def test_surest_answers_are_told_apart():
    """In float32 both sigmoids are 1."""
    labels = torch.tensor([[1.0], [0.0]])

    assert average_precisions(torch.tensor([[30.0], [20.0]]), labels).tolist() == [1]


def test_an_attribute_that_no_image_has_counts_nothing():
    logits, labels = random_logits(), random_labels(known=1.0)
    labels[:, 1], labels[:, 2] = 0, NAN

    scored = Attributes(NAMES).score({"logits": logits.numpy()}, AttributeTable(labels.numpy()))
    found = [one["average_precision"] for one in scored.attributes]

    assert found[1:3] == [None, None]
    assert scored.map == pytest.approx((found[0] + found[3]) / 2)
    assert [one["known"] for one in scored.attributes] == [40, 40, 0, 40]
    assert scored.attributes[1]["accuracy"] == pytest.approx(
        100 * float((logits[:, 1] <= 0).float().mean())
    )


def test_without_labels_there_is_no_score():
    unknown = AttributeTable(np.full((40, 4), NAN, np.float32))
    scored = Attributes(NAMES).score({"logits": random_logits().numpy()}, unknown)

    assert scored.map is None
    assert scored.words() == "mean average precision unknown of 40 images"


def test_a_task_nobody_knows_is_refused():
    with pytest.raises(FileError, match="the file is for the task 'boxes', and this version knows"):
        get_task("boxes", NAMES)


# Training


@pytest.mark.slow
def test_a_network_learns_them(digits: Images, trained: Checkpoint):
    chance = 100 * np.nanmean(digits.targets.values[digits.val], axis=0)  # a ranking by chance

    found = score(trained, digits)
    assert (trained.task, trained.labels) == ("attributes", NAMES)
    assert all(
        one["average_precision"] > share + 10
        for one, share in zip(found.details()["attributes"], chance, strict=True)
    )


@pytest.mark.slow
def test_a_teacher_alone_teaches_without_labels(
    digits: Images, trained: Checkpoint, tmp_path: Path
):
    """No label is left but those of the validation images, which only report."""
    labels = digits.targets.values.copy()
    labels[np.concatenate([digits.train, digits.holdout])] = NAN
    blind = replace(digits, targets=AttributeTable(labels))
    untrained = replace(trained, weights=MobileNet(ARCH).state_dict())

    student = train(ARCH, blind, PLAIN, folder=tmp_path, teacher=Teacher.of(trained), seed=1)

    assert score(student, digits).value > score(untrained, digits).value + 10
    assert "nan" in (tmp_path / "metrics.csv").read_text()  # of the holdout there are no labels


def test_without_labels_and_teacher_nothing_can_be_learned(digits: Images, tmp_path: Path):
    labels = digits.targets.values.copy()
    labels[:, 2] = NAN

    with pytest.raises(DataError, match="no training image says whether it has loop; fill the"):
        train(ARCH, replace(digits, targets=AttributeTable(labels)), PLAIN, folder=tmp_path)


def test_an_embedding_cannot_stand_in_for_labels(
    digits: Images, trained: Checkpoint, tmp_path: Path
):
    recipe = replace(PLAIN, distill=Distill(match="embedding"))
    blind = replace(digits, targets=AttributeTable(np.full_like(digits.targets.values, NAN)))

    with pytest.raises(DataError, match="no training image says whether"):
        train(ARCH, blind, recipe, folder=tmp_path, teacher=Teacher.of(trained, match="embedding"))


def test_a_classifier_does_not_teach_attributes_of_the_same_names():
    teacher = Teacher.of(replace(Checkpoint.fresh(ARCH), labels=NAMES))

    with pytest.raises(DataError, match="the teacher is for classification and the images are for"):
        Learner(
            MobileNet(ARCH), PLAIN, seed=0, total_steps=1, teacher=teacher, task=Attributes(NAMES)
        )


def test_mixup_mixes_attributes_and_keeps_the_unknown_unknown():
    recipe = replace(PLAIN, mixup=1.0, label_smoothing=0.0)
    module = Learner(MobileNet(ARCH), recipe, seed=0, total_steps=1, task=Attributes(NAMES))
    labels = torch.tensor([[1.0, NAN, 0.0, 0.0], [0.0, 1.0, NAN, 0.0], [1.0, 1.0, 1.0, 0.0]])

    _, mixed = module._varied(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), labels)

    unknown = [[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]]  # of the image, or of the one before it
    assert mixed.isnan().int().tolist() == unknown
    assert 0 < mixed[1, 0] < 1
    torch.testing.assert_close(mixed[1, 0] + mixed[2, 0], torch.tensor(1.0))


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(
    digits: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = replace(PLAIN, epochs=3)
    whole = train(ARCH, digits, recipe, folder=tmp_path / "whole")

    def stop(module: Learner) -> None:
        module.start_epoch(module.current_epoch)
        if module.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "on_train_epoch_start", stop)
        with pytest.raises(TrainingStopped, match="stopped in epoch 2 of 3"):
            train(ARCH, digits, recipe, folder=tmp_path / "broken")
    again = train(ARCH, digits, recipe, folder=tmp_path / "broken")

    assert again.digest() == whole.digest()


# The commands


def run(*arguments: str | Path) -> Any:
    return app([str(one) for one in arguments], standalone_mode=False)


@pytest.mark.slow
def test_fit_verifies_an_artifact_that_can_be_used(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    done = fit(
        table, Budget(macs=0.5e6, params=1e6), out=tmp_path, limits=Limits(epochs=2, flip=False)
    )
    capsys.readouterr()
    run("predict", done.artifact, table.parent / "3.png", "--json")
    predicted = json.loads(capsys.readouterr().out)
    run("eval", done.artifact, table, "--json")
    scored = json.loads(capsys.readouterr().out)

    assert done.accepted
    assert "mean average precision" in done.verdict()
    assert done.summary["map_artifact"] == pytest.approx(done.summary["map_checkpoint"], abs=0.1)
    assert [one["label"] for one in predicted] == list(NAMES)
    network = load(done.artifact)
    logits = network.outputs(network.preprocess(read_image(table.parent / "3.png"))[None])["logits"]
    expected = 1 / (1 + np.exp(-logits[0].astype(float)))
    assert [one["probability"] for one in predicted] == pytest.approx(expected.tolist())
    assert scored["map"] == pytest.approx(done.summary["map_artifact"])
    page = (tmp_path / "report.html").read_text()
    assert "Each attribute" in page
    assert "Confusion matrix" not in page
    card = (tmp_path / "README.md").read_text()
    assert "a multi-label image classifier of 4 attributes" in card
    assert "top-1" not in card


@pytest.mark.slow
def test_train_tells_the_mean_average_precision(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(
        "train", "mobilenet_v1", table, "--task", "attributes", "--width", "0.25", "--resolution",
        "32", "--epochs", "1", "--out", tmp_path, "--json",
    )  # fmt: skip
    record = json.loads(capsys.readouterr().out)

    assert "top1" not in record
    assert [one["attribute"] for one in record["attributes"]] == list(NAMES)
    values = [one["average_precision"] for one in record["attributes"]]
    assert record["map"] == pytest.approx(np.mean(values))
