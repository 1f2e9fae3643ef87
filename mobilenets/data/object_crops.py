"""Crops that keep objects in sight, for a whole batch at once (arXiv:1512.02325, section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from mobilenets.tasks.geometry import Places, area, shared_area

# Of so many crops that are drawn for an image, the first that suits is taken.
_TRIED = 16
# The paper's least overlaps (IoU) of a crop with some object; 0: any crop; and the whole image.
_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_SMALLEST, _NARROWEST = 0.3, 0.5  # a crop's side as a part of the image's; width to height
_ZOOMED = 0.5  # of the images, where they are zoomed out at all


def object_crops(places: Places, *, zoom: float, flip: bool, generator: torch.Generator) -> Tensor:
    """Affine maps (B, 2, 3) from output to input, as `Geometry` has them.

    For each image an overlap is drawn, and a crop that overlaps some object by as much and shows
    its centre; where none is found, it stays whole. `zoom` above 1 makes half of the images up to
    so many times smaller instead, amid nothing; `flip` mirrors half of them.
    """
    boxes, device = places.corners, places.corners.device
    count = len(boxes)
    draws = torch.rand((4, count, _TRIED), generator=generator, device=generator.device).to(device)
    chance = torch.rand((4, count), generator=generator, device=generator.device).to(device)
    crops = _drawn(draws)
    least = torch.tensor(_OVERLAPS, device=device)[(chance[0] * len(_OVERLAPS)).long()]
    whole = torch.tensor((0.0, 0.0, 1.0, 1.0), device=device).expand(count, 4)
    found = _first_suiting(crops, places, least, whole)
    if zoom > 1:
        outside = _zoomed_out(draws[:3, :, 0], zoom)
        found = torch.where((chance[1] < _ZOOMED)[:, None], outside, found)
    mirror = torch.where(chance[2] < 0.5, -1.0, 1.0) if flip else torch.ones(count, device=device)
    return _maps(found, mirror)


def _drawn(draws: Tensor) -> Tensor:
    """Crops (B, K, 4) inside the image, of sides 0.3 to 1, from draws (4, B, K)."""
    width = _SMALLEST + (1 - _SMALLEST) * draws[0]
    least, most = (width * _NARROWEST).clamp(min=_SMALLEST), (width / _NARROWEST).clamp(max=1)
    height = least + (most - least) * draws[1]
    left, top = draws[2] * (1 - width), draws[3] * (1 - height)
    return torch.stack((left, top, left + width, top + height), dim=-1)


def _first_suiting(crops: Tensor, places: Places, least: Tensor, whole: Tensor) -> Tensor:
    """The first of each image's crops that suits; where the whole image is asked for, or no crop
    suits, that."""
    suits = _sees(crops, places, least[:, None]) & (least < 1)[:, None]
    first = suits.int().argmax(dim=1)
    taken = crops[torch.arange(len(crops), device=crops.device), first]
    return torch.where(suits.any(dim=1)[:, None], taken, whole)


def _sees(crops: Tensor, places: Places, least: Tensor) -> Tensor:
    """Whether each crop (B, K) shows the centre of an object that it overlaps by `least`; any crop
    of an image without one does."""
    if places.corners.shape[1] == 0:
        return torch.ones(crops.shape[:2], dtype=torch.bool, device=crops.device)
    crop, box = crops[:, :, None], places.corners[:, None]  # (B, K, 1, 4), (B, 1, M, 4)
    shared = shared_area(crop, box)
    union = area(crop) + area(box) - shared
    centre = (box[..., :2] + box[..., 2:]) / 2
    inside = ((centre > crop[..., :2]) & (centre < crop[..., 2:])).all(dim=-1)
    good = inside & (shared / union >= least[..., None]) & places.there[:, None]
    return good.any(dim=-1) | ~places.there.any(dim=1)[:, None]


def _zoomed_out(draws: Tensor, zoom: float) -> Tensor:
    """Windows (B, 4) that are 1 to `zoom` times as large as the image, which lies within."""
    side = 1 + (zoom - 1) * draws[0]
    left, top = -draws[1] * (side - 1), -draws[2] * (side - 1)
    return torch.stack((left, top, left + side, top + side), dim=-1)


def _maps(crops: Tensor, mirror: Tensor) -> Tensor:
    """Crops (B, 4) in parts of the image as maps of places from -1 to 1."""
    width, height = (crops[:, 2:] - crops[:, :2]).unbind(dim=1)
    x, y = (crops[:, :2] + crops[:, 2:] - 1).unbind(dim=1)  # the middle, from -1 to 1
    none = torch.zeros_like(x)
    return torch.stack((width * mirror, none, x, none, height, y), dim=1).view(-1, 2, 3)
