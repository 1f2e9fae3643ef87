"""The part of each batch that one of several processes takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Which images of a batch process `rank` of `processes` takes: its slice, in order.

    So many images before the slice come along as `overlap` says (before the first comes the last):
    what blends an image with its neighbour needs them.
    """

    rank: int = 0
    processes: int = 1
    overlap: int = 0

    def places(self, count: int) -> list[int]:
        """The places of its images in a batch of `count`."""
        start, stop = self._slice(count)
        return [place % count for place in range(start - self.overlap, stop)]

    def of(self, batch: Tensor, dim: int = 0) -> Tensor:
        """Its part of what a whole batch has along `dim`; with no `overlap` a view."""
        count = batch.shape[dim]
        if self.overlap:
            places = torch.tensor(self.places(count), device=batch.device)
            return batch.index_select(dim, places)
        start, stop = self._slice(count)
        return batch.narrow(dim, start, stop - start)

    def _slice(self, count: int) -> tuple[int, int]:
        first, after = (count * rank // self.processes for rank in (self.rank, self.rank + 1))
        return first, after

    def whole(self, here: int) -> int:
        """The size of the batch of which `here` images are this part."""
        return (here - self.overlap) * self.processes


@final
class PartSampler(Sampler[list[int]]):
    """Of each batch of `batches`, this part."""

    def __init__(self, batches: BatchSampler, part: Part) -> None:
        self.batches = batches
        self.part = part
        self.sampler = batches.sampler  # whose epoch is set from outside

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            yield [batch[place] for place in self.part.places(len(batch))]
