"""Recipes: functions returning a `Recipe`, each with its command, what it takes and what came out.

The papers' recipes give the numbers of the paper, or of its released code where the paper has none,
each named. They were written for ImageNet and hundreds of epochs on many machines; with a limit of
epochs or minutes the same schedule is run through in less time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mobilenets.data import Augment, Images
from mobilenets.errors import MobileNetsError
from mobilenets.train.recipe import Decay, Recipe, RMSprop

# With trained weights, fewer training images a class than this are few.
_FEW = 40
# Images of so many pixels at most are cut to what they show.
_SMALL = 32
# ImageNet's random resized crops, as in "Inception preprocessing".
_INCEPTION_CROPS = (0.08, 1.0)


def from_scratch(*, flip: bool = True) -> Recipe:
    """Random weights: AdamW, cosine, label smoothing, random resized crops.

    `flip` says whether a mirrored image means the same. The crops are milder than ImageNet's 0.08
    to 1: a network this small, trained this briefly, underfits.

        mobilenets train mobilenet_v3_small photos/

    Hours: a quarter, unless limited otherwise. Result: what `fit` uses for images of more than 32
    pixels; not run at full scale here.
    """
    return Recipe(
        name="from_scratch",
        epochs=60,
        minutes=15,
        learning_rate=4e-3,
        weight_decay=0.05,
        augment=Augment(scale=(0.6, 1.0), flip=flip),
    )


def small_images(*, flip: bool = True) -> Recipe:
    """`from_scratch` for images of at most 32 pixels, which are cut to what they show: crops keep
    four fifths of them.

    On Fashion-MNIST (V3-Large 0.35 at 28 pixels, output stride 16, six epochs, seed 0) the loss on
    training images left out is 0.320, with `from_scratch`'s crops 0.337.

        mobilenets train mobilenet_v3_large_0.35_28_os8 fashion-mnist --minutes 48

    Hours: a quarter, unless limited otherwise. Result: 93.76 % in 46 minutes on two cores
    (`benchmarks/results`).
    """
    crops = Augment(scale=(0.8, 1.0), ratio=(0.9, 1 / 0.9), flip=flip)
    return replace(from_scratch(flip=flip), name="small_images", augment=crops)


def fine_tune(*, flip: bool = True) -> Recipe:
    """Trained weights with a new classifier: the classifier alone first, then all, the earlier the
    row the slower; batch norm's statistics left alone where batches are small.

        mobilenets train mobilenet_v2 photos/ --weights timm

    Hours: a quarter, unless limited otherwise. Result: 70.1 and 89.6 % on two pairs of classes of
    Fashion-MNIST with 20 images each, after eight other classes; from scratch 55.7 and 84.7 % (five
    seeds, `benchmarks/results`).
    """
    return Recipe(
        name="fine_tune",
        epochs=20,
        minutes=15,
        learning_rate=1e-3,
        weight_decay=0.01,
        patience=8,
        augment=Augment(scale=(0.6, 1.0), flip=flip),
        head=0.15,
        layer_decay=0.85,
        batch_norm="auto",
    )


def few_images(*, flip: bool = True) -> Recipe:
    """Trained weights, some ten images a class: `fine_tune` with statistics of batch norm as they
    came, stronger dropout, averaged weights, and all its epochs. The classifier is trained until it
    fits before the body moves. On EfficientNet-Lite0's features of 176 photographs at 112 pixels
    its held-out top-1 is 79.6 % after 120 steps, 81.3 % after 400 (six times four folds of training
    images).

    The body must move: at 0.7 times the rate a row (now 0.85) it was 2 and 8 points worse on two
    pairs of Fashion-MNIST's classes (docs/log.md).

        mobilenets train mobilenet_v3_small photos/ --weights torchvision --recipe few_images

    Hours: minutes. Result: not run at full scale here.
    """
    return Recipe(
        name="few_images",
        epochs=60,
        minutes=15,
        learning_rate=1e-3,
        weight_decay=0.05,
        patience=60,
        dropout=0.4,
        ema=0.999,
        augment=Augment(scale=(0.6, 1.0), flip=flip),
        head=0.4,
        layer_decay=0.85,
        batch_norm="frozen",
    )


def modern(*, flip: bool = True) -> Recipe:
    """What took torchvision's MobileNetV2 from 71.9 to 72.2 % and its V3-Large from 74.0 to 75.3 %
    (pytorch/vision#5560): TrivialAugment, mixup 0.2, cutmix 1, label smoothing 0.1, cosine with
    five epochs of warm-up out of 600, averaged weights, no decay on batch norm.

    Theirs is plain gradient descent; here AdamW. The average's decay follows the run's length. For
    long runs: in short ones so much variation costs more than it gives.

        mobilenets train mobilenet_v3_large imagenet/ --recipe modern

    Hours: not known here (torchvision: 600 epochs on 8 GPUs). Result: not run at full scale here.
    """
    return Recipe(
        name="modern",
        epochs=600,
        minutes=None,
        learning_rate=4e-3,
        weight_decay=0.05,
        warmup=5 / 600,
        patience=600,
        augment=Augment(scale=(0.35, 1.0), flip=flip, colour=0),
        trivial_augment=True,
        mixup=0.2,
        cutmix=1.0,
        ema=0.9999,
    )


def paper_v1(*, flip: bool = True) -> Recipe:
    """MobileNets (arXiv:1704.04861, section 3.2): RMSprop, as Inception V3; no label smoothing, few
    distortions, "very little or no weight decay on the depthwise filters".

    The paper gives no numbers. Those here are of TF-slim: rate 0.045 times 0.94 every 2.5 epochs,
    batches of 64 (mobilenet_v1_train.py), RMSprop's 0.9, 0.9 and epsilon 1 (train_image_classifier
    .py's defaults), weight decay 4e-5, batch norm's decay 0.9997, dropout 0.001 (mobilenet_v1.py).
    The average 0.9999 and the 100 epochs are Inception V3's (arXiv:1512.00567, section 8).

        mobilenets train mobilenet_v1 imagenet/ --recipe paper_v1

    Hours: not known here. Result: not run at full scale here; the paper's is 70.6 % on ImageNet.
    """
    return Recipe(
        name="paper_v1",
        epochs=100,
        minutes=None,
        learning_rate=0.045,
        weight_decay=4e-5,
        batch_size=64,
        label_smoothing=0.0,
        warmup=0.0,
        patience=100,
        bn_momentum=0.0003,
        dropout=0.001,
        augment=Augment(scale=(0.35, 1.0), flip=flip, colour=0.1),
        rmsprop=RMSprop(decay=0.9, momentum=0.9, epsilon=1.0),
        decay=Decay(0.94, every=2.5, epochs=100),
        decay_depthwise=False,
        ema=0.9999,
    )


def paper_v2(*, flip: bool = True) -> Recipe:
    """MobileNetV2 (arXiv:1801.04381, section 6.1): RMSprop with decay and momentum 0.9, rate 0.045
    times 0.98 every epoch, weight decay 4e-5, batches of 96.

    TF-slim's README, for the 72.0 % of its checkpoint: label smoothing 0.1, average 0.9999, and 420
    epochs (700,000 steps on 8 GPUs of 96 images) with the rate times 0.98 every 2.5, which is taken
    here; mobilenet.py: dropout 0.2, batch norm's decay 0.997; epsilon 1 is train_image_classifier
    .py's default. The paper had 16 asynchronous workers.

        mobilenets train mobilenet_v2 imagenet/ --recipe paper_v2

    Hours: not known here. Result: not run at full scale here; the paper's is 72.0 % on ImageNet.
    """
    return Recipe(
        name="paper_v2",
        epochs=420,
        minutes=None,
        learning_rate=0.045,
        weight_decay=4e-5,
        batch_size=96,
        label_smoothing=0.1,
        warmup=0.0,
        patience=420,
        bn_momentum=0.003,
        dropout=0.2,
        augment=Augment(scale=_INCEPTION_CROPS, flip=flip),
        rmsprop=RMSprop(decay=0.9, momentum=0.9, epsilon=1.0),
        decay=Decay(0.98, every=2.5, epochs=420),
        decay_depthwise=False,
        ema=0.9999,
    )


def paper_v3(*, flip: bool = True) -> Recipe:
    """MobileNetV3 (arXiv:1905.02244, section 6.1.1): RMSprop with momentum 0.9, rate 0.1 for
    batches of 4096 (128 on each of 32 chips) times 0.99 every 3 epochs, dropout 0.2, weight decay
    1e-5, average 0.9999, batch norm's decay 0.99.

    TF-slim's README: RMSprop's decay 0.9, epsilon 0.002, 5 epochs of warm-up, label smoothing 0.1.
    Neither says how many epochs; 600 are torchvision's for its V3. Given for 128 images a batch,
    the rate lowered with it.

        mobilenets train mobilenet_v3_large imagenet/ --recipe paper_v3

    Hours: not known here. Result: not run at full scale here; the paper's are 75.2 % (Large) and
    67.4 % (Small) on ImageNet.
    """
    whole = Recipe(
        name="paper_v3",
        epochs=600,
        minutes=None,
        learning_rate=0.1,
        weight_decay=1e-5,
        batch_size=4096,
        label_smoothing=0.1,
        warmup=5 / 600,
        patience=600,
        bn_momentum=0.01,
        dropout=0.2,
        augment=Augment(scale=_INCEPTION_CROPS, flip=flip),
        rmsprop=RMSprop(decay=0.9, momentum=0.9, epsilon=0.002),
        decay=Decay(0.99, every=3, epochs=600),
        decay_depthwise=False,
        ema=0.9999,
    )
    return whole.with_batch(128)


def detector(*, flip: bool = True) -> Recipe:
    """SSDLite from random weights: `from_scratch` with SSD's crops around objects, images that
    shrink, and colours that turn (arXiv:1512.02325, section 2.2); averaged weights; no smoothing,
    as nine anchors of ten are background.

        mobilenets train mobilenet_v3_small boxes/ --recipe detector

    Hours: half of one, unless limited otherwise. Result: not run at full scale here.
    """
    return Recipe(
        name="detector",
        epochs=150,
        minutes=30,
        learning_rate=3e-3,
        weight_decay=0.05,
        batch_size=32,
        label_smoothing=0.0,
        patience=150,
        ema=0.999,
        augment=Augment(
            flip=flip, colour=0.3, saturation=0.3, hue_degrees=12, objects=True, zoom=2.0
        ),
    )


def detector_from_weights(*, flip: bool = True) -> Recipe:
    """`detector` whose backbone is trained already: the earlier the row the slower.

        mobilenets train mobilenet_v2 boxes/ --weights torchvision --recipe detector_from_weights

    Hours: half of one, unless limited otherwise. Result: not run at full scale here.
    """
    return replace(
        detector(flip=flip), name="detector_from_weights", learning_rate=2e-3, layer_decay=0.95
    )


RECIPES: dict[str, Callable[..., Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        from_scratch,
        small_images,
        fine_tune,
        few_images,
        modern,
        paper_v1,
        paper_v2,
        paper_v3,
        detector,
        detector_from_weights,
    )
}


def recipe_without_weights(images: Images) -> Recipe:
    """What trains on these images from a random start where nobody says: `small_images` or
    `from_scratch`."""
    small = images.native_size <= _SMALL
    return (small_images if small else from_scratch)(flip=images.flip)


def recipe_with_weights(images: Images) -> Recipe:
    """What trains on these images from trained weights where nobody says: `few_images` or
    `fine_tune`."""
    few = len(images.train) < _FEW * len(images.task.labels)
    return (few_images if few else fine_tune)(flip=images.flip)


def get_recipe(name: str, *, flip: bool = True) -> Recipe:
    """The recipe of that name; raises `MobileNetsError` for one nobody knows."""
    word = name.strip().lower().replace("-", "_")
    if word not in RECIPES:
        raise MobileNetsError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[word](flip=flip)
