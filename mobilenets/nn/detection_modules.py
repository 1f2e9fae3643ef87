"""SSDLite as a module: several feature maps -> boxes and scores of every anchor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mobilenets.archs import Arch
from mobilenets.archs.rows import Conv
from mobilenets.archs.ssdlite import SSDLite
from mobilenets.nn.blocks import Convention, ConvNormAct, depthwise
from mobilenets.tasks.box_coder import BoxCoder


class SSDLiteHead(nn.Module):
    """Extra maps behind the last tap; then, of each map, "boxes" (N, A, 4), raw offsets, and
    "scores" (N, A, classes), raw."""

    def __init__(self, channels: Sequence[int], head: SSDLite, convention: Convention):
        super().__init__()
        widths = (*channels, *head.extras)  # of all maps
        first = len(channels)
        self.extras = nn.ModuleList(
            Extra(widths[first + index - 1], out, convention)
            for index, out in enumerate(head.extras)
        )
        maps = tuple(zip(widths, head.anchors, strict=True))
        self.boxes = Predictors(maps, 4, convention)
        self.scores = Predictors(maps, head.classes, convention)

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        found = list(maps)
        for extra in self.extras:
            found.append(extra(found[-1]))
        return {"boxes": self.boxes(found), "scores": self.scores(found)}


class Extra(nn.Module):
    """1x1 to half the channels, depthwise of stride 2, 1x1: (N, C, H, W) -> (N, out, H/2, W/2)."""

    def __init__(self, c_in: int, out: int, convention: Convention):
        super().__init__()
        act = "relu6"
        self.squeeze = ConvNormAct(c_in, Conv(1, out // 2, act), convention)
        self.depthwise = depthwise(out // 2, convention, kernel=3, act=act, stride=2)
        self.pointwise = ConvNormAct(out // 2, Conv(1, out, act), convention)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(self.squeeze(x)))


class Predictors(nn.ModuleList):
    """One predictor a map of (channels, anchors): maps -> (N, A, values). Of A, the anchors of a
    pixel come first, then columns, rows and maps."""

    def __init__(self, maps: Iterable[tuple[int, int]], values: int, convention: Convention):
        super().__init__(Predictor(c_in, anchors * values, convention) for c_in, anchors in maps)
        self.values = values

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat([self._rows(one(at)) for one, at in zip(self, maps, strict=True)], 1)

    def _rows(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(len(x), -1, self.values)  # (N, H W anchors, values)


class Predictor(nn.Module):
    """3x3 depthwise, then 1x1 with bias and nothing behind it."""

    def __init__(self, c_in: int, out: int, convention: Convention):
        super().__init__()
        self.depthwise = depthwise(c_in, convention, kernel=3, act="relu6", stride=1)
        self.predict = nn.Conv2d(c_in, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.depthwise(x))


class Decoded(nn.Module):
    """What SSDLiteHead gives as an artifact gives it, in the same shapes: "boxes" (N, A, 4) are x1,
    y1, x2, y2 in parts (0 to 1) of the image, "scores" (N, A, classes) probabilities that add up to
    1, the background first. Suppression is left to the program that reads them.

    For one network and size: the default boxes are constants. Raises `ArchError` for a network
    without SSDLite.
    """

    def __init__(self, arch: Arch):
        super().__init__()
        self.coder = BoxCoder(arch)

    def forward(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"boxes": self.coder(outputs["boxes"]), "scores": outputs["scores"].softmax(dim=2)}
