"""Recipes: functions returning a `Recipe`. What each reached is in `benchmarks/`."""

from __future__ import annotations

from mobilenets.data import Augment
from mobilenets.train.recipe import Recipe


def from_scratch(*, flip: bool = True) -> Recipe:
    """Random weights: AdamW, cosine, label smoothing, random resized crops.

    `flip` says whether a mirrored image means the same. The crops are milder than ImageNet's 0.08
    to 1: a network this small, trained this briefly, underfits.
    """
    return Recipe(
        name="from_scratch",
        epochs=60,
        minutes=15,
        learning_rate=4e-3,
        weight_decay=0.05,
        augment=Augment(scale=(0.6, 1.0), flip=flip),
    )


def fine_tune(*, flip: bool = True) -> Recipe:
    """Trained weights with a new classifier: a tenth of the learning rate, shorter."""
    return Recipe(
        name="fine_tune",
        epochs=20,
        minutes=15,
        learning_rate=4e-4,
        weight_decay=0.01,
        patience=5,
        augment=Augment(scale=(0.6, 1.0), flip=flip),
    )


RECIPES = {"from_scratch": from_scratch, "fine_tune": fine_tune}
