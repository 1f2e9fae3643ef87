"""Where augmentation moved what is in an image, so that targets with a place can follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Places(NamedTuple):
    """Where a batch's boxes are: `corners` (B, M, 4) are x1, y1, x2, y2 in parts (0 to 1) of the
    image; the rows that are not `there` (B, M) are filling."""

    corners: Tensor
    there: Tensor


def area(boxes: Tensor) -> Tensor:
    """Of boxes (..., 4) x1, y1, x2, y2: (...)."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)


def shared_area(boxes: Tensor, others: Tensor) -> Tensor:
    """What boxes (..., 4) share with others, broadcast."""
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    return (high - low).clamp(min=0).prod(dim=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """What was done to the places of a batch: `maps` (B, 2, 3) are affine, from a place in the
    output to the one in the input that is seen there. Places are (x, y), -1 and 1 being the outer
    edges of the image, as in `torch.nn.functional.affine_grid`."""

    maps: Tensor

    def points(self, places: Tensor) -> Tensor:
        """Where the input's places (B, N, 2) are in the output; beyond -1 and 1 where the crop left
        them out. Corners of a box follow so."""
        linear, shift = self.maps[:, :, :2], self.maps[:, :, 2:]
        return torch.linalg.solve(linear, places.mT - shift).mT
