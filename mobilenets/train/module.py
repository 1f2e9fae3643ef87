"""The training step, as a Lightning module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from mobilenets.data import Batch, augment
from mobilenets.errors import MobileNetsError, TrainingDiverged
from mobilenets.nn import MobileNet
from mobilenets.nn.head_modules import Classifier, ClassifyHead, new_part
from mobilenets.tasks import Outputs, Targets, Task
from mobilenets.tasks.classification import Classification
from mobilenets.train.distill import Teacher, imitation_loss
from mobilenets.train.mix import Dropout, blend, trivial_augment
from mobilenets.train.norm import freeze_, norms
from mobilenets.train.optimize import optimizer, parameter_groups, rate_factor
from mobilenets.train.quick import quicken_
from mobilenets.train.recipe import Recipe

# Steps from one look at the loss to the next, where looking makes the accelerator wait.
_LOOK = 50


def class_weights(recipe: Recipe, task: Task, targets: Targets) -> Tensor | None:
    """The loss weights that the recipe asks for, of these targets of the training images."""
    return task.balance(targets) if recipe.class_weights == "balanced" else None


class Learner(pl.LightningModule):
    """Trains a `MobileNet` on batches of uint8 images (N, 3, T, T) and their target, of `task`.

    Logs `train_loss`, `holdout_loss` (without label smoothing) and the task's metric in percent,
    `holdout_top1` for classes. All randomness of an epoch follows from the seed, the epoch's number
    and, of several processes that train together, this one's rank: a resumed run is the run that
    was not interrupted. `teacher`, where there is one, sees the varied images that the network
    sees, and stands in for labels that are unknown. `weights` are those of the labels
    (`Task.balance`).
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
        weights: Tensor | None = None,
    ):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.seed = seed
        self.total_steps = total_steps
        # From a step on, where in the schedule it stands, and how fast the steps after it move on.
        self._paces: list[tuple[int, float, float]] = [(0, 0.0, 1.0)]
        self.generator = torch.Generator()
        self.task = (task or Classification()).for_network(network.arch)
        self.meter = self.task.meter(network.arch.classes)
        self.batch_norm: dict[str, Any] = {"statistics": recipe.batch_norm}
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(recipe.mean).reshape(1, -1, 1, 1), False)
        self.register_buffer("std", torch.tensor(recipe.std).reshape(1, -1, 1, 1), False)
        self.weights: Tensor | None
        self.register_buffer("weights", weights, False)
        self._teach: Callable[[Tensor], Tensor] | None = None
        self.projection: nn.Module = nn.Identity()
        if teacher is not None:
            self._hear(teacher)
        quicken_(network)
        for norm in norms(network):
            norm.momentum = recipe.bn_momentum or norm.momentum
        for last in network.modules():
            if isinstance(last, Classifier):
                last.dropout = Dropout(last.rate if recipe.dropout is None else recipe.dropout)

    def _hear(self, teacher: Teacher) -> None:
        """Take `teacher`; where its embedding is to be matched and has another number of features,
        a linear layer goes between, trained with the rest and left behind."""
        self._teach = teacher.for_task(self.task)
        if self.recipe.distill.match == "embedding":
            theirs = teacher(torch.zeros(1, 3, *self.network.arch.size)).shape[1]
            ours = self._embedding_head().classifier.linear.in_features
            if ours != theirs:
                self.projection = nn.Linear(ours, theirs)

    def _embedding_head(self) -> ClassifyHead:
        """The head, whose features are to be like a teacher's."""
        if not isinstance(self.network.head, ClassifyHead):
            raise MobileNetsError(
                f"{self.network.arch.full_name} has no embedding for a teacher's; leave --teacher "
                "out, or give a recipe that matches logits"
            )
        return self.network.head

    def forward(self, images: Tensor) -> Outputs:
        """The network's outputs for float images in [0, 1]."""
        return self.network(self.normalized(images))

    def normalized(self, images: Tensor) -> Tensor:
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
        self.network.requires_grad_(not head_only)
        new_part(self.network).requires_grad_(True)
        if head_only or self.recipe.batch_norm == "frozen":
            freeze_(self.network)
        else:
            self.network.train(self.training)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self.loss(batch.pixels, batch.target)
        if self.device.type == "cpu" or index % _LOOK == 0:
            self._check_finite("training loss", loss, f"step {index + 1}")
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True,
            batch_size=len(batch.target),
        )  # fmt: skip
        return loss

    def loss(self, images: Tensor, target: Tensor) -> Tensor:
        """The training loss of a batch, augmented."""
        images, target = self._varied(images, target)
        recipe = self.recipe
        outputs = self._outputs(self.normalized(images))
        theirs = self._theirs(images)
        stands_in = theirs if recipe.distill.match == "logits" else None
        loss = self.task.loss(
            outputs, target, smoothing=recipe.label_smoothing, teacher=stands_in,
            weights=self.weights,
        )  # fmt: skip
        if theirs is None:
            return loss
        imitation = imitation_loss(outputs, theirs, recipe.distill, self.task)
        return (1 - recipe.distill.share) * loss + recipe.distill.share * imitation

    def _outputs(self, images: Tensor) -> dict[str, Tensor]:
        """The network's, of normalized images; and the embedding, where a teacher's is matched."""
        if self._teach is None or self.recipe.distill.match != "embedding":
            return self.network(images)
        head = self._embedding_head()
        features = head.embed(self.network.features(images))
        return head.classify(features) | {"embedding": self.projection(features)}

    def _varied(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The images (N, 3, H, W) in [0, 1], and their target."""
        arch, recipe = self.network.arch, self.recipe
        if recipe.trivial_augment:
            images = trivial_augment(images)
        images, geometry = augment(
            images, arch.size, recipe.augment, generator=self.generator,
            places=self.task.places(target),
        )  # fmt: skip
        target = self.task.follow(target, geometry)
        return blend(images, target, recipe, classes=arch.classes)

    def validation_step(self, batch: Batch, index: int) -> None:
        """One batch of holdout images, already at the network's resolution."""
        images, target = batch.pixels.float() / 255, batch.target
        outputs = self(images)
        self.meter.update(outputs, target)
        theirs = self._for_unknown(images, target)
        loss = self.task.loss(outputs, target, teacher=theirs, weights=self.weights)
        self._check_finite("loss on the holdout images", loss, "its end")
        # Lightning divides by the processes' mean number of images, cut to a whole one.
        count = len(target) * self.trainer.world_size
        self.log("holdout_loss", loss, prog_bar=True, sync_dist=True, batch_size=count)

    def _for_unknown(self, images: Tensor, target: Tensor) -> Outputs | None:
        """The teacher's outputs, where they are to stand in for what is unknown."""
        if self.recipe.distill.match != "logits" or self.task.knows_all(target):
            return None
        return self._theirs(images)

    def _theirs(self, images: Tensor) -> Outputs | None:
        """What the teacher says, by the name of what is to be matched."""
        if self._teach is None:
            return None
        return {self.recipe.distill.match: self._teach(images)}

    def on_validation_epoch_end(self) -> None:
        self.log(f"holdout_{self.task.metric}", 100 * self.meter.compute(), prog_bar=True)
        self.meter.reset()

    def position(self, step: int) -> float:
        """Where a step stands in the schedule of `total_steps`: at its own number, until the
        training is shortened."""
        start, at, pace = next(one for one in reversed(self._paces) if one[0] <= step)
        return at + (step - start) * pace

    def shorten_(self, step: int, left: int) -> None:
        """From `step` on run through the rest of the schedule in `left` steps."""
        at = self.position(step)
        self._paces.append((step, at, max(self.total_steps - at, 0.0) / left))

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
        checkpoint["paces"] = self._paces

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batch_norm = checkpoint["batch_norm"]
        self._paces = [tuple(one) for one in checkpoint.get("paces", self._paces)]

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.network, self.recipe)
        if projection := list(self.projection.parameters()):
            groups.append({"params": projection, "lr": self.recipe.learning_rate})
        chosen = optimizer(groups, self.recipe)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            chosen, lambda step: rate_factor(self.position(step), self.total_steps, self.recipe)
        )
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
