"""What so many images can tell: intervals of percentages, and paired comparisons on them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import binomtest, mannwhitneyu

from mobilenets.text import counted

# Below so many images a percentage is printed with its interval.
FEW = 500
# A difference counts where chance alone gives it less often than this.
CHANCE = 0.05


def interval(percent: float, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a percentage of `count` images."""
    share = percent / 100
    middle = share + z**2 / (2 * count)
    half = z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 100 / (1 + z**2 / count)
    return scale * (middle - half), scale * (middle + half)


def interval_words(percent: float | None, count: int) -> str:
    """ " (95 % interval 26.4 to 54.4 %)" for a percentage of few images, else nothing."""
    if percent is None or not 0 < count < FEW:
        return ""
    low, high = interval(percent, count)
    return f" (95 % interval {low:.1f} to {high:.1f} %)"


@dataclass(frozen=True)
class Lost:
    """What one of two networks loses of a metric against the other on the same `images`: `points`
    as seen, `at_least` so many with 95 % confidence, and how it shows in `words`."""

    points: float
    at_least: float
    images: int
    words: str

    def is_beyond(self, allowed: float) -> bool:
        """Whether more than `allowed` points are lost, as far as the images can tell."""
        return self.points > allowed and self.at_least > allowed

    def is_unclear(self, allowed: float) -> bool:
        """Whether more seems to be lost, and the images are too few to tell."""
        return self.points > allowed >= self.at_least


def fewer_right(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Lost:
    """What is lost where `ours` and `theirs` say of each image (N,) whether it is right.

    The bound is exact for the images on which only one of the two is right, their number given
    (McNemar's test): one-sided, by Clopper and Pearson.
    """
    count, worse, better = len(ours), int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    differ = worse + better
    least = float(betaincinv(worse, better + 1, CHANCE)) if worse else 0.0
    fewer = worse - better
    return Lost(
        points=100 * fewer / max(count, 1),
        at_least=100 * differ * (2 * least - 1) / max(count, 1),
        images=count,
        words=f"{abs(fewer):,} {'fewer' if fewer >= 0 else 'more'} right of {count:,}",
    )


def lost_on_average(title: str, points: float, drawn: NDArray[np.float64], *, images: int) -> Lost:
    """What is lost of a metric of all images together, called `title`: `points` as seen, `drawn`
    where images are drawn with replacement (bootstrap), the same for both networks."""
    direction = "lower" if points >= 0 else "higher"
    return Lost(
        points=points,
        at_least=float(np.nanquantile(drawn, CHANCE)) if len(drawn) else 0.0,
        images=images,
        words=f"{title} {abs(points):.2f} points {direction} on {counted(images, 'image')}",
    )


def middle(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """The ends of 95 % of the values that are known; None for no values."""
    if not len(values):
        return None
    low, high = np.nanquantile(values, (0.025, 0.975))
    return float(low), float(high)


def by_chance(gained: int, lost: int) -> float:
    """How likely at least `gained` of so many differences are where both sides are as good: the
    exact McNemar test, one-sided."""
    if gained + lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost, alternative="greater").pvalue)


def resampled_precision(
    logits: NDArray[np.float32], labels: NDArray[np.float32], *, seed: int = 0
) -> NDArray[np.float64]:
    """Mean average precisions in percent (B,) of logits and labels (N, A), NaN where unknown, each
    on N images drawn from these with replacement (bootstrap). The same seed draws the same."""
    count = len(logits)
    draws = 1000 if count <= 2000 else 200
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    found = np.full((draws, logits.shape[1]), np.nan)
    for at in range(logits.shape[1]):
        known = np.flatnonzero(~np.isnan(labels[:, at]))
        order = known[np.argsort(-logits[known, at], kind="stable")]
        drawn = times[:, order]
        hits = drawn * labels[order, at]
        precision = hits.cumsum(axis=1) / np.maximum(drawn.cumsum(axis=1), 1)
        there = hits.sum(axis=1)
        np.divide((precision * hits).sum(axis=1), there, out=found[:, at], where=there > 0)
    some = ~np.isnan(found).all(axis=1)
    return 100 * np.nanmean(found[some], axis=1) if some.any() else np.zeros(0)


def chance_of_ranking(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> float | None:
    """How likely chance ranks those that have an attribute (1 in `labels`) as far above those that
    have not (0), by Mann and Whitney's test; None where there are none of either."""
    there, absent = logits[labels == 1], logits[labels == 0]
    if not len(there) or not len(absent):
        return None
    return float(mannwhitneyu(there, absent, alternative="greater").pvalue)
