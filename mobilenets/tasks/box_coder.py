"""From a detector's raw outputs to boxes, and back: offsets are of the default boxes, as SSD and
torchvision code them, times 10 for centres and times 5 for the logarithms of sizes.
"""

from __future__ import annotations

from functools import lru_cache
from math import log

import torch
from torch import Tensor, nn

from mobilenets.archs import Arch
from mobilenets.archs.default_boxes import default_boxes

_OF_CENTRE, _OF_SIZE = 10.0, 5.0
# The largest logarithm of a size: 1000 / 16 times the default box (torchvision's BoxCoder).
_MOST = log(1000 / 16)


class BoxCoder(nn.Module):
    """The default boxes of `arch`: `centres` and `sizes` (A, 2), x before y, in parts of the image.
    Raises `ArchError` for a network without them."""

    centres: Tensor
    sizes: Tensor
    steps: Tensor
    halves: Tensor

    def __init__(self, arch: Arch):
        super().__init__()
        boxes = torch.tensor(default_boxes(arch))
        centres, sizes = boxes.chunk(2, dim=1)
        self.register_buffer("centres", centres.clone(), persistent=False)
        self.register_buffer("sizes", sizes.clone(), persistent=False)
        self.register_buffer("steps", sizes / _OF_CENTRE, persistent=False)
        self.register_buffer("halves", sizes / 2, persistent=False)

    @property
    def corners(self) -> Tensor:
        """The default boxes' x1, y1, x2, y2 (A, 4), which may lie beyond the image."""
        return torch.cat([self.centres - self.halves, self.centres + self.halves], 1)

    def forward(self, offsets: Tensor) -> Tensor:
        """Corners (N, A, 4) of offsets (N, A, 4), within the image: 0 to 1."""
        moves, growths = offsets.chunk(2, dim=2)
        centres = self.centres + moves * self.steps
        halves = (growths / _OF_SIZE).clamp(max=_MOST).exp() * self.halves
        return torch.cat([centres - halves, centres + halves], 2).clamp(0, 1)

    def offsets(self, corners: Tensor) -> Tensor:
        """The offsets (..., A, 4) with which the default boxes are these (..., A, 4)."""
        low, high = corners.chunk(2, dim=-1)
        moves = ((low + high) / 2 - self.centres) / self.sizes
        growths = ((high - low) / self.sizes).log()
        return torch.cat([_OF_CENTRE * moves, _OF_SIZE * growths], -1)


@lru_cache(maxsize=16)
def box_coder(arch: Arch, device: torch.device) -> BoxCoder:
    """The coder of `arch` on a device, made once."""
    with torch.inference_mode(False):  # training may use what an evaluation asked for first
        return BoxCoder(arch).to(device)
