"""How good a checkpoint is on the validation images."""

from __future__ import annotations

import torch

from mobilenets.data import Images, Preprocess, decode
from mobilenets.nn import Checkpoint, Deployed
from mobilenets.tasks import Score, get_task
from mobilenets.tasks.task import named

_BATCH = 256


@torch.inference_mode()
def score(checkpoint: Checkpoint, images: Images) -> Score:
    """How well the validation images are recognised."""
    network = Deployed(checkpoint).to(memory_format=torch.channels_last)
    pixels = decode(images, images.val, Preprocess.from_json(checkpoint.preprocess))
    logits = torch.cat([network(part.float() / 255) for part in torch.split(pixels, _BATCH)])
    task = get_task(checkpoint.task, checkpoint.labels)
    return task.score(named(logits.numpy()), images.targets.take(images.val))
