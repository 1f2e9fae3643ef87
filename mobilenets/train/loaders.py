"""The batches of a training, and of several processes the part that this one takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, final

import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler

from mobilenets.data import (
    EpochSampler,
    Images,
    MemoryPixels,
    Preprocess,
    StreamedPixels,
    decode,
    train_pixels,
    whole,
)
from mobilenets.train import group
from mobilenets.train.recipe import Recipe

Loaders = tuple[DataLoader[Any], DataLoader[Any]]
EVAL_BATCH = 256


def loaders_of(images: Images, recipe: Recipe, preprocess: Preprocess, seed: int) -> Loaders:
    """Training batches in an order set by (seed, epoch), of each this process's part; holdout
    batches as the artifact sees them. Both hand over whole batches."""
    pixels = train_pixels(images, preprocess.size)
    batches = BatchSampler(
        EpochSampler(len(images.train), seed),
        batch_size=min(recipe.batch_size, len(images.train)),
        drop_last=True,
    )
    chosen, rank, processes = images.holdout, group.rank(), group.size()
    if len(chosen) >= processes:  # else each takes them all, and the mean is the same
        chosen = chosen[rank::processes]
    holdout = MemoryPixels(
        decode(images, chosen, preprocess), torch.from_numpy(images.targets.take(chosen).values)
    )
    cores = max((os.cpu_count() or 1) // group.local_size(), 1)
    workers = cores if isinstance(pixels, StreamedPixels) else 0
    return (
        DataLoader(
            pixels, batch_sampler=PartSampler(batches, rank, processes), collate_fn=whole,
            num_workers=workers, persistent_workers=workers > 0, generator=torch.Generator(),
        ),
        DataLoader(
            holdout, batch_size=EVAL_BATCH, collate_fn=whole, generator=torch.Generator()
        ),
    )  # fmt: skip


@final
class PartSampler(Sampler[list[int]]):
    """Of each batch of `batches` the part of process `rank` of so many."""

    def __init__(self, batches: BatchSampler, rank: int, processes: int) -> None:
        self.batches = batches
        self.sampler = batches.sampler  # whose epoch is set from outside
        self._part = slice(rank, None, processes)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            yield batch[self._part]
