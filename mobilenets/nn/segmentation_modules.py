"""Segmentation heads as modules: feature maps -> "logits" (N, classes, h, w)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mobilenets.archs.rows import Conv
from mobilenets.archs.segmentation import LRASPP, RASPP, Pixelwise
from mobilenets.nn.blocks import Convention, ConvNormAct


class LRASPPHead(nn.Module):
    """The last map times a gate of its means, enlarged; its classes and those of the finer map,
    added (arXiv:1905.02244, fig. 10)."""

    def __init__(self, channels: Sequence[int], head: LRASPP, convention: Convention):
        super().__init__()
        last, *finer = channels
        self.enlarge = head.enlarge
        self.branch = ConvNormAct(last, Conv(1, head.channels, "relu"), convention)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(last, head.channels, 1, bias=head.gate_bias)
        self.classifier = nn.Conv2d(head.channels, head.classes, 1)
        self.finer_classifier = nn.Conv2d(finer[0], head.classes, 1) if finer else None

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        last, *finer = maps
        x = self.branch(last) * self.gate(self.pool(last)).sigmoid()
        if self.finer_classifier is None:
            return {"logits": self.classifier(_resize(x, [self.enlarge * s for s in x.shape[2:]]))}
        x = _resize(x, finer[0].shape[2:])
        return {"logits": self.classifier(x) + self.finer_classifier(finer[0])}


class RASPPHead(nn.Module):
    """The map, dilated convolutions of it where there are rates, and its means, side by side
    (arXiv:1801.04381, appendix B)."""

    def __init__(self, c_in: int, head: RASPP, convention: Convention):
        super().__init__()
        point, window = Conv(1, head.channels, "relu"), Conv(3, head.channels, "relu")
        self.branch = ConvNormAct(c_in, point, convention)
        self.pyramid = nn.ModuleList(
            ConvNormAct(c_in, window, convention, dilation=rate) for rate in head.rates
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.means = ConvNormAct(c_in, point, convention)
        self.dense = ConvNormAct((2 + len(head.rates)) * head.channels, point, convention)
        self.dropout = nn.Dropout(head.dropout)
        self.classifier = nn.Conv2d(head.channels, head.classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        x = maps[0]
        made = [self.branch(x), *(dilated(x) for dilated in self.pyramid)]
        means = _resize(self.means(self.pool(x)), x.shape[2:])
        x = self.dense(torch.cat([*made, means], 1))
        return {"logits": self.classifier(self.dropout(x))}


class PixelwiseHead(nn.Module):
    """A 1x1 convolution to classes."""

    def __init__(self, c_in: int, head: Pixelwise):
        super().__init__()
        self.classifier = nn.Conv2d(c_in, head.classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"logits": self.classifier(maps[0])}


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
