"""Photographs as a user has them: Tux Paint's stamps as a folder of 10 classes, 219 images.

    python experiments/stamps.py stamps

Debian's tuxpaint-stamps-default (GPL-2 and others, see its copyright file): photographs that were
cut out, set on white. Taken are those with at least 150 colours at 8 levels' distance where they
are opaque, which leaves drawings out; cartoons and mirrored copies are left out by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

STAMPS = Path("/usr/share/tuxpaint/stamps")
CLASSES = {
    "mammals": "animals/mammals",
    "birds": "animals/birds",
    "fruit": "food/fruit",
    "flowers": "plants/flowers",
    "vegetables": "food/vegetables",
    "vehicles": "vehicles",
    "instruments": "hobbies/music",
    "tools": "household/tools",
    "fish": "animals/fish",
    "insects": "animals/insects",
}
COLOURS, LEVELS, OPAQUE = 150, 8, 200


def photographs(folder: Path) -> Iterator[Path]:
    """The stamps under `folder` that are photographs."""
    for path in sorted(folder.rglob("*.png")):
        named = path.relative_to(STAMPS).as_posix()
        if any(word in named for word in ("cartoon", "_mirror", "_flip")):
            continue
        pixels = np.asarray(Image.open(path).convert("RGBA"))
        opaque = pixels[pixels[..., 3] > OPAQUE][:, :3] // LEVELS
        if len(np.unique(opaque, axis=0)) >= COLOURS:
            yield path


def on_white(path: Path) -> Image.Image:
    """The stamp as a photograph without transparency."""
    image = Image.open(path).convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def write_stamps(out: Path) -> int:
    """How many images were written, in a folder a class under `out`."""
    count = 0
    for name, place in CLASSES.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        for path in photographs(STAMPS / place):
            named = path.relative_to(STAMPS / place).as_posix().replace("/", "-")
            on_white(path).save(out / name / named)
            count += 1
    return count


if __name__ == "__main__":
    if not STAMPS.is_dir():
        sys.exit(
            f"{STAMPS} is not there: sudo apt install tuxpaint-stamps-default (161 MB) brings it"
        )
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "stamps")
    print(f"{write_stamps(folder)} images of {len(CLASSES)} classes in {folder}")
