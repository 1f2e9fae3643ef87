"""Which images train, choose and report: given by the user or cut by class with a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mobilenets.errors import DataError

Indices = NDArray[np.int64]

SPLITS = ("train", "holdout", "val", "test")
SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How a split is cut where none is given: `val` off all images, `holdout` off the rest.

    Each class is cut by itself and keeps an image in every part. Of attributes, images are taken
    together whose rarest attribute is the same, and parts that score are cut off those of which
    something is known, if there are any.
    """

    seed: int = 0
    val_fraction: float = 0.2
    holdout_fraction: float = 0.1

    def __post_init__(self) -> None:
        if type(self.seed) is not int or self.seed < 0:
            raise DataError(f"seed must be a whole number of at least 0, got {self.seed!r}")
        for field in ("val_fraction", "holdout_fraction"):
            value = getattr(self, field)
            if not isinstance(value, float) or not 0 < value < 1:
                raise DataError(f"{field} must lie between 0 and 1, got {value!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Indices into the source, in rising order; `origin` says where val and test come from."""

    train: Indices
    holdout: Indices
    val: Indices
    test: Indices
    origin: dict[str, str]


def divide(
    labels: NDArray[Any],
    given: NDArray[Any],
    usable: Indices,
    rule: SplitRule,
    classes: tuple[str, ...],
) -> Split:
    """The split of the `usable` images; `given` holds "train", "val", "test" or "" for each image.

    `labels` are classes (N,) or attributes (N, A). A test part without a val part is used as val.
    Raises `DataError` where a class is too small, or an attribute is had by too few or too many.
    """
    parts = {name: _part(name, given, usable) for name in ("train", "val", "test", "")}
    rest = np.concatenate([parts["train"], parts[""]])
    val, test, origin = _given(parts["val"], parts["test"])
    rng = np.random.default_rng(rule.seed)
    check = _check_classes if labels.ndim == 1 else _check_attributes
    check(labels[rest], classes, needed=2 if len(val) else 3)
    kinds = _Kinds.of(labels)
    if not len(val):
        val, rest = _cut(rest, kinds, rule.val_fraction, keep=2, rng=rng)
    holdout, train = _cut(rest, kinds, rule.holdout_fraction, keep=1, rng=rng)
    return Split(train, holdout, val, test, origin)


class _Kinds(NamedTuple):
    """What an image is counted as when parts are cut, and whether anything is known of it: (N,)."""

    numbers: Indices
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, labels: NDArray[Any]) -> _Kinds:
        """The class; or, of attributes, the rarest that the image has."""
        if labels.ndim == 1:
            return cls(labels, np.ones(len(labels), bool))
        has = labels == 1
        by_rarity = np.argsort(has.sum(axis=0), kind="stable")
        rarest = np.where(has.any(axis=1), has[:, by_rarity].argmax(axis=1), labels.shape[1])
        return cls(rarest, ~np.isnan(labels).all(axis=1))


def _part(name: str, given: NDArray[Any], usable: Indices) -> Indices:
    part = usable[given[usable] == name]
    if not len(part) and (given == name).any():
        raise DataError(f"none of the images given as {name} can be read; replace them")
    return part


def _given(val: Indices, test: Indices) -> tuple[Indices, Indices, dict[str, str]]:
    """val, test and their origins; an empty val is still to be cut."""
    if len(val):
        return val, test, {"val": "given", "test": "given" if len(test) else "none"}
    if len(test):
        return test, val, {"val": "given as test", "test": "none"}
    return val, test, {"val": "stratified", "test": "none"}


def _check_classes(labels: Indices, classes: tuple[str, ...], *, needed: int) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    parts = "train, holdout and val" if needed == 3 else "train and holdout"
    for name, count in zip(classes, counts, strict=True):
        if count < needed:
            raise DataError(
                f"class {name!r} has {count} usable training images and needs at least {needed}, "
                f"one each for {parts}; add images or remove the class"
            )


def _check_attributes(labels: NDArray[Any], names: tuple[str, ...], *, needed: int) -> None:
    """An attribute of which nothing is known may be for a teacher to tell."""
    for name, column in zip(names, labels.T, strict=True):
        there, known = int((column == 1).sum()), int((~np.isnan(column)).sum())
        few = min(there, known - there)
        if known and few < needed:
            raise DataError(
                f"attribute {name!r} is 1 in {there} and 0 in {known - there} of the usable "
                f"training images and needs at least {needed} of each; add images or remove the "
                "column"
            )


def _cut(
    indices: Indices, kinds: _Kinds, fraction: float, *, keep: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """(part, rest): of each kind `fraction`, at least one, so that `keep` remain if there are so
    many. Of images where nothing is known only if all are such."""
    known = kinds.known[indices]
    pool = indices[known] if known.any() else indices
    by_class = pool[np.argsort(kinds.numbers[pool], kind="stable")]
    borders = np.flatnonzero(np.diff(kinds.numbers[by_class])) + 1
    taken = [_pick(members, fraction, keep, rng) for members in np.split(by_class, borders)]
    part = np.sort(np.concatenate(taken))
    return part, np.setdiff1d(indices, part)


def _pick(members: Indices, fraction: float, keep: int, rng: np.random.Generator) -> Indices:
    count = max(0, min(max(1, round(fraction * len(members))), len(members) - keep))
    return rng.permutation(members)[:count]
