"""Published ImageNet top-1 accuracy, and the accuracy expected where nothing is published.

The expectation ranks candidates before anything is trained. It is a prior, labelled so: the
accuracy on the user's images is another number, and is measured.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log
from typing import NamedTuple

from mobilenets.archs.rows import Arch

# {family: {(width, resolution): top-1 %}}
# V1: tensorflow/models research/slim/nets/mobilenet_v1.md.  V2: the same, mobilenet/README.md.
# V3: arXiv:1905.02244, appendix A, Table 9.
# fmt: off
PUBLISHED_TOP1: dict[str, dict[tuple[float, int], float]] = {
    "mobilenet_v1": {
        (1.0, 224): 70.9, (1.0, 192): 70.0, (1.0, 160): 68.0, (1.0, 128): 65.2,
        (0.75, 224): 68.4, (0.75, 192): 67.2, (0.75, 160): 65.3, (0.75, 128): 62.1,
        (0.5, 224): 63.3, (0.5, 192): 61.7, (0.5, 160): 59.1, (0.5, 128): 56.3,
        (0.25, 224): 49.8, (0.25, 192): 47.7, (0.25, 160): 45.5, (0.25, 128): 41.5,
    },
    "mobilenet_v2": {
        (1.4, 224): 75.0, (1.3, 224): 74.4,
        (1.0, 224): 71.8, (1.0, 192): 70.7, (1.0, 160): 68.8, (1.0, 128): 65.3, (1.0, 96): 60.3,
        (0.75, 224): 69.8, (0.75, 192): 68.7, (0.75, 160): 66.4, (0.75, 128): 63.2,
        (0.75, 96): 58.8,
        (0.5, 224): 65.4, (0.5, 192): 63.9, (0.5, 160): 61.0, (0.5, 128): 57.7, (0.5, 96): 51.2,
        (0.35, 224): 60.3, (0.35, 192): 58.2, (0.35, 160): 55.7, (0.35, 128): 50.8,
        (0.35, 96): 45.5,
    },
    "mobilenet_v3_large": {
        (1.25, 224): 76.6, (1.0, 224): 75.2, (0.75, 224): 73.3, (0.5, 224): 68.8, (0.35, 224): 64.2,
        (1.0, 256): 76.0, (1.0, 192): 73.7, (1.0, 160): 71.7, (1.0, 128): 68.4, (1.0, 96): 63.3,
    },
    "mobilenet_v3_small": {
        (1.25, 224): 70.4, (1.0, 224): 67.5, (0.75, 224): 65.4, (0.5, 224): 58.0, (0.35, 224): 49.8,
        (1.0, 256): 68.5, (1.0, 160): 62.8, (1.0, 128): 57.3, (1.0, 96): 51.7,
    },
}
# fmt: on


class Expected(NamedTuple):
    """Expected ImageNet top-1 in percent; `source` is published, interpolated or extrapolated."""

    top1: float
    source: str


def expected_top1(arch: Arch) -> Expected | None:
    """The published accuracy of `arch`'s family, width and resolution, or one derived from it; None
    for a family with no published grid.

    The logit of the accuracy is taken as one curve in log width (at 224 pixels) plus one in log
    resolution (at width 1.0), each piecewise linear through the published points and straight
    beyond them. A network whose first strides are 1 computes the feature maps of a larger image:
    it counts as that resolution.
    """
    grid = PUBLISHED_TOP1.get(arch.name)
    if grid is None:
        return None
    resolution = arch.resolution * 32 / arch.output_stride
    if (arch.width, resolution) in grid:
        return Expected(grid[arch.width, int(resolution)], "published")
    by_width = {log(w): _logit(top1) for (w, r), top1 in grid.items() if r == 224}
    by_resolution = {log(r): _logit(top1) for (w, r), top1 in grid.items() if w == 1.0}
    logit = (
        _piecewise(by_width, log(arch.width))
        + _piecewise(by_resolution, log(resolution))
        - _logit(grid[1.0, 224])
    )
    inside = min(by_width) <= log(arch.width) <= max(by_width) and min(by_resolution) <= log(
        resolution
    ) <= max(by_resolution)
    return Expected(100 / (1 + exp(-logit)), "interpolated" if inside else "extrapolated")


def _logit(percent: float) -> float:
    return log(percent / (100 - percent))


def _piecewise(points: dict[float, float], x: float) -> float:
    """Linear between the points, the end segments continued."""
    xs = sorted(points)
    right = min(max(bisect_right(xs, x), 1), len(xs) - 1)
    x0, x1 = xs[right - 1], xs[right]
    return points[x0] + (points[x1] - points[x0]) * (x - x0) / (x1 - x0)
