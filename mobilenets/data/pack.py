"""Images written as WebDataset shards; killed and called again, it goes on."""

from __future__ import annotations

import tarfile
from collections import Counter
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from mobilenets.data.formats.shards import INDEX, UNFINISHED
from mobilenets.data.formats.tars import Contents, Member, index_path, index_record, read_contents
from mobilenets.data.images import Images
from mobilenets.data.pool import Progress
from mobilenets.data.read import is_deep, png, read_image
from mobilenets.errors import DataError
from mobilenets.files import read_json, remove, write_bytes, write_json
from mobilenets.progress import report
from mobilenets.shapes import Count
from mobilenets.tasks.classification import ClassNumbers
from mobilenets.tasks.targets import Indices

_MAGIC = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png"}
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class ShardSize:
    """The most that goes into one shard: bytes and, where given, images. Being written, a shard is
    held in memory."""

    size_bytes: float = 100e6
    count: int | None = None

    def __post_init__(self) -> None:
        if not self.size_bytes > 0:
            raise DataError(f"a shard's size must be positive, got {self.size_bytes!r}")
        if self.count is not None and (type(self.count) is not int or self.count < 1):
            raise DataError(f"a shard must hold at least 1 image, got {self.count!r}")


class _Index(TypedDict):
    """What is told of shards that are done."""

    images: Count
    shards: list[str]
    skipped: list[Any]


def write_shards(
    images: Images, folder: Path, size: ShardSize | None = None, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Write the images that can be read into `folder` and return its index, shards.json.

    JPEG and PNG files and deep grey are copied as they are, others become PNG. KEY is the image's
    number, so that `load_images` splits the shards as it splits what they were made of; within a
    split the order is shuffled, the same each time, for those who read in sequence. A finished
    shard is not written again. Raises `DataError` where `folder` holds anything else, and for
    targets that are no `ClassNumbers`.
    """
    if not isinstance(images.targets, ClassNumbers):
        raise DataError(
            f"{images.name} has {images.task.kinds}, and shards hold one class an image; train "
            "from the table itself"
        )
    size = size or ShardSize()
    plan = {"images": images.fingerprint, "size_bytes": size.size_bytes, "count": size.count}
    if _claim(folder, plan):
        return dict(read_json(folder / INDEX, _Index))
    names, done = list[str](), 0
    parts = _parts(images)
    total = sum(map(len, parts.values()))
    for split, indices in parts.items():
        order, at = np.random.default_rng(0).permutation(indices), 0
        while at < len(order):
            names.append(f"{split}-{len(names):06d}.tar")
            count = _write(images, order[at:], folder / names[-1], size)
            at, done = at + count, done + count
            (progress or partial(report, "writing shards"))(done, total)
    index = {
        "from": plan,
        "name": images.name,
        "classes": list(images.task.labels),
        "flip": images.flip,
        "ordered": True,  # by the members' names: the order of what they were made of
        "images": total,
        "skipped": [{"name": name, "reason": reason} for name, reason in images.skipped],
        "shards": names,
    }
    write_json(folder / INDEX, index)
    remove(folder / UNFINISHED)
    return index


def _claim(folder: Path, plan: dict[str, Any]) -> bool:
    """Make `folder` the place of these shards; true where they are all there already."""
    for name, done in ((INDEX, True), (UNFINISHED, False)):
        if (folder / name).exists():
            record = read_json(folder / name, dict[str, Any])
            if record.get("from") == plan:
                return done
            raise DataError(
                f"{folder} holds shards of other images or of another size; choose another folder"
            )
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; choose a new folder")
    write_json(folder / UNFINISHED, {"from": plan})
    return False


def _parts(images: Images) -> dict[str, Indices]:
    """By split where one was given, else all as "images"."""
    train = np.concatenate([images.train, images.holdout])
    if images.origin["val"] == "stratified":
        return {"images": np.sort(np.concatenate([train, images.val]))}
    val = "test" if images.origin["val"] == "given as test" else "val"
    parts = {"train": np.sort(train), val: images.val}
    return parts | ({"test": images.test} if len(images.test) else {})


def _write(images: Images, order: Indices, path: Path, size: ShardSize) -> int:
    """Write the first of these images that fill a shard, unless it is there; how many they are."""
    if path.exists() and index_path(path).exists():
        return len(read_contents(path).members)
    content, members = _pack(images, order, size)
    write_bytes(path, content)
    write_json(index_path(path), index_record(Contents(members, Counter()), len(content)))
    return len(members)


def _pack(images: Images, order: Indices, size: ShardSize) -> tuple[bytes, list[Member]]:
    file, members = BytesIO(), list[Member]()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in order[: size.count].tolist():
            suffix, content = _encoded(images, index)
            if members and tar.offset + len(content) + 5 * _BLOCK > size.size_bytes:
                break
            label = str(images.targets.values[index])
            name = f"{index:08d}.{suffix}"
            members.append(Member(name, tar.offset + _BLOCK, len(content), label))
            _add(tar, name, content)
            _add(tar, f"{index:08d}.cls", label.encode())
    return file.getvalue(), members


def _encoded(images: Images, index: int) -> tuple[str, bytes]:
    """The suffix and the file."""
    stored = images.source.stored(index)
    try:
        content = stored if isinstance(stored, bytes) else stored.read_bytes()
    except OSError as error:
        raise DataError(
            f"{images.source.name(index)} cannot be read any more: {error.strerror}; run the same "
            "command again"
        ) from error
    for magic, suffix in _MAGIC.items():
        if content.startswith(magic):
            return suffix, content
    name = images.source.name(index)
    if is_deep(
        content
    ):  # all its values are kept: which are black and white is for training to say
        return Path(name).suffix[1:].lower(), content
    pixels = read_image(content, name=name)
    return "png", png(pixels.permute(1, 2, 0).numpy())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o444
    tar.addfile(info, BytesIO(content))
