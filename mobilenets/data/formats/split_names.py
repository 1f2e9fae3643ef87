"""Which split, or what else, the name of a folder, of a shard or of a cell tells."""

from __future__ import annotations

import re
from typing import NamedTuple

_SPELLINGS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "devel": "val",
    "development": "val",
    "eval": "val",
    "evaluation": "val",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "holdout": "test",
    "heldout": "test",
}
UNLABELLED = "unlabelled"  # images for which no label is given, or for which answers are asked
_UNLABELLED = ("unlabeled", "unlabelled", "unsupervised")
_ASKED = ("pred", "predict", "prediction", "predictions", "submission")
_IMAGES = frozenset((
    "data", "dataset", "folder", "image", "images", "img", "imgs", "jpeg", "jpg", "photo", "photos",
    "picture", "pictures", "png", "set",
))  # fmt: skip
_BESIDE = frozenset((
    "annotation", "annotations", "bbox", "bboxes", "groundtruth", "label", "labels", "mask",
    "masks", "segmentation", "segmentations", "segmented", "trimap", "trimaps",
))  # fmt: skip
_COMPOUND = re.compile(r"(\w+?)(?:set|data|images|imgs|img)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class SplitName(NamedTuple):
    """`split` is train, val, test or unlabelled; `rest` are the name's other words: seg_train and
    seg_test are one set, bullet_train and test_tube are not."""

    split: str
    rest: tuple[str, ...]


def split_named(name: str) -> SplitName | None:
    """The split that one word of `name` tells: Train, seg_train, training_set, trainImages, test1.
    None where no word does, or where they tell several."""
    words = _words(name)
    told = {_KINDS[word] for word in words if word in _KINDS}
    split = UNLABELLED if UNLABELLED in told else next(iter(told), None)
    if split is None or len(told - {UNLABELLED}) > 1:
        return None
    return SplitName(split, tuple(w for w in words if w not in _KINDS and w not in _IMAGES))


def is_split(name: str) -> bool:
    """Whether `name` is a split and nothing else: Train or test1, but not seg_train."""
    told = split_named(name)
    return told is not None and not told.rest


def is_unlabelled(name: str) -> bool:
    """Whether `name` says that these images have no labels: unlabeled, train_unlabelled."""
    return any(word in _UNLABELLED for word in _words(name))


def is_of_images(name: str) -> bool:
    """Whether `name` says no more than that images are in it: images, JPEGImages, data."""
    words = _words(name)
    return bool(words) and all(word in _IMAGES for word in words)


def is_beside_images(name: str) -> bool:
    """Whether `name` is one of what is drawn or written for images: masks, ground_truth, labels."""
    words = _words(name)
    return any(word in _BESIDE for word in words) or words[:2] == ["ground", "truth"]


_KINDS = {**_SPELLINGS, **dict.fromkeys((*_UNLABELLED, *_ASKED), UNLABELLED)}


def _words(name: str) -> list[str]:
    words = re.findall(r"[^\W\d_]+", _CAMEL.sub(" ", name).lower())
    return [_without_set(word) for word in words]


def _without_set(word: str) -> str:
    """trainset and testdata are train and test."""
    match = _COMPOUND.fullmatch(word)
    return match[1] if match and match[1] in _KINDS else word
