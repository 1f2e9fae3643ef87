"""How a network is trained: a frozen value, saved beside the result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import cos, pi

from mobilenets.data import Augment
from mobilenets.errors import MobileNetsError
from mobilenets.nn.checkpoint import MEAN, STD


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training run but the network, the images and the seed.

    `epochs` is the most that is trained; fewer where `minutes` (None: no limit) or `patience`
    (epochs without a better holdout loss) ends it. `learning_rate` is the peak, for batches of
    `batch_size`. `warmup` is the share of all steps in which it rises. `bn_momentum` weighs the new
    batch in the running statistics; None keeps the network's own.
    """

    name: str
    epochs: int
    minutes: float | None
    learning_rate: float
    weight_decay: float
    batch_size: int = 128
    label_smoothing: float = 0.1
    warmup: float = 0.1
    patience: int = 15
    bn_momentum: float | None = None
    augment: Augment = field(default_factory=Augment)
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)
        if self.minutes is not None:
            _check_minutes(self.minutes)

    def limited(self, limits: Limits) -> Recipe:
        """The recipe with the user's own limit: exactly `epochs`, or at most `minutes`; with
        neither, as it is."""
        recipe = self
        if limits.flip is not None:
            recipe = replace(recipe, augment=replace(recipe.augment, flip=limits.flip))
        if limits.epochs is not None:
            return replace(recipe, epochs=limits.epochs, patience=limits.epochs, minutes=None)
        return recipe if limits.minutes is None else replace(recipe, minutes=limits.minutes)

    def for_images(self, count: int) -> Recipe:
        """The recipe for `count` training images: small sets get smaller batches, so that an epoch
        has some 20 steps, and a learning rate lowered by the square root of the ratio (AdamW)."""
        batch = self.batch_size
        while batch > 16 and count / batch < 20:
            batch //= 2
        rate = self.learning_rate * (batch / self.batch_size) ** 0.5
        return replace(self, batch_size=batch, learning_rate=rate)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user decides of a recipe: exactly so many epochs or at most so many minutes, and
    whether mirrored images mean the same (None: as the recipe says)."""

    epochs: int | None = None
    minutes: float | None = None
    flip: bool | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.minutes is not None:
            raise MobileNetsError("epochs and minutes are both given; give one of them")
        if self.epochs is not None:
            _check_epochs(self.epochs)
        if self.minutes is not None:
            _check_minutes(self.minutes)


def _check_epochs(epochs: int) -> None:
    if type(epochs) is not int or epochs < 1:
        raise MobileNetsError(f"epochs must be a whole number of at least 1, got {epochs!r}")


def _check_minutes(minutes: float) -> None:
    if not minutes > 0:
        raise MobileNetsError(f"minutes must be a positive number, got {minutes!r}")


def rate_factor(step: int, total: int, warmup: float) -> float:
    """The learning rate at `step` of `total` as a share of the peak: a line up from 1/25 during the
    warm-up, then half a cosine down to 0."""
    rising = warmup * total
    if step < rising:
        return 0.04 + 0.96 * step / rising
    done = min((step - rising) / max(total - rising, 1), 1.0)
    return 0.5 * (1 + cos(pi * done))
