"""`shard`: images in, WebDataset shards of them out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.data import ShardSize, load_images, write_shards


@dataclass(frozen=True)
class Sharding:
    """Which images to write into which new folder, in shards of what size."""

    data: str | Path
    out: Path
    size: ShardSize


def shard(job: Sharding) -> dict[str, Any]:
    """The index of the shards, which is kept beside them; interrupted, the same call goes on."""
    return write_shards(load_images(job.data), job.out, job.size)
