"""The training step, as a Lightning module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from mobilenets.data import Batch, augment
from mobilenets.errors import TrainingDiverged
from mobilenets.nn import MobileNet
from mobilenets.nn.blocks import ClassifierHead
from mobilenets.tasks import Task
from mobilenets.tasks.classification import Classification
from mobilenets.train.distil import Teacher, imitation_loss
from mobilenets.train.mix import Dropout, blend, trivial_augment
from mobilenets.train.norm import freeze_, norms
from mobilenets.train.optimise import optimiser, parameter_groups, rate_factor
from mobilenets.train.quick import quicken_
from mobilenets.train.recipe import Recipe

# Steps from one look at the loss to the next, where looking makes the accelerator wait.
_LOOK = 50


class Learner(pl.LightningModule):
    """Trains a `MobileNet` on batches of uint8 images (N, 3, T, T) and labels, as `task` has them.

    Logs `train_loss`, `holdout_loss` (without label smoothing) and the task's metric in percent,
    `holdout_top1` for classes. All randomness of an epoch follows from the seed, the epoch's number
    and, of several processes that train together, this one's rank: a resumed run is the run that
    was not interrupted. `teacher`, where there is one, sees the varied images that the network
    sees, and stands in for labels that are unknown.
    """

    def __init__(
        self,
        network: MobileNet,
        recipe: Recipe,
        *,
        seed: int,
        total_steps: int,
        teacher: Teacher | None = None,
        task: Task | None = None,
    ):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.seed = seed
        self.total_steps = total_steps
        self.generator = torch.Generator()
        self.task = task or Classification()
        self.meter = self.task.meter(network.arch.classes)
        self.batch_norm: dict[str, Any] = {"statistics": recipe.batch_norm}
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(recipe.mean).reshape(1, -1, 1, 1), False)
        self.register_buffer("std", torch.tensor(recipe.std).reshape(1, -1, 1, 1), False)
        self._teach: Callable[[Tensor], Tensor] | None = None
        self.projection: nn.Module = nn.Identity()
        if teacher is not None:
            self._hear(teacher)
        quicken_(network)
        for norm in norms(network):
            norm.momentum = recipe.bn_momentum or norm.momentum
        last = _classifier(network)
        last.dropout = Dropout(last.dropout.p if recipe.dropout is None else recipe.dropout)

    def _hear(self, teacher: Teacher) -> None:
        """Take `teacher`; where its embedding is to be matched and has another number of features,
        a linear layer goes between, trained with the rest and left behind."""
        self._teach = teacher.for_task(self.task)
        if self.recipe.distil.match == "embedding":
            side = self.network.arch.resolution
            theirs = teacher(torch.zeros(1, 3, side, side)).shape[1]
            ours = _classifier(self.network).linear.in_features
            if ours != theirs:
                self.projection = nn.Linear(ours, theirs)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of float images in [0, 1]."""
        return self.network(self.normalised(images))

    def normalised(self, images: Tensor) -> Tensor:
        """What the network takes, of float images in [0, 1]."""
        images = (images - self.mean) / self.std
        return images.contiguous(memory_format=torch.channels_last)

    def on_train_epoch_start(self) -> None:
        self.start_epoch(self.current_epoch)

    def start_epoch(self, epoch: int) -> None:
        """Set all randomness for `epoch`, and what learns in it."""
        seed = 1_000_003 * self.seed + 100_003 * self.global_rank + epoch
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)
        head_only = epoch < self.recipe.head_epochs
        self.network.rows[:-1].requires_grad_(not head_only)
        if head_only or self.recipe.batch_norm == "frozen":
            freeze_(self.network)
        else:
            self.network.train(self.training)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self.loss(batch.pixels, batch.labels)
        if self.device.type == "cpu" or index % _LOOK == 0:
            self._check_finite("training loss", loss, f"step {index + 1}")
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True,
            batch_size=len(batch.labels),
        )  # fmt: skip
        return loss

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The training loss of a batch, augmented."""
        images, labels = self._varied(images, labels)
        recipe = self.recipe
        features = self.network.rows[:-1](self.normalised(images))
        logits = self.network.rows[-1](features)
        theirs = None if self._teach is None else self._teach(images)
        stands_in = theirs if recipe.distil.match == "logits" else None
        loss = self.task.loss(logits, labels, smoothing=recipe.label_smoothing, theirs=stands_in)
        if theirs is None:
            return loss
        ours = logits if recipe.distil.match == "logits" else self.projection(features)
        imitation = imitation_loss(ours, theirs, recipe.distil, self.task)
        return (1 - recipe.distil.share) * loss + recipe.distil.share * imitation

    def _varied(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The images (N, 3, R, R) in [0, 1], and their labels."""
        arch, recipe = self.network.arch, self.recipe
        if recipe.trivial_augment:
            images = trivial_augment(images)
        images = augment(images, arch.resolution, recipe.augment, generator=self.generator)
        return blend(images, labels, recipe, classes=arch.classes)

    def validation_step(self, batch: Batch, index: int) -> None:
        """One batch of holdout images, already at the network's resolution."""
        images, labels = batch.pixels.float() / 255, batch.labels
        logits = self(images)
        self.meter.update(logits, labels)
        loss = self.task.loss(logits, labels, theirs=self._for_unknown(images, labels))
        self._check_finite("loss on the holdout images", loss, "its end")
        self.log("holdout_loss", loss, prog_bar=True, sync_dist=True, batch_size=len(labels))

    def _for_unknown(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """The teacher's logits, where they are to stand in for a label."""
        if self._teach is None or self.recipe.distil.match != "logits":
            return None
        return self._teach(images) if labels.isnan().any() else None

    def on_validation_epoch_end(self) -> None:
        self.log(f"holdout_{self.task.metric}", 100 * self.meter.compute(), prog_bar=True)
        self.meter.reset()

    def _check_finite(self, what: str, loss: Tensor, when: str) -> None:
        if not torch.isfinite(loss):
            rate = self.optimizers().param_groups[-1]["lr"]  # type: ignore[union-attr]
            raise TrainingDiverged(
                f"the {what} is {loss.item()} in epoch {self.current_epoch + 1} at {when}, at a "
                f"learning rate of {rate:.3g}; start again with a lower one: the peak was "
                f"{self.recipe.learning_rate:.3g}, try --lr {self.recipe.learning_rate / 4:.2g}"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batch_norm"] = self.batch_norm

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batch_norm = checkpoint["batch_norm"]

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.network, self.recipe)
        if projection := list(self.projection.parameters()):
            groups.append({"params": projection, "lr": self.recipe.learning_rate})
        chosen = optimiser(groups, self.recipe)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            chosen, lambda step: rate_factor(step, self.total_steps, self.recipe)
        )
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _classifier(network: MobileNet) -> ClassifierHead:
    last = network.rows[-1]
    assert isinstance(last, ClassifierHead)
    return last
