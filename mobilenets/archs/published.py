"""Published ImageNet top-1 accuracy, and the accuracy expected where nothing is published.

The expectation ranks candidates before anything is trained. It is a prior, labelled so: the
accuracy on the user's images is another number, and is measured.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from math import exp, log
from typing import NamedTuple

from mobilenets.archs.arch import Arch

# {family: {(width, resolution): top-1 %}}
# V1: tensorflow/models research/slim/nets/mobilenet_v1.md.  V2: the same, mobilenet/README.md.
# V3: arXiv:1905.02244, appendix A, Table 9.
# V4: timm's weights at the size they were trained at (huggingface/pytorch-image-models, results-
# imagenet.csv), which come within 0.1 of arXiv:2404.10518, Table 6: 73.8, 79.9, 82.9. Both trained
# for longer than V1 to V3 were: by V4's recipes V1 comes to 74.0, V2 to 73.4, V3-Large to 75.5.
# EfficientNet-Lite: tensorflow/tpu, models/official/efficientnet/lite/README.md; for longer, too.
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
    "mobilenet_v4_conv_small": {(0.5, 224): 64.8, (1.0, 224): 73.8, (1.0, 256): 74.5},
    "mobilenet_v4_conv_medium": {(1.0, 224): 79.1, (1.0, 256): 79.9},
    "mobilenet_v4_conv_large": {(1.0, 256): 81.9, (1.0, 384): 83.0},
    "efficientnet_lite0": {(1.0, 224): 75.1},
    "efficientnet_lite1": {(1.0, 240): 76.7},
    "efficientnet_lite2": {(1.0, 260): 77.6},
    "efficientnet_lite3": {(1.0, 280): 79.8},
    "efficientnet_lite4": {(1.0, 300): 81.5},
}
# fmt: on
FAMILIES = tuple(PUBLISHED_TOP1)


def kin(name: str) -> str:
    """What a network's latency is like: itself, or for the EfficientNet-Lites all of them."""
    return name[:-1] if name.startswith("efficientnet_lite") else name


def family_name(name: str) -> str:
    """A family as people write it: MobileNetV3-Small, EfficientNet-Lite0."""
    first, *words = name.split("_")
    rest = "-".join(word.title() for word in words)
    return f"MobileNet{rest}" if first == "mobilenet" else f"EfficientNet-{rest}"


# Hundredths of the width, over the range each paper publishes. V1's channels are not rounded to a
# multiple of 8, and run up to five times slower where they are none: only the widths that are.
WIDTHS = {
    "mobilenet_v1": range(25, 101, 25),
    "mobilenet_v2": range(35, 141, 5),
    "mobilenet_v3_large": range(35, 126, 5),
    "mobilenet_v3_small": range(35, 126, 5),
    "mobilenet_v4_conv_small": range(35, 101, 5),
    "mobilenet_v4_conv_medium": range(100, 101),
    "mobilenet_v4_conv_large": range(100, 101),
    "efficientnet_lite0": range(35, 101, 5),
    "efficientnet_lite1": range(100, 101),
    "efficientnet_lite2": range(100, 101),
    "efficientnet_lite3": range(100, 101),
    "efficientnet_lite4": range(100, 101),
}
# ImageNet top-1 that 8-bit integers cost without training: V2's, V3-Large's and V3-Small's by NNCF
# and PyTorch's PT2E (71.87 to 71.38, 74.05 to 73.5, 67.66 to 66.8), V1's by training in integers
# (70.9 to 70.0). Of V4 there is one word: "~10% drop", of the small one in onnxruntime's own scheme
# (the card of STMicroelectronics/mobilenetv4_pt). EfficientNet-Lite's are its README's, of post-
# training quantization. A prior as the accuracies are: what it costs is measured on the images.
INT8_LOSS = {
    "mobilenet_v1": 0.9,
    "mobilenet_v2": 0.49,
    "mobilenet_v3_large": 0.55,
    "mobilenet_v3_small": 0.86,
    "mobilenet_v4_conv_small": 10.0,
    "mobilenet_v4_conv_medium": 10.0,
    "mobilenet_v4_conv_large": 10.0,
    "efficientnet_lite0": 0.7,
    "efficientnet_lite1": 0.8,
    "efficientnet_lite2": 0.6,
    "efficientnet_lite3": 0.8,
    "efficientnet_lite4": 1.3,
}


# Half the second derivative of the logit over log resolution in V2's row of width 1.0: its slope
# grows from 0.35 (224 to 192 pixels) to 0.74 (128 to 96).
_CURVATURE = 0.31


# The family whose curves go on where another's own end.
_LIKE = {
    "mobilenet_v4_conv_small": "mobilenet_v3_large",
    "mobilenet_v4_conv_medium": "mobilenet_v3_large",
    "mobilenet_v4_conv_large": "mobilenet_v3_large",
    **{f"efficientnet_lite{number}": "mobilenet_v2" for number in range(5)},
}
_Grid = dict[tuple[float, int], float]


class Expected(NamedTuple):
    """Expected ImageNet top-1 in percent; `source` is published, interpolated or extrapolated."""

    top1: float
    source: str


def expected_top1(arch: Arch) -> Expected | None:
    """The published accuracy of `arch`'s family, width and resolution, or one derived from it; None
    for a family with no published grid.

    Between published points, and beyond them, the logit of the accuracy is bilinear in log width
    and log resolution. A cell of the grid that nobody published is filled by adding the two curves
    that everybody did: over width at 224 pixels, over resolution at width 1.0. Where those of a V4
    or an EfficientNet-Lite, which are short, end, V3-Large's or V2's go on. Below the smallest
    published resolution the curve bends down as it does above (`_CURVATURE`). A network whose first
    strides are 1 computes the feature maps of a larger image: it counts as that resolution.
    """
    grid = PUBLISHED_TOP1.get(arch.name)
    if grid is None:
        return None
    resolution = arch.size.side * 32 / arch.output_stride
    as_published = arch.rule == "paper" and arch.output_stride == 32
    if as_published and (arch.width, resolution) in grid:
        return Expected(grid[arch.width, round(resolution)], "published")
    widths, resolutions, cells = _full_grid(arch.name)
    curve = [piecewise(resolutions, row, log(resolution)) for row in cells]
    below = max(resolutions[0] - log(resolution), 0.0)
    logit = piecewise(widths, curve, log(arch.width)) - _CURVATURE * below**2
    inside = all(
        min(values) <= value <= max(values)
        for values, value in zip(zip(*grid, strict=True), (arch.width, resolution), strict=True)
    )
    return Expected(100 / (1 + exp(-logit)), "interpolated" if inside else "extrapolated")


@cache
def _full_grid(name: str) -> tuple[list[float], list[float], list[list[float]]]:
    """Log widths, log resolutions, and the logit of each cell (a row per width)."""
    grid = _logits(name)
    usual = 224
    if name in _LIKE:
        usual = min(side for _, side in grid)
        grid |= _beyond(grid, _logits(_LIKE[name]), usual)
    widths = sorted({width for width, _ in grid})
    resolutions = sorted({resolution for _, resolution in grid})

    def cell(width: float, resolution: int) -> float:
        if (width, resolution) in grid:
            return grid[width, resolution]
        return grid[width, usual] + grid[1.0, resolution] - grid[1.0, usual]

    cells = [[cell(width, resolution) for resolution in resolutions] for width in widths]
    return [log(width) for width in widths], [log(side) for side in resolutions], cells


def _beyond(grid: _Grid, like: _Grid, usual: int) -> _Grid:
    """The points of another family beyond the widths at `usual` pixels of `grid`, and below `usual`
    at width 1.0, moved so that the two agree at its ends."""
    widths = [width for width, side in grid if side == usual]
    sides = sorted(side for width, side in like if width == 1.0)
    curve = [like[1.0, side] for side in sides]
    like_usual = piecewise([log(side) for side in sides], curve, log(usual))
    found = {}
    for width, side in like:
        end = min(max(width, min(widths)), max(widths))
        if side == 224 and width != end and width not in widths:
            found[width, usual] = grid[end, usual] + like[width, 224] - like[end, 224]
        if width == 1.0 and side < usual:
            found[1.0, side] = grid[1.0, usual] + like[1.0, side] - like_usual
    return found


def _logits(name: str) -> _Grid:
    return {at: log_odds(top1) for at, top1 in PUBLISHED_TOP1[name].items()}


def log_odds(percent: float) -> float:
    """The logit of a percentage."""
    return log(percent / (100 - percent))


def piecewise(xs: list[float], ys: list[float], x: float) -> float:
    """Linear between the points, the end segments continued."""
    right = min(max(bisect_right(xs, x), 1), len(xs) - 1)
    x0, x1, y0, y1 = xs[right - 1], xs[right], ys[right - 1], ys[right]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
