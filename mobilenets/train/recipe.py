"""How a network is trained: a frozen value, saved beside the result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple

from mobilenets.data import Augment
from mobilenets.errors import MobileNetsError
from mobilenets.nn.checkpoint import MEAN, STD

BATCH_NORMS = ("train", "frozen", "auto")
MATCHES = ("logits", "embedding")
CLASS_WEIGHTS = ("none", "balanced")


class _Range(NamedTuple):
    """The numbers from `least` to `most`, the ends only where `closed` names them."""

    least: float = 0
    most: float = inf
    closed: tuple[str, ...] = ()

    def check(self, what: str, value: object) -> None:
        """Raise unless `value` is one of them."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        inside = number and self.least < value < self.most  # type: ignore[operator]
        ends = [getattr(self, end) for end in self.closed]
        if not (inside or (number and value in ends)):
            raise MobileNetsError(f"{what} must be {self}, got {value!r}")

    def __str__(self) -> str:
        if self.most == inf:
            return "a number of at least 0" if self.closed else "a positive number"
        least = "at least" if "least" in self.closed else "above"
        most = "at most" if "most" in self.closed else "below"
        return f"{least} {self.least} and {most} {self.most}"


_POSITIVE = _Range()
_NOT_NEGATIVE = _Range(closed=("least",))
_BETWEEN = _Range(0, 1)
_SHARE = _Range(0, 1, ("least",))
_PART = _Range(0, 1, ("most",))
_ALLOWED = {
    "minutes": _POSITIVE,
    "learning_rate": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "label_smoothing": _SHARE,
    "warmup": _SHARE,
    "bn_momentum": _PART,
    "dropout": _SHARE,
    "mixup": _NOT_NEGATIVE,
    "cutmix": _NOT_NEGATIVE,
    "ema": _BETWEEN,
    "head": _SHARE,
    "layer_decay": _PART,
}
# Below so many images a batch, "auto" leaves batch norm's statistics as the start brought them.
_SMALL_BATCH = 32


@dataclass(frozen=True, slots=True)
class RMSprop:
    """RMSprop as TensorFlow defines it (`train.rmsprop`): `decay` of the mean square, `momentum`,
    `epsilon` inside the root."""

    decay: float = 0.9
    momentum: float = 0.9
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        _BETWEEN.check("rmsprop's decay", self.decay)
        _SHARE.check("rmsprop's momentum", self.momentum)
        _POSITIVE.check("rmsprop's epsilon", self.epsilon)


@dataclass(frozen=True, slots=True)
class Decay:
    """The learning rate times `factor` every `every` epochs of a run of `epochs`, in steps. A run
    of another length takes the same steps, sooner or later."""

    factor: float
    every: float
    epochs: int

    def __post_init__(self) -> None:
        _BETWEEN.check("the decay's factor", self.factor)
        _POSITIVE.check("the decay's every", self.every)
        _check_whole("epochs", self.epochs)

    def at(self, done: float) -> float:
        """The factor where a part `done`, 0 to 1, of the run is over."""
        return self.factor ** int(done * self.epochs / self.every)


@dataclass(frozen=True, slots=True)
class Distill:
    """How a teacher counts, where there is one: `share` of the loss is its, the rest the labels'.

    - match "logits": the Kullback-Leibler divergence of softmax(logits / temperature), times
      temperature^2 (arXiv:1503.02531). 4 and 0.9 are what arXiv:1910.10699 compares with. Of
      attributes the binary cross-entropy to the teacher's probabilities, at a temperature of 1
      (arXiv:1704.04861, section 4.5).
    - match "embedding": the mean squared difference of the features before the classifier, through
      a learned projection where their numbers differ (arXiv:1704.04861, Table 14: FaceNet).
    """

    match: str = "logits"
    temperature: float = 4.0
    share: float = 0.9

    def __post_init__(self) -> None:
        _check_choice("distill's match", self.match, MATCHES)
        _POSITIVE.check("distill's temperature", self.temperature)
        _PART.check("distill's share", self.share)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training run but the network, the images, the teacher and the seed.

    `epochs` is the most that is trained; fewer where `minutes` (None: no limit) or `patience`
    (epochs without a better holdout loss) ends it. `learning_rate` is the peak, for batches of
    `batch_size`. `warmup` is the share of all steps in which it rises. `bn_momentum` weighs the new
    batch in the running statistics, `dropout` goes before the classifier; None keeps the network's.

    `rmsprop` None is AdamW, `decay` None half a cosine. `weight_decay` spares batch norm and
    biases, and depthwise filters unless `decay_depthwise`. `mixed_precision` is for GPUs
    (`device.precision`). `ema` is the decay of the averaged weights, which are the ones kept (None:
    no average), bounded by the run's length (`averaging`).

    `class_weights` "balanced" weighs each class's loss by one over its training images, so that all
    count alike ("none": each image does).

    `trivial_augment` varies each image first (arXiv:2103.10158); `mixup` and `cutmix` are the
    alphas of two ways to blend a batch, 0 being off; of two, chance picks one for each batch.

    Of trained weights: in the first `head` part of the epochs only the classifier learns; each row
    learns at `layer_decay` times the rate of the row after it; `batch_norm` may be "frozen", its
    statistics left as they came, or "auto": frozen where there is a start and batches are small.
    """

    name: str
    epochs: int
    minutes: float | None
    learning_rate: float
    weight_decay: float
    batch_size: int = 128
    label_smoothing: float = 0.1
    class_weights: str = "none"
    warmup: float = 0.1
    patience: int = 15
    bn_momentum: float | None = None
    dropout: float | None = None
    augment: Augment = field(default_factory=Augment)
    trivial_augment: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    rmsprop: RMSprop | None = None
    decay: Decay | None = None
    decay_depthwise: bool = True
    ema: float | None = None
    head: float = 0.0
    layer_decay: float = 1.0
    batch_norm: str = "train"
    distill: Distill = field(default_factory=Distill)
    mixed_precision: bool = True
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            _check_whole(name, getattr(self, name))
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) is not None:
                allowed.check(name, getattr(self, name))
        _check_choice("batch_norm", self.batch_norm, BATCH_NORMS)
        _check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)

    @property
    def head_epochs(self) -> int:
        """Epochs in which only the classifier learns: at least one where `head` is not 0, and never
        all."""
        return min(max(round(self.head * self.epochs), int(self.head > 0)), self.epochs - 1)

    def limited(self, limits: Limits) -> Recipe:
        """The recipe with the user's own limit: exactly `epochs`, or at most `minutes`; with
        neither, as it is."""
        recipe = self
        if limits.flip is not None:
            recipe = replace(recipe, augment=replace(recipe.augment, flip=limits.flip))
        if limits.learning_rate is not None:
            recipe = replace(recipe, learning_rate=limits.learning_rate)
        if limits.mixed_precision is not None:
            recipe = replace(recipe, mixed_precision=limits.mixed_precision)
        if limits.class_weights is not None:
            recipe = replace(recipe, class_weights=limits.class_weights)
        if limits.epochs is not None:
            return replace(recipe, epochs=limits.epochs, patience=limits.epochs, minutes=None)
        return recipe if limits.minutes is None else replace(recipe, minutes=limits.minutes)

    def with_batch(self, batch_size: int) -> Recipe:
        """The recipe for other batches: the learning rate goes with the square root of their size
        under AdamW, and with their size under RMSprop, whose epsilon makes it near to plain
        gradient descent."""
        _check_whole("batch_size", batch_size)
        ratio = batch_size / self.batch_size
        rate = self.learning_rate * (ratio if self.rmsprop else ratio**0.5)
        return replace(self, batch_size=batch_size, learning_rate=rate)

    def for_images(self, count: int, *, started: bool = False) -> Recipe:
        """The recipe for `count` training images: small sets get smaller batches, so that an epoch
        has some 20 steps. `started` says whether there are trained weights to start from."""
        batch = self.batch_size
        while batch > 16 and count / batch < 20:
            batch //= 2
        recipe = self.with_batch(batch)
        if self.batch_norm != "auto":
            return recipe
        frozen = started and batch < _SMALL_BATCH
        return replace(recipe, batch_norm="frozen" if frozen else "train")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user decides of a recipe: exactly so many epochs or at most so many minutes; whether
    mirrored images mean the same; the peak learning rate; whether a GPU computes in mixed precision
    (None: as the recipe says); how classes are weighed ("balanced" or "none")."""

    epochs: int | None = None
    minutes: float | None = None
    flip: bool | None = None
    learning_rate: float | None = None
    mixed_precision: bool | None = None
    class_weights: str | None = None

    def __post_init__(self) -> None:
        if self.class_weights is not None:
            _check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        if self.epochs is not None and self.minutes is not None:
            raise MobileNetsError("epochs and minutes are both given; give one of them")
        if self.epochs is not None:
            _check_whole("epochs", self.epochs)
        if self.minutes is not None:
            _POSITIVE.check("minutes", self.minutes)
        if self.learning_rate is not None:
            _POSITIVE.check("learning_rate", self.learning_rate)


def _check_whole(what: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise MobileNetsError(f"{what} must be a whole number of at least 1, got {value!r}")


def _check_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise MobileNetsError(f"{what} must be one of {', '.join(choices)}, got {value!r}")
