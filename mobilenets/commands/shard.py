"""`shard`: images in, WebDataset shards of them out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.data import ShardSize, load_images, write_shards

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sharding:
    """Which images to write into which new folder, in shards of what size."""

    data: str | Path
    out: Path
    size: ShardSize


def shard(job: Sharding) -> dict[str, Any]:
    """The index of the shards, which is kept beside them; interrupted, the same call goes on."""
    images = load_images(job.data)
    for note in images.notes:
        log.warning(note)
    return write_shards(images, job.out, job.size)
