"""How good a checkpoint is on the validation images."""

from __future__ import annotations

import torch

from mobilenets.data import Images, Preprocess, decode
from mobilenets.nn import Checkpoint, Deployed
from mobilenets.tasks import Score, get_task, joined

_BATCH = 256


@torch.inference_mode()
def score(checkpoint: Checkpoint, images: Images) -> Score:
    """How well the validation images are recognised."""
    network = Deployed(checkpoint).to(memory_format=torch.channels_last)
    pixels = decode(images, images.val, Preprocess.from_json(checkpoint.preprocess))
    parts = [network(part.float() / 255) for part in torch.split(pixels, _BATCH)]
    outputs = joined([{name: one.numpy() for name, one in part.items()} for part in parts])
    task = get_task(checkpoint.task, checkpoint.labels)
    return task.score(outputs, images.targets.take(images.val))
