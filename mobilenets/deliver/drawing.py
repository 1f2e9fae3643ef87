"""What a network found, drawn into copies of the images."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from zlib import crc32

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from mobilenets.deliver.predictor import Prediction
from mobilenets.files import make_folder, write_bytes

_LARGEST = 1600  # pixels of a drawing's long side
_TEXT = 24  # the long side is so many lines of text high
Colour = tuple[int, int, int]


@dataclass
class Drawings:
    """A folder of drawings; of two images of one name the second gets a number."""

    folder: Path
    _taken: set[str] = field(default_factory=set)

    def add(self, path: Path, image: Tensor, predictions: Sequence[Prediction]) -> Path:
        """Draw what was found in `image`, uint8 (3, H, W), of the file at `path`; where it was
        written. Raises `FileError`."""
        file = BytesIO()
        drawn(to_pil_image(image), predictions).save(file, "JPEG", quality=90)
        make_folder(self.folder)
        out = self.folder / self._name(path.stem)
        write_bytes(out, file.getvalue())
        return out

    def _name(self, stem: str) -> str:
        number, name = 1, f"{stem}.jpg"
        while name in self._taken:
            number, name = number + 1, f"{stem}-{number + 1}.jpg"
        self._taken.add(name)
        return name


def drawn(photo: Image.Image, predictions: Sequence[Prediction]) -> Image.Image:
    """A copy with each box and its label; what has no place is written at the top."""
    scale = min(1.0, _LARGEST / max(photo.size))
    width, height = (max(1, round(side * scale)) for side in photo.size)
    photo = photo.convert("RGB").resize((width, height))
    pen = ImageDraw.Draw(photo)
    tall = max(10, max(photo.size) // _TEXT)
    font = ImageFont.load_default(tall)
    for at, one in enumerate(predictions):
        words = f"{one.label} {one.probability:.2f}"
        if one.box is None:
            _write(pen, (0, at * tall * 1.3), words, colour_of(one.label), font)
            continue
        box = [side * scale for side in one.box]
        pen.rectangle(box, outline=colour_of(one.label), width=max(2, max(photo.size) // 200))
        top = max(0.0, box[1] - tall * 1.3)
        _write(pen, (box[0], top), words, colour_of(one.label), font)
    return photo


def colour_of(label: str) -> Colour:
    """The same for a label each time; strong enough for white text."""
    hue = (crc32(label.encode()) % 360) / 360
    red, green, blue = colorsys.hls_to_rgb(hue, 0.38, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    words: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    around: Iterable[float] = pen.textbbox(at, words, font=font)
    pen.rectangle(tuple(around), fill=colour)
    pen.text(at, words, fill="white", font=font)
