"""What is odd about images that are there more than once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenets.data.content import Digests
from mobilenets.data.formats.listing import Listing
from mobilenets.tasks.targets import Indices
from mobilenets.text import counted


def copies_said(
    listing: Listing, usable: Indices, digests: Digests, left_out: Indices
) -> tuple[str, ...]:
    """Sentences, each with the first pair: on training images `left_out` of training, on other
    copies, and on copies with two labels."""
    order = usable[np.argsort(digests[usable], kind="stable")]
    again = np.flatnonzero(digests[order[1:]] == digests[order[:-1]])
    if not len(again):
        return ()
    pairs = np.stack([order[again], order[again + 1]], axis=1)  # in a row: a and b, b and c
    pairs = pairs[np.argsort(pairs[:, 0])]
    other = pairs[_differ(*listing.targets.values[pairs.T])]
    said = []
    if len(left_out):
        first = pairs[(digests[pairs] == digests[left_out[0]]).any(axis=1)][0]
        said.append(
            f"{counted(len(left_out), 'training image')} {_are(left_out)} left out, being in val "
            f"or test too: {_named(listing, first)}"
        )
    if len(pairs) > len(left_out):
        said.append(
            f"{len(pairs):,} of {counted(len(usable), 'image')} {_are(pairs)} there more than "
            f"once, such as {_named(listing, pairs[0])}; copies come into the same part of the "
            "split"
        )
    if len(other):
        said.append(
            f"{counted(len(other), 'image')} {_are(other)} there with two labels, the first "
            f"{_named(listing, other[0])}; mend the label of one"
        )
    return tuple(said)


def _are(some: Indices) -> str:
    return "is" if len(some) == 1 else "are"


def _differ(ones: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Of each pair; what is unknown is like itself."""
    alike = (ones == others) | (np.isnan(ones) & np.isnan(others))
    return ~alike.reshape(len(ones), -1).all(axis=1)


def _named(listing: Listing, pair: Indices) -> str:
    return " and ".join(listing.source.name(int(one)) for one in pair)
