"""The width multiplier: how each kind of layer is scaled, by each library's rule.

"Width 0.75" means different networks in different libraries. `paper` is the default; the others
exist to load their weights. V3-Large at 0.75 has 3,993,528 parameters by the paper's rule, which
is the published 4.0M, and 3,377,576 by torchvision's.

| rule        | stem (2)         | expanded channels     | V3's 960 / 576 | last 1280 / 1024     |
|-------------|------------------|-----------------------|----------------|----------------------|
| paper       | x width          | follow scaled input   | x width        | never thinned (1)    |
| timm        | V3 < 0.75: fixed | follow scaled input   | x width        | as paper             |
| keras       | V3: fixed        | follow scaled input   | 6 x last block | never thinned        |
| torchvision | x width          | V3: x width alone     | 6 x last block | V3: x width          |

(1) V2's grows above width 1, V3's and V4's are fixed (V3 paper, Table 9).
(2) V4's is fixed below width 1 by any rule: its paper has no widths, timm has.
V2, V3 and V4 round channels to a multiple of 8; V1 truncates (timm and torchvision: rounds to 8).
"""

from __future__ import annotations

from typing import NamedTuple

from mobilenets.archs.op import make_divisible

RULES = ("paper", "torchvision", "timm", "keras")


class Place(NamedTuple):
    """Where a row stands: the channels it reads, as the table has them and scaled; whether it is
    the first, or the last before the head."""

    c_in: int
    c_in_scaled: int
    first: bool = False
    last: bool = False


class Width(NamedTuple):
    """A width multiplier, by a rule, for a network of a generation (the paper's number)."""

    factor: float
    rule: str
    generation: int

    def channels(self, channels: int) -> int:
        """Of a layer in the middle."""
        if self.generation > 1 or self.rule in ("timm", "torchvision"):
            return make_divisible(channels * self.factor)
        return max(int(channels * self.factor), 8 if self.rule == "paper" else 1)

    def block(self, channels: int) -> int:
        """A block's output, rounded to 8 in every generation."""
        return make_divisible(channels * self.factor)

    def expanded(self, channels: int, place: Place) -> int:
        """A block's expanded channels."""
        if self.generation == 3 and self.rule == "torchvision":
            return make_divisible(channels * self.factor)
        return make_divisible(place.c_in_scaled * channels / place.c_in)

    def stem(self, channels: int) -> int:
        """Of the first layer."""
        if self.generation == 4:
            return channels if self.factor < 1 else self.channels(channels)
        fixed = self.rule == "keras" or (self.rule == "timm" and self.factor < 0.75)
        return channels if self.generation == 3 and fixed else self.channels(channels)

    def last(self, channels: int, place: Place) -> int:
        """The full convolution before the head: V2's 1280, V3's 960 or 576."""
        if self.generation == 2:
            return max(channels, make_divisible(channels * self.factor))
        if self.generation == 3 and self.rule in ("keras", "torchvision"):
            return make_divisible(place.c_in_scaled * channels / place.c_in)
        return self.channels(channels)

    def dense(self, channels: int) -> int:
        """V3's layer after the pool, 1280 or 1024."""
        if self.rule == "torchvision" or (self.rule == "keras" and self.factor > 1):
            return make_divisible(channels * self.factor)
        return channels
