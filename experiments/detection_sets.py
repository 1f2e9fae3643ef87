"""Two sets of images with exact boxes and masks, made from what Debian packages hold.

    python experiments/detection_sets.py composites OUT
    python experiments/detection_sets.py canvases OUT

`composites`: Tux Paint's photographed cut-outs (experiments/stamps.py, ten classes) on photographs,
1 to 6 an image, 320 pixels; a fifth of the images has none. Cut-outs and backgrounds are split into
train and val before anything is composed: AP is of unseen things, not of photographs at large. The
backgrounds are of plasma-workspace-wallpapers and mate-backgrounds where these are installed, or
else noise and gradients.

`canvases`: 3 to 8 items of Fashion-MNIST (Debian's dataset-fashion-mnist) on noise, 128 pixels:
items of the training file for train, of the test file for val.

A box is around the pixels of a thing that are seen. No thing is there of which less than a quarter
is seen: it is put elsewhere, or left out. Both write COCO's JSON, masks/ (PNG: 0 is background, the
others the `instance` of the annotation) and about.json with seed and counts. `mobilenets fit OUT
--task detection` reads them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from stamps import CLASSES, STAMPS, photographs

Pixels = NDArray[np.uint8]
FASHION = Path("/usr/share/datasets/fashion-mnist")
ITEMS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
         "ankle boot")  # fmt: skip
WALLPAPERS = (Path("/usr/share/wallpapers"), Path("/usr/share/backgrounds/mate"))
FEWEST_WALLPAPERS = 10  # with fewer there are none to split
VAL_SHARE, EMPTY_SHARE = 0.2, 0.2
SEEN, OPAQUE, TRIES = 0.25, 127, 20


class Thing(NamedTuple):
    """Something to put on a background: (H, W, 4), cut to its opaque pixels."""

    rgba: Pixels
    label: str


class Scene(NamedTuple):
    """How images are composed: their side in pixels, how many things are on one, and how large."""

    side: int
    fewest: int
    most: int
    smallest_px: float
    largest_px: float
    empty_share: float = 0.0


COMPOSITE = Scene(320, 1, 6, 0.1 * 320, 0.7 * 320, EMPTY_SHARE)
CANVAS = Scene(128, 3, 8, 18, 56)
Ground = Callable[[np.random.Generator], Pixels]
Draw = Callable[[np.random.Generator], Thing]


# Composing


class Composed(NamedTuple):
    """An image, which thing each pixel is of (0: none, 1 and on), and the things' labels."""

    pixels: Pixels
    owner: NDArray[np.uint8]
    labels: list[str]


def compose(scene: Scene, ground: Pixels, draw: Draw, rng: np.random.Generator) -> Composed:
    """Things on a ground (side, side, 3), later ones over earlier ones."""
    made = Composed(ground.copy(), np.zeros((scene.side, scene.side), np.uint8), [])
    if rng.random() < scene.empty_share:
        return made
    whole: list[int] = []  # opaque pixels of each thing, seen or not
    for _ in range(rng.integers(scene.fewest, scene.most + 1)):
        thing = draw(rng)
        for _ in range(TRIES):
            if put_(made, whole, scaled(thing, scene, rng), rng):
                break
    return made


def scaled(thing: Thing, scene: Scene, rng: np.random.Generator) -> Thing:
    """With a long side drawn between the scene's smallest and largest."""
    height, width = thing.rgba.shape[:2]
    scale = rng.uniform(scene.smallest_px, scene.largest_px) / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return thing._replace(rgba=np.asarray(Image.fromarray(thing.rgba).resize(size)))


def put_(made: Composed, whole: list[int], thing: Thing, rng: np.random.Generator) -> bool:
    """Put a thing anywhere, over the edge too, if at least a quarter of it and of all others is
    seen then; whether it was."""
    side, (height, width) = len(made.owner), thing.rgba.shape[:2]
    top = int(rng.integers(-height // 2, side - height // 2))
    left = int(rng.integers(-width // 2, side - width // 2))
    rows, columns = slice(max(top, 0), top + height), slice(max(left, 0), left + width)
    part = thing.rgba[max(-top, 0) : side - top, max(-left, 0) : side - left]
    opaque = part[..., 3] > OPAQUE
    owner = made.owner.copy()
    owner[rows, columns][opaque] = len(whole) + 1
    of_all = [*whole, int((thing.rgba[..., 3] > OPAQUE).sum())]
    seen = np.bincount(owner.ravel(), minlength=len(of_all) + 1)[1:]
    if any(one < max(SEEN * all_, 1) for one, all_ in zip(seen, of_all, strict=True)):
        return False
    alpha = part[..., 3:] / 255
    below = made.pixels[rows, columns]
    below[:] = np.rint(alpha * part[..., :3] + (1 - alpha) * below)
    made.owner[:] = owner
    made.labels.append(thing.label)
    whole.append(of_all[-1])
    return True


# Writing


def annotations(made: Composed, image_id: int, classes: Sequence[str]) -> list[dict[str, Any]]:
    """COCO's, a box around what is seen of each thing."""
    found = []
    for number, label in enumerate(made.labels, 1):
        rows, columns = np.nonzero(made.owner == number)
        x, y = int(columns.min()), int(rows.min())
        found.append({
            "image_id": image_id, "category_id": classes.index(label) + 1, "instance": number,
            "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
            "area": len(rows), "iscrowd": 0,
        })  # fmt: skip
    return found


def write_split(
    out: Path, split: str, images: Sequence[Composed], classes: Sequence[str], suffix: str
) -> dict[str, Any]:
    """A split's images, masks and JSON; its counts."""
    record: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": at, "name": name} for at, name in enumerate(classes, 1)],
    }
    for folder in (out / split, out / "masks" / split, out / "annotations"):
        folder.mkdir(parents=True, exist_ok=True)
    for number, made in enumerate(images, 1):
        name = f"{number:06}.{suffix}"
        side = len(made.owner)
        Image.fromarray(made.pixels).save(out / split / name, quality=92)
        Image.fromarray(made.owner).save(out / "masks" / split / f"{number:06}.png")
        record["images"].append({"id": number, "file_name": name, "width": side, "height": side})
        record["annotations"] += annotations(made, number, classes)
    for number, one in enumerate(record["annotations"], 1):
        one["id"] = number
    (out / "annotations" / f"instances_{split}.json").write_text(json.dumps(record))
    counts = Counter(label for made in images for label in made.labels)
    return {
        "images": len(images),
        "images_without_boxes": sum(not made.labels for made in images),
        "boxes": dict(sorted(counts.items())),
    }


# Composites


def cut_outs() -> dict[str, list[Path]]:
    """The photographs among Tux Paint's stamps, by class."""
    return {name: list(photographs(STAMPS / place)) for name, place in CLASSES.items()}


def opened(path: Path, label: str, largest: int) -> Thing:
    """A cut-out, made no larger than it will be."""
    image = Image.open(path).convert("RGBA")
    rgba = np.asarray(image.crop(image.getchannel("A").point(lambda a: a > OPAQUE).getbbox()))
    smaller = Image.fromarray(rgba)
    smaller.thumbnail((largest, largest))
    return Thing(np.asarray(smaller), label)


def split_of(things: Sequence[Any], rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
    """(train, val): one of five for val, at least one."""
    order = rng.permutation(len(things))
    count = max(1, round(VAL_SHARE * len(things)))
    return [things[at] for at in sorted(order[count:])], [
        things[at] for at in sorted(order[:count])
    ]


def wallpapers() -> list[Path]:
    """Photographs of the packages that are there; of one in several sizes the largest file."""
    found: dict[str, Path] = {}
    for folder in WALLPAPERS:
        for path in sorted(folder.rglob("*.[jp][pn]g")):
            if "screenshot" in path.name:
                continue
            parts = path.relative_to(folder).parts
            key = f"{folder}/{parts[0] if len(parts) > 1 else path.stem}"
            if key not in found or path.stat().st_size > found[key].stat().st_size:
                found[key] = path
    return list(found.values())


def ground_of(paths: Sequence[Path], side: int) -> Ground:
    """Tiles of these photographs; noise and gradients where there are none."""
    photos = [_photo(path) for path in paths]

    def tile(rng: np.random.Generator) -> Pixels:
        photo = photos[rng.integers(len(photos))]
        edge = int(rng.integers(side, min(photo.size) + 1))
        left, top = (int(rng.integers(0, long - edge + 1)) for long in photo.size)
        box = (left, top, left + edge, top + edge)
        return np.asarray(photo.resize((side, side), box=box))

    return tile if photos else lambda rng: made_up(side, rng)


def _photo(path: Path) -> Image.Image:
    photo = Image.open(path).convert("RGB")
    photo.thumbnail((1600, 1600))
    return photo


def made_up(side: int, rng: np.random.Generator) -> Pixels:
    """A gradient between two colours, and noise of a random grain over it."""
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * (across - 0.5) + np.sin(angle) * (down - 0.5) + 0.5
    first, second = rng.uniform(0, 255, (2, 3))
    grain = int(rng.integers(2, side // 4))
    rough = rng.normal(0, rng.uniform(5, 50), (side // grain + 1, side // grain + 1, 3))
    layers = [Image.fromarray(rough[..., at].astype(np.float32)) for at in range(3)]
    noise = np.stack([np.asarray(one.resize((side, side))) for one in layers], axis=-1)
    pixels = first + along[..., None] * (second - first) + noise
    return np.rint(pixels.clip(0, 255)).astype(np.uint8)


def composites(out: Path, counts: dict[str, int], seed: int) -> dict[str, Any]:
    """Write the set; what it is, as JSON."""
    rng = np.random.default_rng(seed)
    parts: dict[str, dict[str, list[Path]]] = {"train": {}, "val": {}}
    for name, paths in cut_outs().items():
        parts["train"][name], parts["val"][name] = split_of(paths, rng)
    photos = wallpapers()
    grounds = dict(zip(parts, split_of(photos, rng), strict=True)) if (
        len(photos) >= FEWEST_WALLPAPERS) else {"train": [], "val": []}  # fmt: skip
    largest = round(COMPOSITE.largest_px)
    splits = {}
    for split, by_class in parts.items():
        things = [[opened(path, n, largest) for path in some] for n, some in by_class.items()]
        images = _composed(COMPOSITE, ground_of(grounds[split], COMPOSITE.side), things,
                           counts[split], rng)  # fmt: skip
        splits[split] = write_split(out, split, images, list(CLASSES), "jpg") | {
            "cut_outs": {name: len(some) for name, some in by_class.items()},
            "backgrounds": len(grounds[split]) or "noise and gradients",
        }
    return {"set": "composites", "seed": seed, "from": "tuxpaint-stamps-default (GPL-2 and others)",
            "splits": splits}  # fmt: skip


def _composed(
    scene: Scene, ground: Ground, by_class: Sequence[Sequence[Thing]], count: int,
    rng: np.random.Generator,
) -> list[Composed]:  # fmt: skip
    """Images with things of classes drawn evenly."""

    def draw(rng: np.random.Generator) -> Thing:
        some = by_class[rng.integers(len(by_class))]
        return some[rng.integers(len(some))]

    return [compose(scene, ground(rng), draw, rng) for _ in range(count)]


# Canvases


def items(name: str) -> list[list[Thing]]:
    """Fashion-MNIST's items by class, opaque where they are above 0."""
    pixels = _idx(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = _idx(f"{name}-labels-idx1-ubyte.gz", 8)
    by_class: list[list[Thing]] = [[] for _ in ITEMS]
    for image, label in zip(pixels, labels.tolist(), strict=True):
        rows, columns = np.nonzero(image)
        cut = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        alpha = np.where(cut > 0, 255, 0).astype(np.uint8)
        by_class[label].append(Thing(np.stack([cut, cut, cut, alpha], axis=-1), ITEMS[label]))
    return by_class


def _idx(name: str, head: int) -> Pixels:
    return np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=head)


def noisy(rng: np.random.Generator) -> Pixels:
    """Grey noise of a random strength."""
    grey = rng.uniform(0, rng.uniform(20, 120), (CANVAS.side, CANVAS.side, 1))
    return np.repeat(grey.astype(np.uint8), 3, axis=2)


def canvases(out: Path, counts: dict[str, int], seed: int) -> dict[str, Any]:
    """Write the set; what it is, as JSON."""
    rng = np.random.default_rng(seed)
    splits = {}
    for split, name in (("train", "train"), ("val", "t10k")):
        things = items(name)
        images = _composed(CANVAS, noisy, things, counts[split], rng)
        splits[split] = write_split(out, split, images, ITEMS, "png") | {
            "items": sum(map(len, things))
        }
    return {"set": "canvases", "seed": seed, "from": "dataset-fashion-mnist (MIT)",
            "splits": splits}  # fmt: skip


class _Kind(NamedTuple):
    make: Callable[[Path, dict[str, int], int], dict[str, Any]]
    needs: Path
    package: str
    train: int
    val: int


KINDS = {
    "composites": _Kind(composites, STAMPS, "tuxpaint-stamps-default", 1500, 300),
    "canvases": _Kind(canvases, FASHION, "dataset-fashion-mnist", 4000, 500),
}


def main() -> None:
    """Make the set that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, help="images to train on")
    parser.add_argument("--val", type=int, help="images to validate on")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    kind = KINDS[asked.kind]
    if not kind.needs.is_dir():
        sys.exit(f"{kind.needs} is not there: sudo apt install {kind.package} brings it")
    counts = {"train": asked.train or kind.train, "val": asked.val or kind.val}
    about = kind.make(asked.out, counts, asked.seed)
    text = json.dumps(about, indent=1)
    (asked.out / "about.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
