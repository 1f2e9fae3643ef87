"""How detections are scored: COCO's figures by faster-coco-eval, and ours of counted matches."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from mobilenets.archs import get_arch, with_lraspp, with_ssdlite
from mobilenets.errors import ArchError, DataError, RuntimeMissing
from mobilenets.nn.detection_modules import Decoded
from mobilenets.tasks import Answer, Geometry
from mobilenets.tasks.average_precision import (
    Found,
    average_precisions,
    best_threshold,
    coco_figures,
    matched,
    mean_precision,
    precision_and_recall,
    resampled,
)
from mobilenets.tasks.boxes import BoxLists
from mobilenets.tasks.detection import Detection, found_in

NAMES = ("cat", "dog", "owl")
TASK = Detection(NAMES)
ARCH = with_ssdlite(get_arch("v3_small", width=0.35, resolution=128), classes=4)


def scenes(images: int = 12, *, seed: int = 0, crowds: bool = True) -> tuple[list[Found], Any]:
    """Detections, of which about half lie near a box, and boxes (N, M, 6); some images have none,
    and some boxes do not count."""
    rng = np.random.default_rng(seed)
    found, lists = [], []
    for at in range(images):
        count = 0 if at % 5 == 4 else int(rng.integers(1, 8))
        low, sides = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.02, 0.4, (count, 2))
        labels = rng.integers(0, 3, count)
        crowd = (rng.random(count) < 0.2) & crowds
        lists.append(np.column_stack([low, low + sides, labels, crowd]).astype(np.float32))
        near = rng.integers(0, max(count, 1), 10) if count else np.zeros(0, int)
        boxes = lists[-1][near, :4] + rng.normal(0, 0.02, (len(near), 4)).astype(np.float32)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.01)
        away = rng.uniform(0, 0.5, (6, 2))
        boxes = np.concatenate([boxes, np.column_stack([away, away + 0.2])]).astype(np.float32)
        said = np.concatenate([labels[near], rng.integers(0, 3, 6)])
        said = np.where(rng.random(len(said)) < 0.2, rng.integers(0, 3, len(said)), said)
        chances = -np.sort(-rng.random(len(said)).astype(np.float32))
        found.append((boxes, said, chances))
    return found, BoxLists.of(lists).values


def torchmetrics_says(found: list[Found], boxes: Any) -> dict[str, Any]:
    """In pixels of 640, class by class, at COCO's thresholds (its default ones are float32)."""
    metric = MeanAveragePrecision(
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
        backend="faster_coco_eval", class_metrics=True,
    )  # fmt: skip
    metric.warn_on_many_detections = False
    for (corners, labels, chances), rows in zip(found, boxes, strict=True):
        rows = torch.from_numpy(rows[rows[:, 4] >= 0])
        metric.update(
            [
                {
                    "boxes": 640 * torch.from_numpy(corners),
                    "labels": torch.from_numpy(labels),
                    "scores": torch.from_numpy(chances),
                }
            ],
            [
                {
                    "boxes": 640 * rows[:, :4],
                    "labels": rows[:, 4].long(),
                    "iscrowd": rows[:, 5].long(),
                }
            ],
        )
    return metric.compute()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_our_precisions_are_faster_coco_evals(seed: int):
    found, boxes = scenes(seed=seed)
    expected = torchmetrics_says(found, boxes)

    figures, of = coco_figures(found, boxes), matched(found, boxes, 3)

    for key in ("map", "map_50", "map_75", "map_small", "map_medium", "map_large"):
        assert np.nan_to_num(figures[key], nan=-1) == pytest.approx(float(expected[key]), rel=1e-6)
    by_class = [figures["classes"][at][0] for at in range(3)]
    assert by_class == pytest.approx(expected["map_per_class"].tolist(), rel=1e-6)
    ours = average_precisions(of, np.ones((1, len(found))))[0]
    assert ours.tolist() == pytest.approx(by_class, rel=1e-6)
    assert mean_precision(of) == pytest.approx(100 * figures["map"], rel=1e-6)
    assert 0.05 < figures["map"] < 0.95


def test_an_image_that_counts_twice_is_an_image_that_is_there_twice():
    found, boxes = scenes()
    order = np.r_[np.arange(12), 0, 0, 3]
    twice = torchmetrics_says([found[at] for at in order], boxes[order])
    times = np.bincount(order, minlength=12)[None].astype(float)

    ours = average_precisions(matched(found, boxes, 3), times)[0]

    np.testing.assert_allclose(ours, twice["map_per_class"].numpy(), atol=2e-3)


def test_only_the_hundred_surest_of_a_class_in_an_image_are_looked_at():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (160, 2))
    corners = np.column_stack([low, low + rng.uniform(0.1, 0.5, (160, 2))]).astype(np.float32)
    rows = np.column_stack([corners[100:130], np.zeros((30, 2))]).astype(np.float32)
    chances = np.linspace(1, 0.1, 160, dtype=np.float32)
    one = [(corners, np.zeros(160, np.int64), chances)]

    expected = torchmetrics_says(one, rows[None])["map"]

    assert mean_precision(matched(one, rows[None], 3)) == pytest.approx(100 * float(expected))


def test_without_boxes_nothing_is_known():
    found, boxes = scenes()
    nothing = boxes[:, :0]

    figures = coco_figures(found, nothing)

    assert np.isnan(figures["map"])
    assert figures["classes"] == {}


def test_the_interval_holds_the_mean_and_is_the_same_again():
    found, boxes = scenes(40)
    of = matched(found, boxes, 3)

    drawn = resampled(of)

    low, high = np.quantile(drawn, (0.025, 0.975))
    assert low < mean_precision(of) < high
    np.testing.assert_array_equal(drawn, resampled(of))


def one_image(*detections: tuple[float, float]) -> tuple[list[Found], Any]:
    """Detections (place, probability) of boxes of side 0.1, and boxes at places 0, 0.2 and 0.4."""
    places = np.array([place for place, _ in detections], np.float32)
    corners = np.column_stack([places, 0 * places, places + 0.1, 0 * places + 0.1])
    labels = np.zeros(len(places), np.int64)
    rows = [[at, 0, at + 0.1, 0.1, 0, 0] for at in (0, 0.2, 0.4)]
    found = (corners.astype(np.float32), labels, np.array([p for _, p in detections], np.float32))
    return [found], np.array([rows], np.float32)


def test_precision_and_recall_are_of_what_is_above_the_threshold():
    of = matched(*one_image((0, 0.9), (0.2, 0.8), (0.7, 0.7), (0.4, 0.2)), 1)

    assert precision_and_recall(of, 0.5) == pytest.approx((200 / 3, 200 / 3))
    assert precision_and_recall(of, 0.8) == pytest.approx((100, 100 / 3))
    assert precision_and_recall(of, 0.95) == (None, 0)


@pytest.mark.parametrize(
    ("detections", "threshold"),
    [
        ([(0, 0.9), (0.2, 0.8), (0.7, 0.7), (0.8, 0.6), (0.4, 0.2)], 0.75),  # F1 0.80, all: 0.75
        ([(0, 0.9), (0.2, 0.8), (0.7, 0.7), (0.4, 0.6)], 0.3),  # all: 0.86
        ([(0.7, 0.7)], None),
        ([], None),
    ],
)
def test_the_best_threshold_has_the_best_f1(detections: Any, threshold: float | None):
    assert best_threshold(matched(*one_image(*detections), 1)) == (
        threshold and pytest.approx(threshold)
    )


# The task


def deployed(found: list[Found]) -> dict[str, Any]:
    """Outputs of which `found_in` makes these detections, if none suppresses another."""
    count = max(len(one[1]) for one in found)
    boxes = np.zeros((len(found), count, 4), np.float32)
    scores = np.zeros((len(found), count, 4), np.float32)
    for at, (corners, labels, chances) in enumerate(found):
        boxes[at, : len(labels)] = corners
        scores[at, np.arange(len(labels)), labels + 1] = chances
    scores[..., 0] = 1 - scores[..., 1:].sum(axis=2)
    return {"boxes": boxes, "scores": scores}


def learned(images: int = 12, *, seed: int = 0) -> tuple[dict[str, Any], BoxLists]:
    """Detections that mostly fit."""
    found, boxes = scenes(images, seed=seed)
    return deployed(found), BoxLists(boxes)


def test_a_score_tells_figures_and_what_they_are_worth():
    outputs, targets = learned()
    found = found_in(outputs)
    expected = torchmetrics_says(found, targets.values)

    score = TASK.score(outputs, targets)

    assert score.value == score.figures()["map50_95"] == pytest.approx(100 * float(expected["map"]))
    assert score.boxes == int(targets.counted.sum())
    assert [one["class"] for one in score.classes] == list(NAMES)
    assert sum(one["boxes"] for one in score.classes) == score.boxes
    assert score.learned is True
    assert score.guessed is not None
    assert score.guessed < score.map
    assert score.interval[0] < score.map < score.interval[1]
    words = score.words().splitlines()
    assert words[0].startswith(f"mAP50-95 {score.map:.2f} % (95 % interval ")
    assert words[0].endswith(" of 12 images")
    assert words[1].startswith("above a score of 0.50 precision ")
    record = score.to_json()
    assert record["images"] == 12
    assert record["map50_95_interval"] == list(score.interval)


def test_answers_that_do_not_look_at_the_image_are_told():
    _, targets = learned(30)
    usual = np.array([[0.2, 0.2, 0.5, 0.5]], np.float32)
    blind = deployed([(usual, np.zeros(1, np.int64), np.ones(1, np.float32) * 0.9)] * 30)

    score = TASK.score(blind, targets)

    assert score.learned is False
    assert score.words().startswith("trained, but no better than guessing: the detections of other")


def test_of_one_image_or_without_boxes_nothing_is_told():
    outputs, targets = learned()
    first = {name: one[:1] for name, one in outputs.items()}

    assert TASK.score(first, targets.take(np.arange(1))).learned is None
    none = TASK.score(outputs, BoxLists(targets.values[:, :0]))
    assert (none.value, none.learned, none.interval) == (None, None, None)
    assert none.words() == "mAP50-95 unknown, mAP50 unknown, mAP75 unknown of 12 images"


def test_what_is_lost_is_paired_and_bounded():
    outputs, targets = learned(40)
    worse = outputs | {"boxes": outputs["boxes"] + np.float32(0.03)}

    none, some = TASK.lost(outputs, outputs, targets), TASK.lost(worse, outputs, targets)

    assert (none.points, none.at_least) == (0, 0)
    mine, other = (TASK.score(one, targets).map for one in (worse, outputs))
    assert some.points == pytest.approx(other - mine)
    assert 0 < some.at_least < some.points
    assert some.words == f"mAP50-95 {some.points:.2f} points lower on 40 images"


def test_agreement_counts_what_both_print():
    found = [
        (np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32), np.array([0, 1]),
         np.array([0.9, 0.8], np.float32)),
    ]  # fmt: skip
    ours = deployed(found)
    moved = ours | {"boxes": ours["boxes"] + np.float32([[[0, 0, 0, 0], [0.1, 0, 0.1, 0]]])}
    unsure = ours | {"scores": ours["scores"] * np.float32([[[1], [0.5]]])}
    other_class = ours | {"scores": ours["scores"][..., [0, 2, 1, 3]]}

    assert TASK.agreement(ours, ours) == 100
    assert TASK.agreement(ours, moved) == 50  # of four detections two
    assert TASK.agreement(ours, unsure) == pytest.approx(200 / 3)
    assert TASK.agreement(ours, other_class) == 0
    silent = ours | {"scores": 0 * ours["scores"]}
    assert TASK.agreement(silent, silent) == 100


def test_answers_are_boxes_above_the_tuned_threshold():
    outputs, targets = learned()

    settings = TASK.tuned(outputs, targets)
    answers = replace(TASK, answers=settings).decode({k: one[0] for k, one in outputs.items()})

    of = matched(found_in(outputs), targets.values, 3)
    assert settings == {"score_threshold": best_threshold(of), "iou_threshold": 0.55}
    assert settings["score_threshold"] != 0.5
    assert len(answers) == sum(
        chance > settings["score_threshold"] for chance in found_in(outputs)[0][2]
    )
    assert answers == sorted(answers, key=lambda one: -one.probability)
    assert isinstance(answers[0], Answer)
    assert answers[0].label in NAMES
    assert answers[0].box == tuple(found_in(outputs)[0][0][0].tolist())


def test_nothing_right_leaves_the_threshold():
    outputs, targets = learned()

    assert TASK.tuned(outputs, BoxLists(targets.values[:, :0])) == {
        "score_threshold": 0.5, "iou_threshold": 0.55,
    }  # fmt: skip


def test_the_meter_scores_raw_outputs_batch_by_batch():
    _, targets = learned(5)
    task = TASK.for_network(ARCH)
    target = torch.from_numpy(targets.values)
    coder = Decoded(ARCH).coder
    logits = torch.randn(5, len(coder.centres), 4, generator=torch.Generator().manual_seed(0))
    boxes = target[:, :1, :4].expand(-1, len(coder.centres), -1)
    raw = {"boxes": coder.offsets(boxes).nan_to_num(0, 0, 0), "scores": logits}
    outputs = {name: one.numpy() for name, one in Decoded(ARCH)(raw).items()}

    meter = task.meter(3)
    for part in (slice(0, 3), slice(3, 5)):
        meter.update({name: one[part] for name, one in raw.items()}, target[part])

    expected = TASK.score(outputs, targets).map
    assert expected > 1
    assert 100 * meter.compute().item() == pytest.approx(expected, rel=1e-5)
    meter.reset()
    meter.update({name: one[:1] for name, one in raw.items()}, target[:1, :0])
    assert meter.compute().isnan()


def test_the_meter_gathers_the_images_of_several_processes():
    _, targets = learned(6)
    target = torch.from_numpy(targets.values)
    count = ARCH.outputs["boxes"][0]
    generator = torch.Generator().manual_seed(0)
    raw = {
        "boxes": torch.randn(6, count, 4, generator=generator),
        "scores": 3 * torch.randn(6, count, 4, generator=generator),
    }
    mine, other, both = (TASK.for_network(ARCH).meter(3) for _ in range(3))
    for meter, part in ((mine, slice(0, 4)), (other, slice(4, 6)), (both, slice(0, 6))):
        meter.update({name: one[part] for name, one in raw.items()}, target[part])

    theirs = {one.shape[1:]: one for one in (other.found[0], other.boxes[0])}
    mine.distributed_available_fn = lambda: True
    mine.dist_sync_fn = lambda one, group: [one, theirs[one.shape[1:]]]

    assert mine.compute() == both.compute()
    assert mine.compute() != other.compute()


def test_without_faster_coco_eval_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "mobilenets.tasks.average_precision.find_spec",
        lambda name: None if name == "faster_coco_eval" else find(name),
    )

    with pytest.raises(RuntimeMissing, match=r"mAP is .* pip install 'mobilenets\[detection\]'"):
        TASK.score(*learned())
    with pytest.raises(RuntimeMissing, match="faster-coco-eval, which is not installed"):
        TASK.for_network(ARCH).meter(3)


def test_a_network_gets_ssdlite_or_keeps_its_own():
    backbone = get_arch("v3_small", resolution=320)
    own = with_ssdlite(backbone, variant="torchvision", reduced=True)

    assert TASK.network(backbone) == with_ssdlite(backbone, classes=4)
    assert TASK.network(own) == own.with_classes(4)
    assert TASK.does == "an object detector of 3 classes"
    with pytest.raises(ArchError, match="gives logits of every pixel and no boxes; take a network"):
        TASK.network(with_lraspp(backbone))


def test_what_boxes_cannot_do_is_said():
    with pytest.raises(DataError, match=r"class weights are .* these images have boxes; leave"):
        TASK.balance(learned()[1])
    with pytest.raises(DataError, match="none of the 2 training images has a box that counts"):
        TASK.check(BoxLists.of([np.zeros((0, 6), np.float32)] * 2), taught=False)
    TASK.check(learned()[1], taught=False)


# Geometry


def moved(rows: list[list[float]], maps: list[list[float]]) -> torch.Tensor:
    target = torch.tensor([rows])
    return TASK.follow(target, Geometry(torch.tensor([maps])))[0]


HALF = [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]  # the right half of the image
MIRRORED_HALF = [[-0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
QUARTER_TURN = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]


def test_boxes_follow_a_crop_and_a_mirror():
    rows = [[0.6, 0.1, 0.7, 0.5, 2, 0], [0.4, 0.0, 0.8, 1.0, 1, 0]]

    cropped, mirrored = moved(rows, HALF), moved(rows, MIRRORED_HALF)

    torch.testing.assert_close(
        cropped, torch.tensor([[0.2, 0.1, 0.4, 0.5, 2, 0], [0.0, 0.0, 0.6, 1.0, 1, 0]])
    )
    torch.testing.assert_close(
        mirrored, torch.tensor([[0.6, 0.1, 0.8, 0.5, 2, 0], [0.4, 0.0, 1.0, 1.0, 1, 0]])
    )


def test_boxes_whose_centre_is_left_out_go_and_uncounted_ones_stay_as_far_as_they_show():
    rows = [
        [0.2, 0.1, 0.6, 0.5, 2, 0],  # centre at 0.4
        [0.2, 0.1, 0.6, 0.5, 2, 1],
        [0.1, 0.1, 0.4, 0.5, 2, 1],  # nothing of it shows
        [0.7, 0.1, 0.701, 0.5, 1, 0],  # less than a pixel
        [0.0, 0.0, 0.0, 0.0, -1, 0],
    ]

    found = moved(rows, HALF)

    assert found[:, 4].tolist() == [-1, 2, -1, -1, -1]
    torch.testing.assert_close(found[1], torch.tensor([0.0, 0.1, 0.2, 0.5, 2, 1]))


def test_a_turned_box_is_the_upright_one_around_it():
    found = moved([[0.1, 0.2, 0.3, 0.6, 0, 0]], QUARTER_TURN)

    torch.testing.assert_close(found, torch.tensor([[0.2, 0.7, 0.6, 0.9, 0, 0]]))


def test_images_without_boxes_have_none_to_move():
    target = torch.zeros(2, 0, 6)
    geometry = Geometry(torch.tensor([HALF, HALF]))

    assert TASK.follow(target, geometry).shape == (2, 0, 6)
    assert TASK.places(target).corners.shape == (2, 0, 4)


def test_places_are_the_rows_with_a_box():
    _, boxes = scenes()
    target = torch.from_numpy(boxes)

    places = TASK.places(target)

    assert places.corners.shape == (*boxes.shape[:2], 4)
    assert (places.there == (target[..., 4] >= 0)).all()


# Data whose classes are named otherwise


def test_classes_are_put_in_our_order_and_unknown_ones_are_background():
    rows = np.array([[0, 0, 1, 1, label, 0] for label in (0, 1, 2)], np.float32)
    targets = BoxLists.of([rows, rows[:1], rows[:0]])
    names = ("owl", "fish", "cat")

    ours = TASK.in_order(targets, names)

    assert ours.values[..., 4].tolist() == [[2, -1, 0], [2, -1, -1], [-1, -1, -1]]
    assert TASK.known(targets, names).tolist() == [True, True, True]
    assert TASK.known(targets, ("fish", "owl", "cat")).tolist() == [True, False, True]
