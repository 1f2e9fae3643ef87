"""Sets of images with boxes as tools write them: the same few images in every format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobilenets.data.formats.listing import Listing

Rows = Sequence[tuple[float, float, float, float, str]]


class Drawing(NamedTuple):
    """An image of a size (width, height) with boxes in pixels, x and y counted from 0."""

    name: str
    size: tuple[int, int]
    boxes: Rows
    orientation: int = 1


THREE = (
    Drawing("a", (64, 48), [(4, 6, 20, 30, "cat"), (32, 0, 64, 48, "dog")]),
    Drawing("b", (40, 80), [(0, 0, 10, 20, "dog")]),
    Drawing("c", (32, 32), []),
)
CLASSES = ("cat", "dog")


def picture(path: Path, drawing: Drawing) -> Path:
    """Noise, another for each name; stored turned where the drawing says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = drawing.size
    noise = Random(path.name).randbytes(width * height)
    exif = Image.Exif()
    exif[274] = drawing.orientation
    Image.frombytes("L", (width, height), noise).save(path, exif=exif)
    return path


def coco_json(drawings: Sequence[Drawing], **more: Any) -> dict[str, Any]:
    """COCO's JSON of them; `more` replaces keys."""
    images, annotations = [], []
    for number, one in enumerate(drawings, 1):
        wide, high = one.size
        images.append({"id": number, "file_name": f"{one.name}.jpg", "width": wide, "height": high})
        for x1, y1, x2, y2, label in one.boxes:
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "iscrowd": 0,
                "category_id": 3 + 4 * CLASSES.index(label), "bbox": [x1, y1, x2 - x1, y2 - y1],
            })  # fmt: skip
    categories = [{"id": 3 + 4 * at, "name": name} for at, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories, **more}


def write_coco(root: Path, drawings: Sequence[Drawing] = THREE, **more: Any) -> Path:
    """A file in annotations/ and the images in images/."""
    for one in drawings:
        picture(root / "images" / f"{one.name}.jpg", one)
    (root / "annotations").mkdir(exist_ok=True)
    path = root / "annotations" / "instances.json"
    path.write_text(json.dumps(coco_json(drawings, **more)))
    return path


def voc_xml(drawing: Drawing, *, begin: int = 1, extra: str = "") -> str:
    wide, high = drawing.size
    objects = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x1 + begin}</xmin>"
        f"<ymin>{y1 + begin}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for x1, y1, x2, y2, label in drawing.boxes
    )
    return (
        f"<annotation><filename>{drawing.name}.jpg</filename><size><width>{wide}</width>"
        f"<height>{high}</height><depth>3</depth></size>{objects}{extra}</annotation>"
    )


def write_voc(root: Path, drawings: Sequence[Drawing] = THREE, *, begin: int = 1) -> Path:
    """Annotations/ and JPEGImages/."""
    for one in drawings:
        picture(root / "JPEGImages" / f"{one.name}.jpg", one)
        path = root / "Annotations" / f"{one.name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(voc_xml(one, begin=begin))
    return root


def yolo_text(drawing: Drawing) -> str:
    wide, high = drawing.size
    return "".join(
        f"{CLASSES.index(label)} {(x1 + x2) / 2 / wide} {(y1 + y2) / 2 / high} "
        f"{(x2 - x1) / wide} {(y2 - y1) / high}\n"
        for x1, y1, x2, y2, label in drawing.boxes
    )


def write_yolo(root: Path, drawings: Sequence[Drawing] = THREE, *, within: str = "") -> Path:
    """images/, labels/ and classes.txt; no label file where there is no box."""
    for one in drawings:
        picture(root / "images" / within / f"{one.name}.jpg", one)
        labels = root / "labels" / within
        labels.mkdir(parents=True, exist_ok=True)
        if one.boxes:
            (labels / f"{one.name}.txt").write_text(yolo_text(one))
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root


def write_table(
    root: Path, drawings: Sequence[Drawing] = THREE, header: str = "path,x1,y1,x2,y2,label"
) -> Path:
    """boxes.csv beside the images."""
    lines = [header] if header else []
    for one in drawings:
        picture(root / f"{one.name}.jpg", one)
        rows = [",".join(map(str, row)) for row in one.boxes] or [",,,,"]
        lines += [f"{one.name}.jpg,{row}" for row in rows]
    path = root / "boxes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def boxes_of(listing: Listing) -> dict[str, list[list[float]]]:
    """By the name of each image: x1, y1, x2, y2, class and uncounted of its boxes."""
    values = listing.targets.values
    return {
        Path(listing.source.name(at)).stem: np.round(rows[rows[:, 4] >= 0], 5).tolist()
        for at, rows in enumerate(values)
    }
