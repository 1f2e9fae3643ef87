"""Images as tensors: whole sets decoded once, and training batches without per-image Python."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mobilenets.archs import Size
from mobilenets.data.images import Images
from mobilenets.data.pool import Progress, each
from mobilenets.data.preprocess import Preprocess
from mobilenets.errors import DataError
from mobilenets.progress import report
from mobilenets.tasks.targets import Indices

T = TypeVar("T")

# How much larger than the network's input training images are kept, so that crops have room.
ROOM = 1.15
MEMORY_PART = 0.25


class Batch(NamedTuple):
    """uint8 (B, 3, S, S) and their target, B rows of what `Targets` hold; `broken` says which
    images could not be read, and why: others of the batch stand in for them, unless there are
    none."""

    pixels: Tensor
    target: Tensor
    broken: tuple[str, ...] = ()


def decode(
    images: Images,
    indices: Indices,
    preprocess: Preprocess,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """uint8 (N, 3, R, R): the images of these indices exactly as the artifact's rule makes them.

    Raises `DataError` for an image that cannot be read.
    """
    return _decode(images, indices, preprocess, progress=progress)


def _decode(
    images: Images,
    indices: Indices,
    preprocess: Preprocess,
    *,
    short_side: int | None = None,
    broken: dict[int, str] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """What cannot be read is noted in `broken`, by its place, where that is given."""
    pixels = _room(len(indices), preprocess.size)

    def fill(at: int) -> None:
        try:
            image = images.source.read(
                int(indices[at]), short_side=short_side, grey_range=preprocess.grey_range
            )
        except DataError as error:
            if broken is None:
                raise
            broken[at] = str(error)
        else:
            pixels[at] = preprocess(image)

    each(fill, len(indices), progress=progress)
    return pixels


def _room(count: int, size: Size) -> Tensor:
    """uint8 (N, 3, *size), to be filled; raises `DataError` where memory is lacking."""
    try:
        with torch.inference_mode(False):  # threads do not inherit it, and could not write to these
            return torch.empty((count, 3, *size), dtype=torch.uint8)
    except RuntimeError as error:
        raise DataError(
            f"{count:,} images of {size.height} x {size.width} pixels take "
            f"{count * 3 * size.area / 1e9:.1f} GB, more memory than there is; lower --resolution"
        ) from error


def training_size(images: Images, size: Size) -> Size:
    """Of the training images in memory: 1.15 times the network's input, no more than is there.

    Smaller images stay at their native size; the batch enlarges them (`augment`).
    """
    short = min(images.native_size, round(ROOM * min(size)))
    return Size(*(round(short * side / min(size)) for side in size))


def train_pixels(
    images: Images,
    size: Size,
    *,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
) -> MemoryPixels | StreamedPixels:
    """The training images, cut to the shape of `size`: in memory where they fit `memory_bytes`,
    else streamed.

    By default a quarter of the machine's memory may be used.
    """
    square = images.preprocess(training_size(images, size).written)
    limit = memory_bytes if memory_bytes is not None else int(MEMORY_PART * physical_bytes())
    streamed = StreamedPixels(images, images.train, square)
    if len(streamed) * 3 * square.size.area > limit:
        return streamed
    progress = progress or partial(report, "decoding training images")
    return MemoryPixels(streamed.decode(images.train, progress), streamed.target)


@final
class MemoryPixels(Dataset[Batch]):
    """Images (N, 3, S, S) and their target, N rows, in memory.

    Like `StreamedPixels`, it answers whole batches: give its `DataLoader` `collate_fn=whole`.
    """

    def __init__(self, pixels: Tensor, target: Tensor) -> None:
        self.pixels = pixels
        self.target = target

    def __len__(self) -> int:
        return len(self.target)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(indices)
        return Batch(self.pixels[chosen], self.target[chosen])


@final
class StreamedPixels(Dataset[Batch]):
    """Images decoded when they are asked for, in the `DataLoader`'s workers.

    An image that cannot be read any more costs no run: another of its batch stands in for it.
    """

    def __init__(self, images: Images, indices: Indices, square: Preprocess) -> None:
        self.images = images
        self.indices = indices
        self.square = square
        self.target = torch.from_numpy(images.targets.take(indices).values)

    def __len__(self) -> int:
        return len(self.target)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        broken: dict[int, str] = {}
        pixels = self._decode(self.indices[np.asarray(indices)], broken=broken)
        target = self.target[torch.as_tensor(indices)]
        good = [at for at in range(len(target)) if at not in broken]
        for number, at in enumerate(sorted(broken) if good else ()):
            other = good[number % len(good)]
            pixels[at], target[at] = pixels[other], target[other]
        return Batch(pixels, target, tuple(broken[at] for at in sorted(broken)))

    def decode(self, indices: Indices, progress: Progress | None = None) -> Tensor:
        """The squares of these images of the source; raises `DataError`.

        Large JPEGs are read at no less than twice the square's side: the difference after
        resizing is below what augmentation adds, and photos decode several times faster.
        """
        return self._decode(indices, progress=progress)

    def _decode(
        self,
        indices: Indices,
        *,
        broken: dict[int, str] | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        return _decode(
            self.images, indices, self.square, short_side=2 * min(self.square.size),
            broken=broken, progress=progress,
        )  # fmt: skip


def whole(batch: T) -> T:
    """The batch as it is: the `collate_fn` for datasets that answer whole batches."""
    return batch


@final
class EpochSampler(Sampler[int]):
    """Every index once, in an order that depends on seed and epoch only, so runs can resume."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        return iter(order.tolist())


def physical_bytes() -> int:
    """The machine's memory, or what a container leaves of it; 8 GB where neither can be told."""
    names = getattr(os, "sysconf_names", {})
    machine = 8 * 10**9
    if {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(names):
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ]
    texts = [path.read_text().strip() for path in limits if path.is_file()]
    return min([machine, *(int(text) for text in texts if text.isdecimal())])
