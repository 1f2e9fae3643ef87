"""Published COCO mAP of SSDLite detectors, and the mAP expected where nothing is published.

A prior for choosing among candidates, labelled so, as `archs.published` is for ImageNet: of
detectors trained on COCO for long. The mAP on the user's images is another number, and is measured.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import exp, log
from typing import NamedTuple

from mobilenets.archs.arch import Arch
from mobilenets.archs.op import Size
from mobilenets.archs.published import PUBLISHED_TOP1, expected_top1, log_odds, piecewise

# {family: {width: mAP50-95 on COCO test-dev in percent, at 320 pixels}}
# arXiv:1905.02244, Table 6 (V3 with the whole tail; with half of it 22.0 and 16.1); V1 and V2 1.0
# stand in arXiv:1801.04381, Table 6, too.
PUBLISHED_MAP: dict[str, dict[float, float]] = {
    "mobilenet_v1": {1.0: 22.2},
    "mobilenet_v2": {1.0: 22.1, 0.5: 16.6, 0.35: 13.7},
    "mobilenet_v3_large": {1.0: 22.0},
    "mobilenet_v3_small": {1.0: 16.0},
}
_SIDE, _IMAGENET_SIDE = 320, 224
# The logit of mAP for one of ImageNet top-1, at 224 pixels: least squares over the three widths of
# V2 and over V3's two sizes, each group with a level of its own.
_OF_TOP1 = 1.10
# The same for what another resolution does to both. Detectors lose more: with it V2 gains from 320
# to 416 pixels what NanoDet-Plus-m (27.0 to 30.4) and PicoDet-S (27.1 to 30.7) gain by their
# repositories' tables.
_OF_RESOLUTION = 1.87


class ExpectedMap(NamedTuple):
    """Expected COCO mAP50-95 in percent; `source` is published, interpolated or extrapolated."""

    map50_95: float
    source: str


def expected_map(arch: Arch) -> ExpectedMap | None:
    """The published mAP of SSDLite on the rows of `arch` at its width and resolution, or one that
    follows from it and from the expected ImageNet accuracy; None for a family without any.

    320 pixels stand for ImageNet's 224. Between a family's published widths the distance to the
    line over top-1 is interpolated; a family without a published detector has the others' mean.
    Whether `arch` has its head already makes no difference.
    """
    usual, now = _log_odds_top1(arch, _SIDE), _log_odds_top1(arch, arch.size.side)
    if usual is None or now is None:
        return None
    published = PUBLISHED_MAP.get(arch.name, {})
    at_published = arch.size == Size(_SIDE, _SIDE) and arch.output_stride == 32
    if at_published and arch.rule == "paper" and arch.width in published:
        return ExpectedMap(published[arch.width], "published")
    level = _level(arch.name, arch.width)
    odds = level + _OF_TOP1 * usual + _OF_RESOLUTION * (now - usual)
    inside = at_published and min(published, default=9) <= arch.width <= max(published, default=0)
    return ExpectedMap(100 / (1 + exp(-odds)), "interpolated" if inside else "extrapolated")


def _log_odds_top1(arch: Arch, side: float) -> float | None:
    """Of the backbone on images of as many parts of 224 pixels as `side` is of 320."""
    pixels = round(side * _IMAGENET_SIDE / _SIDE)
    expected = expected_top1(replace(arch, size=Size(pixels, pixels)))
    return None if expected is None else log_odds(expected.top1)


@cache
def _level(family: str, width: float) -> float:
    """How far mAP lies above the line through 0."""
    if family not in PUBLISHED_MAP:
        return sum(_level(one, 1.0) for one in PUBLISHED_MAP) / len(PUBLISHED_MAP)
    points = sorted(PUBLISHED_MAP[family].items())
    top1 = PUBLISHED_TOP1[family]
    levels = [
        log_odds(found) - _OF_TOP1 * log_odds(top1[at, _IMAGENET_SIDE]) for at, found in points
    ]
    if len(points) == 1:
        return levels[0]
    within = min(max(width, points[0][0]), points[-1][0])
    return piecewise([log(at) for at, _ in points], levels, log(within))
