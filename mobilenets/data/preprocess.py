"""The rule from an image of any size to the network's input: what an artifact carries with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mobilenets.archs import Resolution, Size
from mobilenets.data.read import READING, GreyRange
from mobilenets.data.reading import Reading, Resize, checked_range, checked_resize
from mobilenets.errors import ArchError, DataError

INTERPOLATIONS = ("bilinear", "bicubic")
_OPTIONAL = ("interpolation", "grey_range", "resize")  # in files written before there were any
# What `Preprocess` does beside its fields, for whoever reads an artifact without this code.
DESCRIPTION = {
    "antialias": True,
    "resized_as_by": "Pillow",
    "value_range": [0, 1],
    "colour": "RGB",
    "reading": READING,
}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Resize the short side to `resolution / crop` (antialiased), cut the centre square; where
    `resolution` is (height, width), until the image covers both, and cut those. With `resize`
    "stretch" the whole image is resized to that size, over `crop`, whatever its shape.

    `crop` is the part of the short side that is kept: 0.875 is ImageNet's 256 to 224.
    `interpolation` is bilinear or, as much of timm's weights want it, bicubic. `grey_range` is that
    of `read_image`: the values of 16-bit, 32-bit and float grey that are black and white.
    """

    resolution: Resolution
    crop: float = 1.0
    interpolation: str = "bilinear"
    grey_range: GreyRange | None = None
    resize: Resize = "crop"

    def __post_init__(self) -> None:
        if isinstance(self.resolution, str):
            raise DataError(
                f"resolution must be a whole number or height and width, got {self.resolution!r}"
            )
        try:
            object.__setattr__(self, "resolution", Size.of(self.resolution, "resolution").written)
        except ArchError as error:
            raise DataError(str(error)) from error
        if type(self.crop) not in (int, float) or not 0 < self.crop <= 1:
            raise DataError(f"crop must be above 0 and at most 1, got {self.crop!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise DataError(
                f"preprocessing with interpolation {self.interpolation!r} is not known, only "
                f"{' and '.join(INTERPOLATIONS)}; export the artifact again"
            )
        if self.grey_range is not None:
            object.__setattr__(self, "grey_range", checked_range(self.grey_range))
        checked_resize(self.resize)

    @property
    def size(self) -> Size:
        """What comes out."""
        return Size.of(self.resolution)

    @property
    def reading(self) -> Reading:
        """How images are read for this rule."""
        return Reading(self.grey_range, self.resize)

    @property
    def short_side(self) -> int:
        """Pixels of the short side before the centre is cut, for a square."""
        return round(min(self.size) / self.crop)

    @property
    def covered(self) -> tuple[int, int]:
        """Height and width that the image covers before the centre is cut, where that is no
        square; or has, where it is stretched."""
        rows, columns = self.size
        return round(rows / self.crop), round(columns / self.crop)

    def __call__(self, image: Tensor) -> Tensor:
        """uint8 (3, H, W) to uint8 (3, *size)."""
        tall, wide = self._resized(*image.shape[-2:])
        if (tall, wide) != image.shape[-2:]:
            # Pillow, as its result is the same on any machine, and in a program without torch.
            photo = Image.fromarray(image.permute(1, 2, 0).numpy())
            mode = Image.Resampling[self.interpolation.upper()]
            resized = np.array(photo.resize((wide, tall), mode))
            image = torch.from_numpy(resized).permute(2, 0, 1)
        rows, columns = self.size
        top, left = round((tall - rows) / 2), round((wide - columns) / 2)
        return image[..., top : top + rows, left : left + columns]

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before the centre is cut: as torchvision rounds for a square; for others
        the least of which the cut is a part."""
        if self.resize == "stretch":
            return self.covered
        if self.size.height == self.size.width:
            short = min(height, width)
            return self.short_side * height // short, self.short_side * width // short
        tall, wide = self.covered
        scale = max(tall / height, wide / width)
        return max(tall, round(height * scale)), max(wide, round(width * scale))

    def to_json(self) -> dict[str, Any]:
        """The rule as a record, with the parts that never change spelt out."""
        grey_range = None if self.grey_range is None else list(self.grey_range)
        return {**asdict(self), "grey_range": grey_range, **DESCRIPTION}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Preprocess:
        """The rule that `to_json` wrote. Raises `DataError` for any other."""
        if not isinstance(record, dict) or not {"resolution", "crop"} <= record.keys():
            raise DataError(
                f"a preprocessing record needs resolution and crop, got {record!r}; "
                "export the artifact again"
            )
        for key, ours in DESCRIPTION.items():
            if record.get(key, ours) != ours:
                raise DataError(
                    f"preprocessing with {key} {record[key]!r} is not known, only {ours!r}; "
                    "export the artifact again"
                )
        optional = {key: record[key] for key in _OPTIONAL if key in record}
        return cls(record["resolution"], record["crop"], **optional)
