"""Pictures in a page, with boxes drawn over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from PIL import Image

from mobilenets.tasks.task import Box

# What a page with such pictures has once.
PICTURES = """<style>
.looked { display: grid; gap: 18px 14px; margin: 12px 0;
  grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
.looked figure { margin: 0; font-size: .95rem; line-height: 1.3; }
.looked svg { display: block; width: 100%; max-height: 320px; border-radius: 8px;
  background: var(--panel); margin-bottom: 4px; }
.looked image { image-rendering: auto; } .looked .small { image-rendering: pixelated; }
.looked rect.box { fill: none; stroke: currentColor; stroke-width: 2.5;
  vector-effect: non-scaling-stroke; }
.looked rect.dashed { stroke-dasharray: 6 4; }
.looked text { fill: #fff; stroke: #000; stroke-width: .2em; paint-order: stroke;
  font-weight: 600; }
</style>"""
_FAR_RIGHT = 0.6  # of the width: from there on words end where their box does
_LINES = 18  # a picture's long side is so many lines of text high


class Drawn(NamedTuple):
    """A box to draw: x1, y1, x2, y2 in parts of the picture's sides, a colour of the palette, and
    what is written into its corner."""

    corners: Box
    colour: str
    words: str = ""
    dashed: bool = False


def gallery(figures: Iterable[str]) -> str:
    """Figures beside each other."""
    return f'<div class="looked">{"".join(figures)}</div>'


def figure(
    name: str, source: str, size: tuple[int, int], boxes: Sequence[Drawn], *, caption: str
) -> str:
    """A picture of (width, height) with its boxes; `source` is what `url` gives."""
    width, height = size
    small = source.startswith("data:image/png")
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">'
        f"<title>{escape(name)}</title>"
        f'<image{" class=small" * small} width="{width}" height="{height}" '
        f'href="{escape(source)}"/>{"".join(_drawn(size, boxes))}</svg>'
        f'<figcaption>{escape(caption)}<br><span class="soft">{escape(name)}</span>'
        "</figcaption></figure>"
    )


def url(picture: Image.Image, *, lossless: bool = False) -> str:
    """The picture itself as a link: PNG, or else JPEG."""
    file = io.BytesIO()
    kind = "png" if lossless else "jpeg"
    picture.save(file, kind.upper(), quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _drawn(size: tuple[int, int], boxes: Sequence[Drawn]) -> Iterator[str]:
    """Rectangles, then their words over them."""
    font = max(size) / _LINES
    for box in boxes:
        x1, y1, x2, y2 = _in_pixels(box.corners, size)
        kind = " dashed" if box.dashed else ""
        yield (
            f'<rect class="box c-{box.colour}{kind}" x="{x1:.1f}" y="{y1:.1f}" '
            f'width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>'
        )
    for box in boxes:
        x1, y1, x2, _ = _in_pixels(box.corners, size)
        place = f'x="{x1 + font / 4:.1f}"'
        if x1 > _FAR_RIGHT * size[0]:
            place = f'x="{x2 - font / 4:.1f}" text-anchor="end"'
        yield f'<text font-size="{font:.1f}" {place} y="{y1 + font:.1f}">{escape(box.words)}</text>'


def _in_pixels(corners: Box, size: tuple[int, int]) -> Box:
    (x1, y1, x2, y2), (width, height) = corners, size
    return x1 * width, y1 * height, x2 * width, y2 * height
