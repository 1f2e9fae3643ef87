"""COCO's average precision (cocodataset.org, detection evaluation), by torchmetrics and
faster-coco-eval; and the same from counted matches, for images drawn again and again.

A figure that is reported is the library's. What is drawn with replacement (bootstrap), shuffled or
cut by a threshold is computed here from one matching of all images: `Matched`. Both agree on all
images drawn once (tests/test_detection_metrics.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from mobilenets.errors import RuntimeMissing
from mobilenets.tasks.boxes import CLASS, CORNERS, UNCOUNTED
from mobilenets.tasks.task import Floats

# Detections of an image: boxes (K, 4), class numbers (K,), probabilities (K,), the surest first.
Found = tuple[Floats, NDArray[np.int64], Floats]
Doubles = NDArray[np.float64]
# Intersection over union from which a detection is right, and the recalls at which precision is
# taken: COCO's. It looks at so many detections of a class in an image.
OVERLAPS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100
# Areas that COCO calls small and large are of pixels; images count as if their sides were these.
_SIDE = 640
# Of so many shuffles chance puts the answers as they are first once in twenty times.
_SHUFFLES, _SHUFFLED = 19, 200


def coco_figures(found: Sequence[Found], boxes: Floats) -> dict[str, Any]:
    """Mean average precisions of detections on boxes (N, M, 6), 0 to 1, NaN where there is no such
    box: "map" (IoU 0.50 to 0.95), "map_50", "map_75", "map_small" (below 32 x 32 pixels),
    "map_medium", "map_large" (from 96 x 96), as if every image had 640 x 640 pixels; and "classes",
    of each class number that has a box (map, map_50).

    Raises `RuntimeMissing` where faster-coco-eval is not installed.
    """
    metric = coco_metric(extended_summary=True)
    metric.update(*as_coco(found, boxes))
    told = metric.compute()
    keys = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
    figures = {key: _known(float(told[key])) for key in keys}
    precision = told["precision"][..., 0, -1].numpy()  # (10 overlaps, 101 recalls, classes)
    of_classes = {
        int(number): (float(one.mean()), float(one[0].mean()))
        for number, one in zip(
            told["classes"].reshape(-1), np.moveaxis(precision, 2, 0), strict=True
        )
        if (one >= 0).all()
    }
    return {**figures, "classes": of_classes}


def coco_metric(**options: Any) -> MeanAveragePrecision:
    """torchmetrics' metric; raises `RuntimeMissing` where faster-coco-eval is not installed."""
    if find_spec("faster_coco_eval") is None:
        raise RuntimeMissing(
            "mAP is computed by faster-coco-eval, which is not installed; "
            "pip install 'mobilenets[detection]'"
        )
    metric = MeanAveragePrecision(
        iou_thresholds=OVERLAPS.tolist(),  # its own are COCO's rounded to float32, which moves
        rec_thresholds=_RECALLS.tolist(),  # recalls such as 3 of 10 below the threshold of 0.3
        backend="faster_coco_eval",
        **options,
    )
    metric.warn_on_many_detections = False  # it takes the surest, as COCO does
    return metric


def as_coco(
    found: Sequence[Found], boxes: Floats
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Detections and boxes (N, M, 6) as torchmetrics takes them, in pixels."""
    said = [
        {
            "boxes": torch.from_numpy(corners) * _SIDE,
            "labels": torch.from_numpy(labels),
            "scores": torch.from_numpy(chances),
        }
        for corners, labels, chances in found
    ]
    rows = (torch.from_numpy(one[one[:, CLASS] >= 0]) for one in boxes)
    wanted = [
        {
            "boxes": one[:, CORNERS] * _SIDE,
            "labels": one[:, CLASS].long(),
            "iscrowd": one[:, UNCOUNTED].long(),
        }
        for one in rows
    ]
    return said, wanted


def _known(value: float) -> float:
    """COCO says -1 where there is no box."""
    return value if value >= 0 else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The detections of N images, the surest first, and whether each is right: `images`, `labels`
    and `chances` (K,); `hits` and `ignored` (10, K), at each of `OVERLAPS`. An ignored one is on an
    uncounted box, and counts as nothing. `boxes` (N, classes) are the numbers to be found."""

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    chances: Floats
    hits: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    boxes: NDArray[np.int64]


def matched(found: Sequence[Found], boxes: Floats, classes: int) -> Matched:
    """As COCO does: the surest first, each to the box of its class that it overlaps most and that
    no surer one has."""
    parts = [_matched_image(one, rows) for one, rows in zip(found, boxes, strict=True)]
    kept = [_among_the_surest(labels) for _, labels, _ in found]
    images = np.repeat(np.arange(len(found)), [len(one) for one in kept])
    chances = np.concatenate([one[2][rows] for one, rows in zip(found, kept, strict=True)])
    labels = np.concatenate([one[1][rows] for one, rows in zip(found, kept, strict=True)])
    hits, ignored = (
        np.concatenate([one[at][:, rows] for one, rows in zip(parts, kept, strict=True)], axis=1)
        for at in (0, 1)
    )
    order = np.argsort(-chances, kind="stable")
    counted = (boxes[..., CLASS] >= 0) & (boxes[..., UNCOUNTED] == 0)
    numbers = np.zeros((len(boxes), classes), np.int64)
    of_image, row = np.nonzero(counted)
    np.add.at(numbers, (of_image, boxes[of_image, row, CLASS].astype(np.int64)), 1)
    return Matched(
        images[order], labels[order], chances[order], hits[:, order], ignored[:, order], numbers
    )


def _among_the_surest(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of the `_MOST` first of each class."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    within = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return np.sort(order[within < _MOST])


def _matched_image(found: Found, rows: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of the detections of one image (10, K): which are right, and which are ignored."""
    corners, labels, _ = found
    rows = rows[rows[:, CLASS] >= 0]
    uncounted = rows[:, UNCOUNTED] > 0
    overlaps = _overlaps(corners, rows)
    overlaps[labels[:, None] != rows[:, CLASS]] = 0
    hits, ignored = np.zeros((2, len(OVERLAPS), len(corners)), bool)
    free = np.ones((len(OVERLAPS), len(rows)), bool)
    at_all = np.flatnonzero((overlaps >= OVERLAPS[0]).any(axis=1))
    for at in at_all:
        fits = free & (overlaps[at] >= OVERLAPS[:, None])
        counted = fits & ~uncounted
        hits[:, at] = counted.any(axis=1)
        ignored[:, at] = ~hits[:, at] & fits.any(axis=1)
        best = np.where(counted, overlaps[at], -1).argmax(axis=1)
        free[hits[:, at], best[hits[:, at]]] = False
    return hits, ignored


def _overlaps(corners: Floats, rows: Floats) -> Doubles:
    """Intersection over union (K, M), or over the detection's area where a box is uncounted."""
    ours, theirs = corners.astype(np.float64)[:, None], rows[:, CORNERS].astype(np.float64)
    sides = np.minimum(ours[..., 2:], theirs[:, 2:]) - np.maximum(ours[..., :2], theirs[:, :2])
    shared = sides.clip(0).prod(axis=2)
    own = (ours[..., 2:] - ours[..., :2]).prod(axis=2)
    union = own + (theirs[:, 2:] - theirs[:, :2]).prod(axis=1) - shared
    return shared / np.maximum(np.where(rows[:, UNCOUNTED] > 0, own, union), 1e-12)


def average_precisions(of: Matched, times: Doubles) -> Doubles:
    """Average precisions (B, classes), 0 to 1, the mean over `OVERLAPS`, where each image counts as
    often as a row of `times` (B, N) says; NaN where a class has no box then."""
    found = np.empty((len(times), of.boxes.shape[1]))
    for label in range(found.shape[1]):
        wanted = times @ of.boxes[:, label]
        mine = np.flatnonzero(of.labels == label)
        every = [_average_precision(of, mine, at, times, wanted) for at in range(len(OVERLAPS))]
        found[:, label] = np.where(wanted > 0, np.mean(every, axis=0), np.nan)
    return found


def _average_precision(
    of: Matched, mine: NDArray[np.int64], at: int, times: Doubles, wanted: Doubles
) -> Doubles:
    """Of one class, whose detections are `mine`, at one overlap: (B,).

    Precision is highest where something is found, so only there it is computed, of the faults
    (right detections, images) that lie between one right detection and the next.
    """
    right = np.flatnonzero(of.hits[at, mine])
    if not len(right):
        return np.zeros(len(times))
    faults = mine[: right[-1]][~(of.hits[at] | of.ignored[at])[mine[: right[-1]]]]
    before = np.searchsorted(mine[right], faults)  # mine rises: the surest are first
    between = csr_array(
        (np.ones(len(faults)), (before, of.images[faults])), shape=(len(right), times.shape[1])
    )
    hits = times[:, of.images[mine[right]]].cumsum(axis=1)
    all_found = hits + (between @ times.T).T.cumsum(axis=1)
    precision = hits / np.maximum(all_found, 1e-12)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / np.maximum(wanted, 1)[:, None]
    reached = np.searchsorted(_RECALLS, recall, side="right")
    return (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(_RECALLS)


def mean_precisions(of: Matched, times: Doubles) -> Doubles:
    """Mean average precisions (B,) in percent over the classes that have a box; NaN for none."""
    found = average_precisions(of, times)
    some = ~np.isnan(found).all(axis=1)
    means = np.full(len(found), np.nan)
    means[some] = 100 * np.nanmean(found[some], axis=1)
    return means


def mean_precision(of: Matched) -> float:
    """On all images once, in percent; 0 where there is no box."""
    return float(np.nan_to_num(mean_precisions(of, np.ones((1, len(of.boxes))))[0]))


def resampled(of: Matched, *, seed: int = 0) -> Doubles:
    """Mean average precisions in percent (B,), each on N images drawn from these with replacement
    (bootstrap), without those draws that have no box. The same seed draws the same."""
    count = len(of.boxes)
    draws = 1000 if count <= 500 else 200
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    return mean_precisions(of, times.astype(np.float64))


def shuffled(found: Sequence[Found], boxes: Floats, classes: int, *, seed: int = 0) -> Doubles:
    """Mean average precisions in percent (20,) on a part of the images, at most 200: the first of
    the detections where they belong, the others of each image's detections given to another one,
    drawn anew each time. As good as they are answers that know places and numbers, and do not look
    at the image."""
    rng = np.random.default_rng(seed)
    part = rng.permutation(len(found))[:_SHUFFLED]
    orders = [np.arange(len(part)), *(_elsewhere(len(part), rng) for _ in range(_SHUFFLES))]
    mixed = ([found[part[at]] for at in order] for order in orders)
    return np.array([mean_precision(matched(one, boxes[part], classes)) for one in mixed])


def _elsewhere(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers below `count`, two at least, in an order in which none is in its place."""
    circle = rng.permutation(count)
    order = np.empty(count, np.int64)
    order[circle] = np.roll(circle, 1)
    return order


def precision_and_recall(of: Matched, threshold: float) -> tuple[float | None, float | None]:
    """In percent, of all classes together at an overlap of 0.5, of the detections above that
    probability; None where there are none, or no boxes."""
    sure = (of.chances > threshold) & ~of.ignored[0]
    right, all_found, wanted = int((sure & of.hits[0]).sum()), int(sure.sum()), int(of.boxes.sum())
    return (
        100 * right / all_found if all_found else None,
        100 * right / wanted if wanted else None,
    )


def best_threshold(of: Matched) -> float | None:
    """The probability with the best F1, of all classes together at an overlap of 0.5: halfway
    between the last detection that is taken and the next. None where nothing is right."""
    counted = ~of.ignored[0]
    chances, hits = of.chances[counted], of.hits[0, counted].cumsum()
    if not len(hits) or not hits[-1]:
        return None
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + of.boxes.sum())
    last = np.append(chances[1:] < chances[:-1], True)  # equal ones are taken together
    best = int(np.where(last, f1, -1).argmax())
    below = chances[best + 1] if best + 1 < len(chances) else 0.0
    return float(chances[best] + below) / 2
