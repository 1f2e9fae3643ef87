"""What a score says of itself: what was learned, and what so few images can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch.nn.functional import cross_entropy

from mobilenets.deliver.advice import advice, start_words
from mobilenets.deliver.finished import Run
from mobilenets.deliver.verdict import cannot_tell
from mobilenets.errors import DataError, MobileNetsError
from mobilenets.tasks import figure_with_interval
from mobilenets.tasks.attributes import Attributes, AttributeTable
from mobilenets.tasks.classification import Accuracy, Classification, ClassNumbers
from mobilenets.tasks.confidence import by_chance, fewer_right
from mobilenets.train import Limits, from_scratch


def score(labels: tuple[str, ...], numbers: list[int], said: list[int]) -> Accuracy:
    logits = np.eye(len(labels), dtype=np.float32)[said]
    return Classification(labels).score({"logits": logits}, ClassNumbers(np.array(numbers)))


@pytest.mark.parametrize(
    ("labels", "numbers", "said", "sentence"),
    [
        pytest.param(
            ("defect", "good"), [1] * 38 + [0] * 2, [1] * 40,
            "no better than always saying 'good', right for 95.0 % of images", id="always it",
        ),
        pytest.param(
            ("a", "b", "c"), [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 2, 2, 0],
            "no better than always saying 'a', right for 50.0 % of images", id="as often right",
        ),
        pytest.param(
            ("a", "b"), [0] * 8 + [1] * 6, [1] * 8 + [1] * 6,
            "no better than always saying 'a', right for 57.1 % of images", id="the other one",
        ),
        pytest.param(
            ("defect", "good"), [1] * 38 + [0] * 2, [1] * 38 + [0, 1],
            "not clearly better than always saying 'good': 1 more right of 40", id="one more",
        ),
    ],
)  # fmt: skip
def test_a_network_that_learned_no_more_than_the_largest_class_is_said_to(
    labels: tuple[str, ...], numbers: list[int], said: list[int], sentence: str
):
    found = score(labels, numbers, said)

    assert found.words().split("\n")[0].startswith(f"trained, but {sentence}")
    assert found.details()["learned"] is False


@pytest.mark.parametrize(
    ("numbers", "said", "learned"),
    [
        ([0] * 20 + [1] * 20, [0] * 20 + [1] * 20, True),
        ([0] * 38 + [1] * 8, [0] * 38 + [1] * 6 + [0] * 2, True),
        ([0] * 9, [0] * 8 + [1], None),  # of one class nothing can be said
    ],
)
def test_one_that_learned_more_has_no_warning(
    numbers: list[int], said: list[int], learned: bool | None
):
    found = score(("a", "b"), numbers, said)

    assert found.details()["warning"] is None
    assert found.details()["learned"] is learned


def test_beside_the_top_1_stand_the_largest_class_and_the_worst_recall():
    found = score(("defect", "good"), [1] * 38 + [0] * 2, [1] * 40)

    assert found.words().split("\n")[1:] == [
        "top-1 95.00 % (95 % interval 83.5 to 98.6 %), top-5 100.00 % of 40 images",
        "95.0 % of images are 'good'; recall of 'defect' 0 %, the worst; balanced accuracy 50.0 %",
    ]
    record = found.to_json()
    assert (record["largest_class"], record["largest_share"]) == ("good", 95)
    assert (record["worst_class"], record["worst_recall"]) == ("defect", 0)
    assert record["balanced_accuracy"] == 50


@pytest.mark.parametrize(("count", "told"), [(498, True), (500, False), (5000, False)])
def test_an_accuracy_on_few_images_has_its_interval(count: int, told: bool):
    found = score(("a", "b"), [0, 1] * (count // 2), [0, 0] * (count // 2))
    record = {f"{key}_artifact": value for key, value in found.figures().items()}

    assert ("interval" in found.words()) is told
    title, value = figure_with_interval(record | {"images": count} | found.details(), "_artifact")
    assert (title, "95 % interval" in value) == ("top-1", told)


def right(count: int, wrong: int) -> np.ndarray[Any, Any]:
    return np.arange(count) >= wrong


def test_43_images_cannot_tell_a_point():
    lost = fewer_right(right(43, 8), right(43, 7))

    assert not lost.is_beyond(1.0)
    assert cannot_tell(lost, 1.0) == "43 images cannot tell 1 point: 1 fewer right of 43"


@pytest.mark.parametrize(
    ("count", "fewer", "beyond", "unclear"),
    [
        (43, 0, False, False),
        (43, 2, False, True),
        (43, 8, True, False),
        (10_000, 90, False, False),
        (10_000, 150, True, False),
    ],
)
def test_a_loss_counts_where_the_images_tell_that_it_is_beyond_a_point(
    count: int, fewer: int, beyond: bool, unclear: bool
):
    lost = fewer_right(right(count, fewer), right(count, 0))

    assert (lost.is_beyond(1.0), lost.is_unclear(1.0)) == (beyond, unclear)


def test_a_network_that_is_better_loses_nothing():
    lost = fewer_right(right(43, 1), right(43, 3))

    assert lost.words == "2 more right of 43"
    assert not lost.is_beyond(0.0)
    assert not lost.is_unclear(0.0)


def test_the_bound_is_that_of_clopper_and_pearson():
    ours, theirs = np.ones(200, bool), np.ones(200, bool)
    ours[:30], theirs[30:40] = False, False

    share = binomtest(30, 40, alternative="greater").proportion_ci(0.95).low

    assert fewer_right(ours, theirs).at_least == pytest.approx(100 * 40 * (2 * share - 1) / 200)


def test_mcnemars_test_is_exact():
    assert by_chance(9, 1) == pytest.approx(11 / 1024)  # (10 + 1) / 2^10
    assert by_chance(0, 0) == 1


NAMES = ("a", "b", "c")


def table(count: int, seed: int = 0) -> AttributeTable:
    values = np.random.default_rng(seed).integers(0, 2, (count, 3)).astype(np.float32)
    return AttributeTable(values)


def ranked(labels: AttributeTable, *, noise: float) -> dict[str, Any]:
    drawn = np.random.default_rng(1).normal(0, noise, labels.values.shape)
    return {"logits": (labels.values + drawn).astype(np.float32)}


@pytest.mark.parametrize(("noise", "learned"), [(0.5, True), (1e6, False)])
def test_attributes_that_are_ranked_no_better_than_by_chance_are_said_to(
    noise: float, learned: bool
):
    labels = table(80)

    found = Attributes(NAMES).score(ranked(labels, noise=noise), labels)

    assert found.details()["learned"] is learned
    assert found.words().startswith("trained, but no better than guessing") is not learned
    low, high = found.interval or (0, 0)
    assert low < (found.map or 0) < high


def test_attributes_are_compared_on_the_same_draws():
    labels = table(200)
    good, same = ranked(labels, noise=0.5), ranked(labels, noise=0.5)

    none = Attributes(NAMES).lost(same, good, labels)
    assert (none.points, none.at_least) == (0, 0)
    worse = Attributes(NAMES).lost(ranked(labels, noise=3.0), good, labels)
    assert worse.is_beyond(1.0)
    assert "points lower on 200 images" in worse.words


def test_class_weights_make_all_classes_count_alike():
    numbers = ClassNumbers(np.array([0] * 6 + [1] * 2 + [2] * 4))
    task = Classification(("a", "b", "c"))
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    target = torch.from_numpy(numbers.values)

    weights = task.balance(numbers)

    assert weights.tolist() == pytest.approx([12 / 18, 2, 1])
    each = [cross_entropy(logits[target == at], target[target == at]) for at in range(3)]
    loss = task.loss({"logits": logits}, target, weights=weights)
    torch.testing.assert_close(loss, sum(each) / 3, rtol=1e-5, atol=0)
    assert task.balance(ClassNumbers(np.array([0, 0]))).tolist() == [1, 1, 1]


def test_class_weights_are_for_classes_and_known_words():
    with pytest.raises(DataError, match="class weights are for one class an image"):
        Attributes(NAMES).balance(table(4))
    with pytest.raises(MobileNetsError, match="class_weights must be one of none, balanced, got"):
        Limits(class_weights="heavy")


def test_class_weights_are_part_of_what_a_run_is_known_by():
    recipe = from_scratch().limited(Limits(class_weights="balanced"))

    assert recipe.class_weights == "balanced"
    assert recipe != from_scratch()


WEAK: dict[str, Any] = {
    "learned": True, "balanced_accuracy": 39.5, "worst_recall": 0.0, "start": None,
    "class_images": [11, 14], "native_size": 300, "class_weights": "none", "epochs": 16,
    "recipe_epochs": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        (
            {},
            "fine-tune from published weights (--weights auto; pip install 'mobilenets[imagenet]'",
        ),
        (
            {"start": "timm", "class_images": [10, 190]},
            "--class-weights balanced: the classes have 10 t",
        ),
        ({"start": "timm", "epochs": 3}, "more --minutes: 3 of 16 epochs were trained"),
        ({"native_size": 28}, "more images of each class"),
        ({"balanced_accuracy": 91.0}, None),
        ({"balanced_accuracy": 91.0, "learned": False}, "fine-tune from published weights"),
    ],
)
def test_advice_is_for_what_is_weak(changed: dict[str, Any], first: str | None):
    found = advice(WEAK | changed)

    assert (found[0] if found else None) == first or found[0].startswith(first or "?")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (None, None),
        ({"weights": "timm:a"}, "timm:a"),
        ({"surgery": {}, "before": {"weights": "b"}}, "b (carried over by surgery)"),
        ({"weights": "b", "imagenet_top1": 75.12}, "b (ImageNet top-1 75.1 %)"),
        ({"images": "photos", "recipe": {}}, "a network trained on photos"),
    ],
)
def test_a_run_says_what_it_started_from(start: dict[str, Any] | None, words: str | None):
    assert start_words(start) == words


def summary(**changed: Any) -> dict[str, Any]:
    found = score(("a", "b"), [0] * 20 + [1] * 23, [0] * 25 + [1] * 18)
    figures = {
        f"{key}_{of}": value
        for key, value in found.figures().items()
        for of in ("artifact", "checkpoint")
    }
    latency = {"p50_ms": 0.274, "threads": 1, "precision": "fp32", "runtime": "onnxruntime"}
    return {
        "chosen": {"full_name": "mobilenet_v2_1_96", "name": "mobilenet_v2"}, "trials": [],
        "macs": 1e6, "params": 2e6,
        "size_bytes": 3e6, "latency": latency, "images": 43, "verified": True, "epochs": 16,
        "recipe_epochs": 16, "within_budget": True, "undecided": False, "complaints": [],
        "budget": {"latency_ms": 0.3}, "artifact": "model.onnx", "report": "report.html",
        **figures, **found.details(), **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "budget    yes: p50 0.274 ms of 0.3 ms"),
        ({"within_budget": False}, "budget    NO: p50 0.274 ms of 0.3 ms"),
        ({"within_budget": False, "undecided": True}, "budget    undecided: p50 0.274 ms of 0.3"),
        ({}, "verified  yes: the exported file gives the checkpoint's answers (88.37 %)"),
        ({"verified": False}, "verified  NO: the exported file does not give the checkpoint's"),
        ({}, "accuracy  top-1 88.37 % (95 % interval 75.5 to 94.9 %) of 43 validation images"),
        ({"start": "timm:a"}, "start     timm:a"),
        ({"start": None}, "start     random weights"),
    ],
)
def test_the_last_lines_of_a_fit_say_exactly_what_is_known(changed: dict[str, Any], line: str):
    assert f"\n{line}" in f"\n{Run(Path('run'), summary(**changed)).verdict()}"


def test_the_first_line_of_a_fit_that_learned_nothing_says_so():
    nothing = score(("a", "b"), [0] * 20 + [1] * 23, [1] * 43).details()

    said = Run(Path("run"), summary(**nothing)).verdict()

    assert said.startswith("Trained, but no better than always saying 'b', right for 53.5 % of im")


def test_a_fit_begins_with_its_outcome_in_words():
    said = Run(Path("run"), summary()).verdict()

    assert said.startswith(
        "This MobileNetV2 answers in 0.274 ms (limit 0.3 ms) on onnxruntime and is right 88 times "
        "in 100; its weakest class is 'b', 78.3 %. With only 43 validation images, the 95 % "
        "interval of its top-1 is 76 to 95 %.\nnetwork   mobilenet_v2_1_96\n"
    )
