"""Heads as modules: the feature maps that a head taps -> named outputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mobilenets.archs import Arch
from mobilenets.archs.heads import Classify, Head, Pooled
from mobilenets.archs.rows import Conv
from mobilenets.archs.segmentation import LRASPP, RASPP, Pixelwise
from mobilenets.archs.ssdlite import SSDLite
from mobilenets.nn.blocks import Convention, ConvNormAct, activation
from mobilenets.nn.detection_modules import Decoded, SSDLiteHead
from mobilenets.nn.segmentation_modules import LRASPPHead, PixelwiseHead, RASPPHead


def head_module(head: Head | None, channels: Sequence[int], convention: Convention) -> nn.Module:
    """The module of `head`, for taps of so many channels; of a backbone, its last feature map."""
    match head:
        case Classify():
            return ClassifyHead(channels[0], head, convention)
        case Pooled():
            return PooledHead()
        case SSDLite():
            return SSDLiteHead(channels, head, convention)
        case LRASPP():
            return LRASPPHead(channels, head, convention)
        case RASPP():
            return RASPPHead(channels[0], head, convention)
        case Pixelwise():
            return PixelwiseHead(channels[0], head)
        case None:
            return Features()
        case _:
            raise AssertionError(f"no module is built for {head}")


def new_prefix(head: nn.Module) -> str:
    """The names of the weights that other classes want anew begin so."""
    return {ClassifyHead: "head.classifier.", SSDLiteHead: "head.scores."}.get(type(head), "head.")


def new_part(network: nn.Module) -> nn.Module:
    """The part of a network whose weights begin anew for other classes."""
    return network.get_submodule(new_prefix(network.get_submodule("head")).removesuffix("."))


def decoder(arch: Arch) -> nn.Module | None:
    """What follows a network of `arch` in an artifact, from its outputs to those that are given;
    None where they are the same."""
    return Decoded(arch) if isinstance(arch.head, SSDLite) else None


class Features(nn.Module):
    """A backbone's own: "features" (N, C, H, W)."""

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"features": maps[-1]}


class PooledHead(nn.Module):
    """The mean of each channel: "features" (N, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"features": self.pool(maps[0]).flatten(1)}


class ClassifyHead(nn.Module):
    """Pool, the dense layer where there is one, dropout, classifier: "logits" (N, classes)."""

    def __init__(self, c_in: int, head: Classify, convention: Convention):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = _dense(c_in, head, convention)
        self.classifier = Classifier(head.dense or c_in, head)

    def embed(self, maps: Sequence[Tensor]) -> Tensor:
        """The features before the classifier (N, D)."""
        pooled = self.pool(maps[0])  # (N, C, 1, 1)
        if isinstance(self.dense, ConvNormAct):
            return self.dense(pooled).flatten(1)
        return self.dense(pooled.flatten(1))

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Features (N, D) -> logits."""
        return {"logits": self.classifier(features)}

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        return self.classify(self.embed(maps))


def _dense(c_in: int, head: Classify, convention: Convention) -> nn.Module:
    if head.dense is None:
        return nn.Identity()
    if head.norm:
        return ConvNormAct(c_in, Conv(1, head.dense, head.act), convention)
    return Linear(c_in, head.dense, head.act)


class Classifier(nn.Module):
    """Dropout and the last fully connected layer: (N, C) -> (N, classes)."""

    def __init__(self, c_in: int, head: Classify):
        super().__init__()
        self.rate = head.dropout
        self.dropout: nn.Module = nn.Dropout(head.dropout)
        self.linear = nn.Linear(c_in, head.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(x))


class Linear(nn.Module):
    """A fully connected layer and its activation: (N, C) -> (N, out)."""

    def __init__(self, c_in: int, c_out: int, act: str):
        super().__init__()
        self.linear = nn.Linear(c_in, c_out)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.linear(x))
