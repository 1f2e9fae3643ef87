"""The page of `mobilenets look`: training images with what they are labelled with."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import cycle, pairwise
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobilenets.data import Images
from mobilenets.deliver.html_page import Share, heading, page, paragraph, section, table
from mobilenets.errors import DataError
from mobilenets.files import write_text
from mobilenets.tasks.targets import Indices, Marked, Shown
from mobilenets.text import counted

_SIDE = 320  # pixels of a picture's long side
_SMALL = 64  # pixels: such images are kept as they are
_COUNTED = 20_000  # images whose boxes are counted
_FAR_RIGHT = 0.6  # of the width: from there on a label ends where its box does
_LISTED = 300  # classes
_COLOURS = ("orange", "sky", "green", "pink", "red", "blue")
# Of a box, the square root of its share of the image's area.
_SIDES = (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1)
_CSS = """<style>
.looked { display: grid; gap: 18px 14px; margin: 12px 0;
  grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
.looked figure { margin: 0; font-size: .95rem; line-height: 1.3; }
.looked svg { display: block; width: 100%; max-height: 320px; border-radius: 8px;
  background: var(--panel); margin-bottom: 4px; }
.looked image { image-rendering: auto; } .looked .small { image-rendering: pixelated; }
.looked rect.box { fill: none; stroke: currentColor; stroke-width: 2.5;
  vector-effect: non-scaling-stroke; }
.looked rect.uncounted { stroke-dasharray: 6 4; }
.looked text { fill: #fff; stroke: #000; stroke-width: .2em; paint-order: stroke;
  font-weight: 600; }
</style>"""


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
        _CSS,
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
    figures = "".join(_figure(look.images, int(at)) for at in chosen)
    told = paragraph(
        f"{counted(len(chosen), f'{look.part} image')} as they are read, drawn at random from each "
        f"{look.images.task.kind}. A dashed box is neither trained nor scored.",
        kind="note",
    )
    return section("Images with their labels", told, f'<div class="looked">{figures}</div>')


def _figure(images: Images, index: int) -> str:
    name, shown = images.source.name(index), images.targets.shown(index, images.task.labels)
    try:
        pixels = images.source.read(index, short_side=_SIDE, grey_range=images.grey_range)
    except DataError as error:
        return f"<figure>{paragraph(str(error), kind='note')}</figure>"
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    small = max(picture.size) <= _SMALL
    picture.thumbnail((_SIDE, _SIDE))
    drawn = "".join(_drawn(images.task.labels, picture.size, shown.boxes))
    width, height = picture.size
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">'
        f"<title>{escape(name)}</title>"
        f'<image{" class=small" * small} width="{width}" height="{height}" '
        f'href="{_url(picture, small)}"/>{drawn}</svg>'
        f'<figcaption>{escape(shown.words)}<br><span class="soft">{escape(name)}</span>'
        "</figcaption></figure>"
    )


def _url(picture: Image.Image, small: bool) -> str:
    file = io.BytesIO()
    kind = "png" if small else "jpeg"
    picture.save(file, kind.upper(), quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _drawn(labels: Sequence[str], size: tuple[int, int], boxes: Sequence[Marked]) -> Iterator[str]:
    """Rectangles, then their labels over them."""
    colours = dict(zip(labels, cycle(_COLOURS), strict=False))
    font = max(size) / 18
    for box in boxes:
        x1, y1, x2, y2 = _in_pixels(box, size)
        kind = " uncounted" if box.uncounted else ""
        yield (
            f'<rect class="box c-{colours[box.label]}{kind}" x="{x1:.1f}" y="{y1:.1f}" '
            f'width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>'
        )
    for box in boxes:
        x1, y1, x2, _ = _in_pixels(box, size)
        place = f'x="{x1 + font / 4:.1f}"'
        if x1 > _FAR_RIGHT * size[0]:
            place = f'x="{x2 - font / 4:.1f}" text-anchor="end"'
        yield f'<text font-size="{font:.1f}" {place} y="{y1 + font:.1f}">{escape(box.label)}</text>'


def _in_pixels(box: Marked, size: tuple[int, int]) -> tuple[float, float, float, float]:
    (x1, y1, x2, y2), (width, height) = box.corners, size
    return x1 * width, y1 * height, x2 * width, y2 * height


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
