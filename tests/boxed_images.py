"""A small set of images with boxes: bright squares and dark discs on noise, in COCO's format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

LABELS = ("square", "disc")
SIDE = 48


def write_boxed_images(folder: Path, count: int = 40, seed: int = 0) -> Path:
    """`count` images of one to three objects each, every fifth of none; as a folder that `fit`
    takes."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        name = f"{number:03}.png"
        picture = Image.fromarray(rng.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8))
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        for label, box in _objects(rng) if number % 5 else []:
            _draw(picture, label, box)
            x1, y1, x2, y2 = box
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": label + 1,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0, "area": (x2 - x1) * (y2 - y1)}
            )  # fmt: skip
        picture.save(folder / "images" / name)
    categories = [{"id": at + 1, "name": name} for at, name in enumerate(LABELS)]
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


def _objects(rng: np.random.Generator) -> list[tuple[int, tuple[int, int, int, int]]]:
    found = []
    for _ in range(rng.integers(1, 4)):
        side = int(rng.integers(10, 24))
        x, y = rng.integers(0, SIDE - side, 2).tolist()
        found.append((int(rng.integers(2)), (x, y, x + side, y + side)))
    return found


def _draw(picture: Image.Image, label: int, box: tuple[int, int, int, int]) -> None:
    x1, y1, x2, y2 = box
    pen, within = ImageDraw.Draw(picture), (x1, y1, x2 - 1, y2 - 1)
    if LABELS[label] == "square":
        pen.rectangle(within, fill=(240, 230, 60))
    else:
        pen.ellipse(within, fill=(20, 20, 60))
