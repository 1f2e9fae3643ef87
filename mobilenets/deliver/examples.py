"""What the report shows of the validation images: every prediction, and some pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchvision.transforms.v2.functional import to_pil_image

from mobilenets.data import Images, Preprocess
from mobilenets.tasks.classification import softmax

_SHOWN = 12
_SIDE = 96


def predictions(logits: NDArray[np.float32], images: Images) -> dict[str, Any]:
    """Of the logits (N, classes) of the validation images: the confusion matrix (row: true class,
    column: predicted) and example pictures, those the network is surest of and wrong, and some it
    gets right, drawn by the seed of the split. Of attributes nothing, as the verdict has it all."""
    if images.task != "classification":
        return {}
    labels = images.labels[images.val]
    chances = softmax(logits)
    found = chances.argmax(axis=1)
    count = len(images.classes)
    matrix = np.bincount(labels * count + found, minlength=count**2).reshape(count, count)
    wrong = np.flatnonzero(found != labels)
    wrong = wrong[np.argsort(-chances[wrong, found[wrong]])][:_SHOWN]
    right = np.flatnonzero(found == labels)
    right = np.random.default_rng(images.seed).permutation(right)[:_SHOWN]
    return {
        "classes": list(images.classes),
        "confusion": matrix.tolist(),
        "wrong": [_example(images, chances, int(at)) for at in wrong],
        "right": [_example(images, chances, int(at)) for at in right],
    }


def _example(images: Images, chances: NDArray[np.float32], at: int) -> dict[str, Any]:
    index = int(images.val[at])
    found = int(chances[at].argmax())
    return {
        "name": images.source.name(index),
        "label": images.classes[images.labels[index]],
        "predicted": images.classes[found],
        "probability": float(chances[at, found]),
        "png": _picture(images, index),
    }


def _picture(images: Images, index: int) -> str:
    """A square thumbnail as base64 PNG."""
    file = io.BytesIO()
    to_pil_image(Preprocess(_SIDE)(images.source.read(index))).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
