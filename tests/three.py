"""Real images in a folder for each class, for tests that train from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def three_digits(folder: Path) -> Path:
    """A hundred PNGs of each of three digits, in `folder`/three."""
    digits, root = load_digits(), folder / "three"
    for label in (0, 1, 2):
        (root / str(label)).mkdir(parents=True)
        for index in np.flatnonzero(digits.target == label)[:100]:
            pixels = (digits.images[index] * 255 / 16).astype(np.uint8)
            Image.fromarray(pixels).save(root / str(label) / f"{index}.png")
    return root
