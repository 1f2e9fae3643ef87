"""From a detector's boxes and scores to its detections, with numpy alone.

Every program that reads an artifact does this, this package's and those that a model card shows,
which hold this source: so it imports nothing else, and is short.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def detections(
    boxes: Floats,
    scores: Floats,
    *,
    threshold: float = 0.001,
    overlap: float = 0.55,
    most_of_class: int = 300,
    most: int = 300,
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Boxes (K, 4), class numbers (K,) and probabilities (K,) of one image, the surest first.

    Of `boxes` (A, 4), x1, y1, x2, y2, and `scores` (A, 1 + classes), of which column 0 is the
    background, those above `threshold` are taken, of each class the `most_of_class` surest; one
    that overlaps a surer one of its class by more than `overlap` (intersection over union) is left
    out, and what is beyond the `most` surest of all classes. Class numbers begin with 0 for
    column 1.
    """
    rows, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for label in np.flatnonzero((scores[:, 1:] > threshold).any(axis=0)):
        chances = scores[:, label + 1]
        likely = np.flatnonzero(chances > threshold)
        likely = likely[np.argsort(-chances[likely], kind="stable")][:most_of_class]
        kept = likely[not_suppressed(boxes[likely], overlap)]
        rows.append(kept)
        labels.append(np.full(len(kept), label))
    row, number = np.concatenate(rows), np.concatenate(labels)
    chance = scores[row, number + 1]
    order = np.argsort(-chance, kind="stable")[:most]
    return boxes[row[order]], number[order], chance[order]


def not_suppressed(boxes: Floats, overlap: float) -> NDArray[np.bool_]:
    """Which of boxes (K, 4), the surest first, are left by non-maximum suppression."""
    covers = np.triu(overlaps(boxes, boxes) > overlap, 1)  # a surer one, by row, another
    kept = np.ones(len(boxes), bool)
    while True:  # until none is left that only a suppressed one suppresses
        now: NDArray[np.bool_] = np.logical_not(covers[kept].any(axis=0))
        if (now == kept).all():
            return kept
        kept = now


def overlaps(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union (K, L) of boxes (K, 4) and others (L, 4)."""
    (x1, y1, x2, y2), (left, top, right, bottom) = boxes.T[:, :, None], others.T
    width = np.minimum(x2, right) - np.maximum(x1, left)
    height = np.minimum(y2, bottom) - np.maximum(y1, top)
    shared = width.clip(0) * height.clip(0)
    areas = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top)
    return shared / np.maximum(areas - shared, 1e-12)
