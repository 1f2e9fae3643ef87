"""By which numbers a trained network's outputs become answers: chosen on the holdout images."""

from __future__ import annotations

from dataclasses import replace

import torch

from mobilenets.data import Images, Preprocess, decode
from mobilenets.nn import Checkpoint, Deployed
from mobilenets.tasks import get_task, joined

_BATCH = 64


def with_answers(checkpoint: Checkpoint, images: Images) -> Checkpoint:
    """The checkpoint with what its task chooses (`Task.tuned`); itself where that is nothing."""
    task = get_task(checkpoint.task, checkpoint.labels)
    if not task.answers:
        return checkpoint
    network = Deployed(checkpoint).to(memory_format=torch.channels_last)
    pixels = decode(images, images.holdout, Preprocess.from_json(checkpoint.preprocess))
    with torch.inference_mode():
        parts = [network(part.float() / 255) for part in torch.split(pixels, _BATCH)]
    outputs = joined([{name: one.numpy() for name, one in part.items()} for part in parts])
    return replace(checkpoint, answers=task.tuned(outputs, images.targets.take(images.holdout)))
