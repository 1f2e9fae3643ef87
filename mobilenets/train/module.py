"""The training step, as a Lightning module."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from mobilenets.data import augment
from mobilenets.nn import MobileNet
from mobilenets.train.recipe import Recipe, rate_factor


class Classification(pl.LightningModule):
    """Trains a `MobileNet` on batches of uint8 images (N, 3, T, T) and labels (N,).

    Logs `train_loss`, `holdout_loss` (without label smoothing) and `holdout_top1` in percent. All
    randomness of an epoch follows from the seed and the epoch's number, so that a resumed run is
    the run that was not interrupted.
    """

    def __init__(self, network: MobileNet, recipe: Recipe, *, seed: int, total_steps: int):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.seed = seed
        self.total_steps = total_steps
        self.generator = torch.Generator()
        self.top1 = MulticlassAccuracy(network.arch.classes, average="micro")
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(recipe.mean).reshape(1, -1, 1, 1), False)
        self.register_buffer("std", torch.tensor(recipe.std).reshape(1, -1, 1, 1), False)
        if recipe.bn_momentum is not None:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = recipe.bn_momentum

    def forward(self, images: Tensor) -> Tensor:
        """Logits of float images in [0, 1]."""
        images = (images - self.mean) / self.std
        return self.network(images.contiguous(memory_format=torch.channels_last))

    def on_train_epoch_start(self) -> None:
        self.start_epoch(self.current_epoch)

    def start_epoch(self, epoch: int) -> None:
        """Set all randomness for `epoch`."""
        torch.manual_seed(1_000_003 * self.seed + epoch)
        self.generator.manual_seed(1_000_003 * self.seed + epoch)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = self.loss(*batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The training loss of a batch, augmented."""
        resolution = self.network.arch.resolution
        images = augment(images, resolution, self.recipe.augment, generator=self.generator)
        return cross_entropy(self(images), labels, label_smoothing=self.recipe.label_smoothing)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """One batch of holdout images, already at the network's resolution."""
        images, labels = batch
        logits = self(images.float() / 255)
        self.top1(logits, labels)
        self.log("holdout_loss", cross_entropy(logits, labels), prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        self.log("holdout_top1", 100 * self.top1.compute(), prog_bar=True)
        self.top1.reset()

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(
            self._groups(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate_factor(step, self.total_steps, self.recipe.warmup)
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _groups(self) -> list[dict[str, Any]]:
        """No weight decay on batch norm and biases (V1 paper, section 3.2, for the depthwise)."""
        parameters = list(self.network.parameters())
        return [
            {"params": [one for one in parameters if one.ndim > 1]},
            {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
        ]
