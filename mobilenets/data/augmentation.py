"""Random crops, flips and colour for a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from mobilenets.archs import Size
from mobilenets.data.object_crops import object_crops
from mobilenets.errors import DataError
from mobilenets.tasks.geometry import Geometry, Places

_GREY = 127.5  # what is seen around an image that has shrunk
_YIQ = (  # NTSC's luma and chroma of RGB
    (0.299, 0.587, 0.114),
    (0.596, -0.274, -0.322),
    (0.211, -0.523, 0.312),
)


@dataclass(frozen=True, slots=True)
class Augment:
    """How training images are varied.

    `scale` is the range of the crop's area as a part of the image, `ratio` of its width to its
    height; `shift` is how far the crop may move over the edge, as a part of the image's side, the
    outside being the image mirrored. `rotate_degrees` goes both ways. `flip` mirrors one image in
    two. `colour` is the largest relative change of brightness and of contrast; `saturation` that of
    colours' strength, and `hue_degrees` how far they turn.

    With `objects`, of images with boxes, crops are drawn so that they keep some in sight
    (`object_crops`), whatever scale, ratio, shift and rotation say; with `zoom` above 1 half of the
    images shrink instead, by up to that.
    """

    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    shift: float = 0.0
    rotate_degrees: float = 0.0
    flip: bool = True
    colour: float = 0.2
    saturation: float = 0.0
    hue_degrees: float = 0.0
    objects: bool = False
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise DataError(f"scale must rise within 0..1, such as (0.35, 1), got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise DataError(f"ratio must rise above 0, such as (0.75, 1.33), got {self.ratio}")
        _check_range("shift", self.shift, 0.5)
        _check_range("rotate_degrees", self.rotate_degrees, 180)
        _check_range("colour", self.colour, 1)
        _check_range("saturation", self.saturation, 1)
        _check_range("hue_degrees", self.hue_degrees, 180)
        _check_range("zoom", self.zoom, 8, least=1)

    @classmethod
    def none(cls) -> Augment:
        """Only the resize."""
        return cls(scale=(1, 1), ratio=(1, 1), flip=False, colour=0)


def _check_range(name: str, value: float, most: float, *, least: float = 0) -> None:
    if not least <= value <= most:
        raise DataError(f"{name} must be at least {least} and at most {most}, got {value}")


def augment(
    batch: Tensor,
    size: Size,
    how: Augment,
    *,
    generator: torch.Generator,
    places: Places | None = None,
) -> tuple[Tensor, Geometry]:
    """float32 (B, 3, H, W) in [0, 1], of `size`, from uint8 (B, 3, T, S) of its shape, and where
    that moved what is in them: at `places`, if it has a place.

    Each image is varied by itself; the same generator state gives the same batch.
    """
    pixels = _at_most(batch.float(), Size(2 * size.height, 2 * size.width))
    if how.objects and places is not None:
        maps = object_crops(places, zoom=how.zoom, flip=how.flip, generator=generator)
        crops = _sampled(pixels - _GREY, maps, size, outside="zeros") + _GREY
        colours = torch.rand((2, len(batch)), generator=generator, device=generator.device)
        return _coloured(crops, colours.to(batch.device), how, generator), Geometry(maps)
    draws = torch.rand((9, len(batch)), generator=generator, device=generator.device)
    draws = draws.to(batch.device)
    geometry = Geometry(_crops(draws[:7], how))
    # Mirrored outside; inside half a pixel of the edge that is the edge itself, as in a resize.
    crops = _sampled(pixels, geometry.maps, size, outside="reflection")
    return _coloured(crops, draws[7:], how, generator), geometry


def _sampled(pixels: Tensor, maps: Tensor, size: Size, *, outside: str) -> Tensor:
    grid = F.affine_grid(maps, [len(pixels), 3, *size], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode=outside, align_corners=False)


def _at_most(pixels: Tensor, size: Size) -> Tensor:
    """Shrunk with antialiasing where much larger: the crop samples only 2x2 pixels a point."""
    if pixels.shape[-1] <= size.width:
        return pixels
    return F.interpolate(pixels, size=tuple(size), mode="bilinear", antialias=True)


def _crops(draws: Tensor, how: Augment) -> Tensor:
    """Affine maps (B, 2, 3) from output to input, both in [-1, 1], for `affine_grid`.

    A random resized crop: width and height are parts of the image's, at most all of it.
    """
    area = _between(draws[0], *how.scale)
    root = _between(draws[1], math.log(how.ratio[0]), math.log(how.ratio[1])).div(2).exp()
    width, height = (area.sqrt() * root).clamp(max=1), (area.sqrt() / root).clamp(max=1)
    x = _between(draws[2], -1, 1) * (1 - width + 2 * how.shift)
    y = _between(draws[3], -1, 1) * (1 - height + 2 * how.shift)
    angle = _between(draws[4], -how.rotate_degrees, how.rotate_degrees).deg2rad()
    mirror = torch.where(draws[5] < 0.5, -1.0, 1.0) if how.flip else torch.ones_like(x)
    cos, sin = angle.cos(), angle.sin()
    rows = [cos * width * mirror, -sin * height, x, sin * width * mirror, cos * height, y]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def _coloured(images: Tensor, draws: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """0..255 to [0, 1], varied in colour."""
    images = _recolour(images, draws, how.colour)
    if how.saturation == how.hue_degrees == 0:
        return images
    more = torch.rand((2, len(images)), generator=generator, device=generator.device)
    return _turned(images, more.to(images.device), how)


def _turned(images: Tensor, draws: Tensor, how: Augment) -> Tensor:
    """Images whose colours are stronger or weaker, and turned about grey: in YIQ, where that is a
    turn of I and Q."""
    strength = _between(draws[0], 1 - how.saturation, 1 + how.saturation)
    angle = _between(draws[1], -how.hue_degrees, how.hue_degrees).deg2rad()
    yiq = images.new_tensor(_YIQ)
    turns = torch.zeros(len(images), 3, 3, device=images.device)
    turns[:, 0, 0] = 1
    turns[:, 1, 1] = turns[:, 2, 2] = strength * angle.cos()
    turns[:, 2, 1] = strength * angle.sin()
    turns[:, 1, 2] = -turns[:, 2, 1]
    maps = torch.linalg.inv(yiq) @ turns @ yiq  # (B, 3, 3)
    return torch.einsum("bij,bjhw->bihw", maps, images).clamp_(0, 1)


def _recolour(images: Tensor, draws: Tensor, colour: float) -> Tensor:
    """0..255 to [0, 1], varied in contrast about each image's mean and in brightness."""
    if colour == 0:
        return images / 255
    contrast, brightness = (_between(d, 1 - colour, 1 + colour).view(-1, 1, 1, 1) for d in draws)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    gain, offset = contrast * brightness / 255, mean * (1 - contrast) * brightness / 255
    return torch.addcmul(offset, images, gain).clamp_(0, 1)


def _between(draws: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * draws
