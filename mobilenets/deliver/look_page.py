"""The page of `mobilenets look`: training images with what they are labelled with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import cycle, pairwise
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobilenets.data import Images
from mobilenets.deliver.html_page import Share, heading, page, paragraph, section, table
from mobilenets.deliver.pictures import PICTURES, Drawn, figure, gallery, url
from mobilenets.errors import DataError
from mobilenets.files import write_text
from mobilenets.tasks.targets import Indices, Marked, Shown
from mobilenets.text import counted

_SIDE = 320  # pixels of a picture's long side
_SMALL = 64  # pixels: such images are kept as they are
_COUNTED = 20_000  # images whose boxes are counted
_LISTED = 300  # classes
_COLOURS = ("orange", "sky", "green", "pink", "red", "blue")
# Of a box, the square root of its share of the image's area.
_SIDES = (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1)


class Look(NamedTuple):
    """What there is to see: the images, and which of them are shown and counted."""

    images: Images
    indices: Indices
    part: str


def write_look(look: Look, path: Path, *, count: int) -> dict[str, Any]:
    """Write the page with `count` images; what it says, as JSON."""
    images = look.images
    shown = [images.targets.shown(int(at), images.task.labels) for at in _spread(look.indices)]
    record = _record(look, shown)
    parts = [
        PICTURES,
        heading(images.name, _head(look)),
        *_notes(images.notes),
        _pictures(look, count),
        _counts(look, shown),
        *_sizes(shown),
    ]
    write_text(path, page(f"{images.name}: images and labels", parts))
    return record


def examples(look: Look, count: int) -> Indices:
    """Images drawn by the seed of their split: of each stratum in turn, the smallest too."""
    order = np.random.default_rng(look.images.seed).permutation(look.indices)
    strata = look.images.targets.strata().numbers[order]
    seen = Counter[int]()
    turns = np.zeros(len(order), np.int64)
    for at, number in enumerate(strata.tolist()):
        turns[at] = seen[number]
        seen[number] += 1
    return order[np.argsort(turns, kind="stable")][:count]


def _spread(indices: Indices) -> Indices:
    """At most so many as are counted, evenly."""
    step = max(1, -(-len(indices) // _COUNTED))
    return indices[::step]


def _head(look: Look) -> str:
    images = look.images
    parts = {name: len(getattr(images, name)) for name in ("train", "holdout", "val", "test")}
    told = ", ".join(f"{number:,} {name}" for name, number in parts.items() if number)
    return f"{images.task.name}: {counted(len(images.source), 'image')} ({told})"


def _notes(notes: Sequence[str]) -> list[str]:
    found = [paragraph(note) for note in notes]
    return [section("How it was read, and what is odd", *found)] if found else []


def _record(look: Look, shown: list[Shown]) -> dict[str, Any]:
    images = look.images
    boxes = Counter(box.label for one in shown for box in one.boxes)
    return {
        **images.to_json(),
        **({"boxes": dict(boxes)} if boxes else {}),
    }


# Pictures


def _pictures(look: Look, count: int) -> str:
    chosen = examples(look, count)
    figures = [_figure(look.images, int(at)) for at in chosen]
    told = paragraph(
        f"{counted(len(chosen), f'{look.part} image')} as they are read, drawn at random from each "
        f"{look.images.task.kind}. A dashed box is neither trained nor scored.",
        kind="note",
    )
    return section("Images with their labels", told, gallery(figures))


def _figure(images: Images, index: int) -> str:
    name, shown = images.source.name(index), images.targets.shown(index, images.task.labels)
    try:
        pixels = images.source.read(index, short_side=_SIDE, grey_range=images.grey_range)
    except DataError as error:
        return f"<figure>{paragraph(str(error), kind='note')}</figure>"
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    small = max(picture.size) <= _SMALL
    picture.thumbnail((_SIDE, _SIDE))
    boxes = _coloured(images.task.labels, shown.boxes)
    return figure(name, url(picture, lossless=small), picture.size, boxes, caption=shown.words)


def _coloured(labels: Sequence[str], boxes: Sequence[Marked]) -> list[Drawn]:
    colours = dict(zip(labels, cycle(_COLOURS), strict=False))
    return [Drawn(one.corners, colours[one.label], one.label, one.uncounted) for one in boxes]


# Figures


def _counts(look: Look, shown: list[Shown]) -> str:
    """Of each class or attribute, how many images have it, and boxes."""
    images, labels = look.images, look.images.task.labels
    shown_of = images.targets.take(look.indices).counts(labels)
    val = images.targets.take(images.val).counts(labels)
    boxes = Counter(box.label for one in shown for box in one.boxes if not box.uncounted)
    most = max([*shown_of.values(), 1])
    header = [images.task.kind, f"{look.part} images", "validation images"]
    rows = [
        [label, Share(f"{shown_of[label]:,}", shown_of[label] / most), val[label]]
        + [boxes[label]] * bool(boxes)
        for label in sorted(labels, key=lambda label: -shown_of[label])[:_LISTED]
    ]
    more = len(labels) - len(rows)
    rest = [paragraph(f"and {more:,} more", kind="note")] * (more > 0)
    title = f"Each {images.task.kind}"
    return section(title, table(header + ["boxes"] * bool(boxes), rows), *rest)


def _sizes(shown: list[Shown]) -> list[str]:
    """How large the boxes are; none where there are none."""
    sides = [_side(box) for one in shown for box in one.boxes if not box.uncounted]
    if not sides:
        return []
    found, _ = np.histogram(sides, _SIDES)
    ends = [f"{100 * low:g} to {100 * high:g} %" for low, high in pairwise(_SIDES)]
    rows = [
        [end, Share(f"{number:,}", number / max(found))]
        for end, number in zip(ends, found.tolist(), strict=True)
    ]
    told = paragraph(
        "The square root of a box's share of the image's area: of the network's input a box of "
        "10 % is 32 pixels wide at 320 pixels.",
        kind="note",
    )
    return [
        section("Sizes of the boxes", told, table(["share of the image's side", "boxes"], rows))
    ]


def _side(box: Marked) -> float:
    x1, y1, x2, y2 = box.corners
    return min(1.0, sqrt(max(0.0, (x2 - x1) * (y2 - y1))))
