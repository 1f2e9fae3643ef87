"""Distillation: a trained network's answers as a second target beside the labels."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

from mobilenets.archs import Resolution, Size
from mobilenets.errors import DataError, FileError
from mobilenets.nn import Checkpoint, MobileNet, Positional
from mobilenets.nn.head_modules import ClassifyHead
from mobilenets.tasks import Outputs, Task
from mobilenets.tasks.classification import Classification
from mobilenets.train.quick import quicken_
from mobilenets.train.recipe import Distill


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network to imitate: RGB images (N, 3, H, W) in [0, 1] -> logits or an embedding (N, D).

    `module` is any: ours, timm's, torchvision's, one that gives embeddings. It is copied, and runs
    in eval mode. `mean` and `std` normalize what it sees, `resolution` is its own image side (None:
    as the student's). `labels` name its logits, where they are to be put into another order; `task`
    says what they mean (None: what the student's do).
    """

    module: nn.Module
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resolution: Resolution | None = None
    labels: tuple[str, ...] | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        ours = isinstance(self.module, MobileNet)  # whose outputs have names
        module = Positional(self.module) if ours else self.module
        module = copy.deepcopy(module).eval().requires_grad_(False)
        object.__setattr__(self, "module", module)

    @classmethod
    def of(cls, checkpoint: Checkpoint, *, match: str = "logits") -> Teacher:
        """The network of a checkpoint: its logits, or the features before its classifier."""
        network = checkpoint.network().to(memory_format=torch.channels_last)
        quicken_(network)  # only ours: another's module may rely on torch's order of memory
        module = Embedding(network) if match == "embedding" else network
        seen = module, checkpoint.mean, checkpoint.std, checkpoint.arch.size.written
        return cls(*seen, checkpoint.labels, checkpoint.task) if match == "logits" else cls(*seen)

    def for_task(self, task: Task) -> Callable[[Tensor], Tensor]:
        """Images -> its logits in the order of the task's labels; raises `DataError` where it is of
        another task, or does not know them all."""
        if self.task not in (None, task.name):
            raise DataError(
                f"the teacher is for {self.task} and the images are for {task.name}; distill its "
                "embedding, or take another teacher"
            )
        return self.for_classes(task.labels) if task.labels else self

    def for_classes(self, classes: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """Images -> its logits in the order of `classes`; raises `DataError` where it does not know
        them all."""
        if self.labels is None:
            return self
        missing = [name for name in classes if name not in self.labels]
        if missing:
            raise DataError(
                f"the teacher does not know the classes {', '.join(missing[:5])}; it knows "
                f"{', '.join(self.labels[:10])}; distill its embedding, or take another teacher"
            )
        order = torch.tensor([self.labels.index(name) for name in classes])
        return lambda images: self(images)[:, order.to(images.device)]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        self.module.to(images.device)
        size = tuple(images.shape[-2:] if self.resolution is None else Size.of(self.resolution))
        if size != images.shape[-2:]:
            images = interpolate(images, size=size, mode="bilinear", antialias=True)
        mean, std = (images.new_tensor(one).reshape(1, -1, 1, 1) for one in (self.mean, self.std))
        return self.module((images - mean) / std)

    def __deepcopy__(self, memo: object) -> Teacher:
        return self  # it never changes, and the averaged student needs no second one

    def digest(self) -> str:
        """A hash of its weights and of how it sees an image."""
        tensors = {name: one.contiguous() for name, one in self.module.state_dict().items()}
        sees = repr((self.mean, self.std, self.resolution, self.labels))
        return hashlib.sha256(save(tensors) + sees.encode()).hexdigest()[:16]


class Embedding(nn.Module):
    """The features before a network's classifier: (N, C, H, W) -> (N, D)."""

    def __init__(self, network: MobileNet):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        head: ClassifyHead = self.network.head  # type: ignore[assignment]
        return head.embed(self.network.features(images))


def imitation_loss(
    ours: Outputs, theirs: Outputs, how: Distill, task: Task | None = None
) -> Tensor:
    """How far our logits or "embedding" (N, D) are from the teacher's (`Distill`)."""
    for name, one in theirs.items():
        if ours[name].shape != one.shape:
            raise FileError(
                f"the teacher gives {one.shape[1]} numbers an image where the student has "
                f"{ours[name].shape[1]}; take a teacher of the same classes, or distill its "
                "embedding"
            )
    if how.match == "embedding":
        return mse_loss(ours["embedding"], theirs["embedding"])
    return (task or Classification()).imitation(ours, theirs, temperature=how.temperature)


def teacher_in(path: Path, *, match: str = "logits") -> Teacher:
    """The teacher in a checkpoint of ours; raises `FileError` for any other file, and for a network
    of several outputs."""
    checkpoint = Checkpoint.load(path)
    if len(checkpoint.arch.outputs) > 1:
        raise FileError(
            f"{path} gives {' and '.join(checkpoint.arch.outputs)}, and a teacher gives one "
            "output; give a network that classifies, or leave --teacher out"
        )
    return Teacher.of(checkpoint, match=match)
