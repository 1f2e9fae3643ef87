"""How a network is adapted: a frozen value, saved beside the result."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mobilenets.archs.checks import check_choice
from mobilenets.archs.edits import EDITS
from mobilenets.data import Images
from mobilenets.errors import MobileNetsError
from mobilenets.nn import Checkpoint
from mobilenets.nn.importance import IMPORTANCES
from mobilenets.train import RECIPES, Distill, Recipe, get_recipe, recipe_without_weights

RULES = ("v3", "paper")
# No step is smaller than this part of the price it starts from: 0.025 of the first network's, times
# 0.96 each time, would never add up to two thirds of it.
LEAST_STEP = 0.02


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides an adaptation but the start, the budget, the price and the images.

    `step` is the part of the start's price that the first step removes at least, `decay` its factor
    from step to step (papers: 0.025 and 0.96 in NetAdapt's code, 0.01 and 1 in arXiv:1905.02244,
    section 4.2). `kinds` are the edits proposed (`archs.edits.EDITS`; the paper's are expand and
    width), `importance` which filters stay. The best `screen` proposals are trained (None: all, the
    plain algorithm) for `short_steps` batches, at `short_rate` times the rate that the start was
    trained at. `rule` "v3" takes the least loss gained per price saved, "paper" the least loss.

    `distill` has the start network teach. `held_out` and `statistics` are how many images score a
    network, of the holdout, and estimate its batch norm, of the training images.
    """

    step: float = 0.025
    decay: float = 0.96
    kinds: tuple[str, ...] = ("expand", "width", "se", "row")
    importance: str = "l2"
    rule: str = "v3"
    screen: int | None = 4
    short_steps: int = 50
    short_rate: float = 0.25
    distill: bool = False
    seed: int = 0
    held_out: int = 1024
    statistics: int = 512

    def __post_init__(self) -> None:
        for kind in self.kinds:
            check_choice("kind of edit", kind, EDITS)
        check_choice("importance", self.importance, IMPORTANCES)
        check_choice("rule", self.rule, RULES)
        _check(bool(self.kinds), "kinds", f"one or more of {', '.join(EDITS)}", self.kinds)
        _check(
            0 < self.step < 1,
            "step",
            "a fraction of the starting price, between 0 and 1",
            self.step,
        )
        _check(0 < self.decay <= 1, "decay", "above 0 and at most 1", self.decay)
        _check(self.short_rate > 0, "short_rate", "a positive number", self.short_rate)
        for name in ("screen", "short_steps", "held_out", "statistics"):
            value = getattr(self, name)
            whole = value is None or (type(value) is int and value >= 1)
            _check(whole, name, "a whole number of at least 1", value)

    def reduction(self, index: int, *, start: float, now: float) -> float:
        """What step `index`, from 1 on, is to take off the price `now`; `start` is the first."""
        return max(start * self.step * self.decay ** (index - 1), LEAST_STEP * now)

    def recipe(self, start: Checkpoint, images: Images, *, short: bool = False) -> Recipe:
        """How weights that were cut are trained on, long or briefly: as the start was trained, all
        rows alike, from the first step on."""
        recipe = _recipe_of(start, images)
        return replace(
            recipe,
            minutes=None,
            learning_rate=recipe.learning_rate * (self.short_rate if short else 1),
            head=0.0,
            layer_decay=1.0,
            batch_norm="train",
            distill=Distill(share=0.5),
        )


_KEPT = ("batch_size", "learning_rate", "class_weights")


def _recipe_of(start: Checkpoint, images: Images) -> Recipe:
    """The recipe that trained the network, with its batches and rate, where the checkpoint names
    one."""
    was = start.training.get("recipe", {})
    if was.get("name") not in RECIPES:
        return recipe_without_weights(images)
    recipe = get_recipe(was["name"], flip=images.flip)
    kept = {name: was[name] for name in _KEPT if name in was}
    return replace(recipe, **kept)


def _check(fits: bool, what: str, must_be: str, value: object) -> None:
    if not fits:
        raise MobileNetsError(f"{what} must be {must_be}, got {value!r}")
