"""Images varied one by one and blended by the batch, with torchvision's transforms.

They draw from torch's global generator, which an epoch's number sets: a resumed run draws alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from mobilenets.train.recipe import Recipe


def trivial_augment(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W): each image changed in one way, as strongly as chance has it
    (arXiv:2103.10158)."""
    vary = v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)
    return torch.stack([vary(image) for image in images])


def blend(images: Tensor, labels: Tensor, recipe: Recipe, *, classes: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, R, R) and labels (N,) as they are; or each image mixed with the one before it
    (mixup, arXiv:1710.09412; cutmix, arXiv:1905.04899) and labels (N, classes) that say how much of
    which class."""
    ways: list[Any] = []
    if recipe.mixup:
        ways.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        ways.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))
    if not ways:
        return images, labels
    way = ways[int(torch.randint(len(ways), ()))]
    return way(images, labels)
