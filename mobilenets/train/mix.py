"""Images varied one by one and blended by the batch, with torchvision's transforms.

They draw from torch's global generator, which an epoch's number sets: a resumed run draws alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from mobilenets.train.recipe import Recipe


def trivial_augment(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W): each image changed in one way, as strongly as chance has it
    (arXiv:2103.10158). Each has a seed of its own."""
    vary = v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)
    seeds = torch.randint(2**62, (len(images),)).tolist()
    varied = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images, seeds, strict=True):
            torch.default_generator.manual_seed(seed)
            varied.append(vary(image))
    return torch.stack(varied)


class Dropout(nn.Dropout):
    """Dropout in the order of operations that earlier runs had: torch's own rounds otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = torch.empty(x.shape, device=x.device).bernoulli_(1 - self.p)
        return x * kept / (1 - self.p)


def blend(images: Tensor, target: Tensor, recipe: Recipe, *, classes: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, R, R) and their target, classes (N,) or attributes (N, A), as they are; or each
    image mixed with the one before it (mixup, arXiv:1710.09412; cutmix, arXiv:1905.04899) and
    shares (N, classes) that say how much of which class or attribute; what is unknown of one image
    is unknown of the blend."""
    ways: list[Any] = []
    if recipe.mixup:
        ways.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        ways.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))
    if not ways:
        return images, target
    way = ways[int(torch.randint(len(ways), ()))]
    return way(images, target)
