"""`predict`: what a network says of image files, one by one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mobilenets.commands.origin import network_in
from mobilenets.data.read import is_image_name
from mobilenets.deliver.drawing import Drawings
from mobilenets.deliver.predictor import Prediction, Predictor, load
from mobilenets.errors import DataError, MobileNetsError


@dataclass(frozen=True)
class Predicting:
    """Which network, a file or a run folder, and which images: files, and folders of them. With
    `draw` copies with what was found drawn into them are written to that folder."""

    network: Path
    images: tuple[Path, ...]
    draw: Path | None = None


@dataclass(frozen=True)
class Found:
    """What was found of a file or folder: its `predictions`, or in a sentence what is `wrong` with
    it; or a `note` on what was left out."""

    predictions: tuple[Prediction, ...] = ()
    wrong: str = ""
    note: str = ""


def predict(job: Predicting) -> Iterator[Found]:
    """Of each image as soon as it is known, in the order given; a folder's by name, its folders'
    too. What cannot be read is told of, and the rest goes on."""
    network = load(network_in(job.network))
    drawings = Drawings(job.draw) if job.draw else None
    for path in job.images:
        if path.is_dir():
            yield from _in_folder(network, path, drawings)
        else:
            yield _of_file(network, path, drawings)


def _in_folder(network: Predictor, folder: Path, drawings: Drawings | None) -> Iterator[Found]:
    others, seen = Counter[str](), 0
    for found in _walk(folder):
        if isinstance(found, Found):
            yield found
        elif is_image_name(found.name):
            seen += 1
            yield _of_file(network, found, drawings)
        else:
            others[found.suffix.lower() or found.name] += 1
    if others:
        most = sorted(others.items(), key=lambda one: (-one[1], one[0]))[:5]
        kinds = ", ".join(f"{suffix} {count:,}" for suffix, count in most)
        yield Found(note=f"{folder}: {others.total():,} other files left out ({kinds})")
    if not seen:
        yield Found(wrong=f"{folder} holds no images by name; give image files, or their folder")


def _walk(folder: Path) -> Iterator[Path | Found]:
    """Every entry under `folder` that is no folder, in order; links to folders are not followed."""
    broken: list[OSError] = []
    for here, folders, files in os.walk(folder, onerror=broken.append):
        folders.sort()
        yield from (Path(here, name) for name in sorted(files))
        yield from map(_unlisted, broken)
        broken.clear()
    yield from map(_unlisted, broken)


def _unlisted(error: OSError) -> Found:
    return Found(wrong=f"{error.filename} cannot be listed: {error.strerror}")


def _of_file(network: Predictor, path: Path, drawings: Drawings | None) -> Found:
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no file")
        image = network.read(path)
        predictions = tuple(network.seen(path, image))
        if drawings:
            drawings.add(path, image, predictions)
        return Found(predictions)
    except (MobileNetsError, OSError) as error:
        told = str(error)
        return Found(wrong=told if str(path) in told else f"{path}: {told}")
