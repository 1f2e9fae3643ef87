"""Which images train, choose and report: given by the user or cut fairly with a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenets.errors import DataError
from mobilenets.tasks import Strata, Targets
from mobilenets.tasks.targets import Indices

SPLITS = ("train", "holdout", "val", "test")


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How a split is cut where none is given: `val` off all images, `holdout` off the rest.

    Each stratum of the targets is cut by itself: a class, which keeps an image in every part; of
    attributes, the images whose rarest attribute is the same. Parts that score are cut off those of
    which something is known, if there are any. Copies of an image come into the same part.
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
    """Indices into the source, in rising order; `origin` says where val and test come from.
    `copies` were given as training images, and are in val or test, too: they are left out."""

    train: Indices
    holdout: Indices
    val: Indices
    test: Indices
    origin: dict[str, str]
    copies: Indices


def divide(
    targets: Targets,
    given: NDArray[Any],
    usable: Indices,
    rule: SplitRule,
    names: tuple[str, ...],
    digests: NDArray[np.uint64],
) -> Split:
    """The split of the `usable` images; `given` holds "train", "val", "test" or "" for each image,
    and `digests` are alike where images are copies.

    `names` are the targets' classes or attributes. A test part without a val part is used as val.
    Raises `DataError` where a class is too small, or an attribute is had by too few or too many.
    """
    parts = {name: _part(name, given, usable) for name in ("train", "val", "test", "")}
    rest = np.concatenate([parts["train"], parts[""]])
    val, test, origin = _given(parts["val"], parts["test"])
    rng, strata = np.random.default_rng(rule.seed), targets.strata()
    scored = np.isin(digests[rest], digests[np.concatenate([val, test])])
    given_rest, copies, rest = rest, rest[scored], rest[~scored]
    different = _different(rest, digests, strata)
    _check_enough(targets, given_rest, different, names, needed=2 if len(val) else 3)
    if not len(val):
        cut, different = _cut(different, strata, rule.val_fraction, keep=2, rng=rng)
        val, rest = _with_copies(rest, cut, digests)
    cut, _ = _cut(different, strata, rule.holdout_fraction, keep=1, rng=rng)
    holdout, train = _with_copies(rest, cut, digests)
    return Split(train, holdout, val, test, origin, np.sort(copies))


def _different(indices: Indices, digests: NDArray[np.uint64], strata: Strata) -> Indices:
    """One of the copies of each of these images, of which something is known where there is one."""
    order = indices[np.lexsort((indices, ~strata.known[indices]))]
    _, first = np.unique(digests[order], return_index=True)
    return np.sort(order[first])


def _with_copies(
    indices: Indices, part: Indices, digests: NDArray[np.uint64]
) -> tuple[Indices, Indices]:
    """Those of `indices` that are images of `part` or copies of them; and the rest."""
    taken = np.isin(digests[indices], digests[part])
    return np.sort(indices[taken]), np.sort(indices[~taken])


def _check_enough(
    targets: Targets, rest: Indices, different: Indices, names: tuple[str, ...], *, needed: int
) -> None:
    targets.take(rest).check_enough(names, needed=needed)
    try:
        targets.take(different).check_enough(names, needed=needed)
    except DataError as error:
        raise DataError(
            f"{error}; copies of an image count once, and not where they are in val or test"
        ) from error


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


def _cut(
    indices: Indices, strata: Strata, fraction: float, *, keep: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """(part, rest): of each stratum `fraction`, at least one, so that `keep` remain if there are so
    many. Of images where nothing is known only if all are such."""
    known = strata.known[indices]
    pool = indices[known] if known.any() else indices
    in_order = pool[np.argsort(strata.numbers[pool], kind="stable")]
    borders = np.flatnonzero(np.diff(strata.numbers[in_order])) + 1
    taken = [_pick(members, fraction, keep, rng) for members in np.split(in_order, borders)]
    part = np.sort(np.concatenate(taken))
    return part, np.setdiff1d(indices, part)


def _pick(members: Indices, fraction: float, keep: int, rng: np.random.Generator) -> Indices:
    count = max(0, min(max(1, round(fraction * len(members))), len(members) - keep))
    return rng.permutation(members)[:count]
