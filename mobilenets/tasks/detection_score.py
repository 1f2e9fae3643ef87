"""How good a detector's outputs are: COCO's figures and what they are worth."""

from __future__ import annotations

from typing import Any, NamedTuple

from mobilenets.tasks.task import percent
from mobilenets.text import counted


class DetectionScore(NamedTuple):
    """Of `images` images with `boxes` boxes to be found, in percent; None where there is no such
    box. `map` is the mean over the classes and over intersections over union from 0.50 to 0.95;
    `map_small`, `map_medium` and `map_large` are of boxes below 32 x 32 pixels, between, and from
    96 x 96, as if every image had 640 x 640 pixels (COCO's areas are of its own images' pixels).

    `precision` and `recall` are those of the detections above `threshold`, at an overlap of 0.5;
    `classes` has a record of each class. `learned` says whether the answers are better than the
    same answers given to other images, which come to `guessed` in the mean (None: not to be told).
    `interval` is the 95 % interval of few images.
    """

    map: float | None
    map_50: float | None
    map_75: float | None
    map_small: float | None
    map_medium: float | None
    map_large: float | None
    images: int
    boxes: int
    threshold: float
    precision: float | None
    recall: float | None
    classes: list[dict[str, Any]]
    learned: bool | None = None
    guessed: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def value(self) -> float | None:
        return self.map

    def figures(self) -> dict[str, float | None]:
        return {
            "map50_95": self.map,
            "map50": self.map_50,
            "map75": self.map_75,
            "map_small": self.map_small,
            "map_medium": self.map_medium,
            "map_large": self.map_large,
        }

    def details(self) -> dict[str, Any]:
        return {
            "boxes": self.boxes,
            "score_threshold": self.threshold,
            "precision": self.precision,
            "recall": self.recall,
            "classes": self.classes,
            "map50_95_interval": self.interval and list(self.interval),
            "shuffled_map50_95": self.guessed,
            "learned": self.learned,
            "warning": self._warning(),
            "spread": self._spread(),
        }

    def to_json(self) -> dict[str, Any]:
        return self.figures() | {"images": self.images} | self.details()

    def words(self) -> str:
        ends = self.interval
        told = f" (95 % interval {ends[0]:.1f} to {ends[1]:.1f} %)" if ends else ""
        figures = (
            f"mAP50-95 {percent(self.map)}{told}, mAP50 {percent(self.map_50)}, mAP75 "
            f"{percent(self.map_75)} of {counted(self.images, 'image')}"
        )
        return "\n".join(filter(None, [self._warning(), figures, self._spread()]))

    def _warning(self) -> str | None:
        if self.learned is not False:
            return None
        return (
            "trained, but no better than guessing: the detections of other images fit as well, as "
            f"far as {counted(self.images, 'image')} can tell"
        )

    def _spread(self) -> str | None:
        """What stands behind the mean."""
        if self.map is None:
            return None
        rated = [one for one in self.classes if one["average_precision"] is not None]
        worst = min(rated, key=lambda one: one["average_precision"])
        parts = [
            f"above a score of {self.threshold:.2f} precision {percent(self.precision)} and recall "
            f"{percent(self.recall)} of {self.boxes:,} boxes"
        ]
        if len(rated) > 1:
            parts.append(
                f"average precision of {worst['class']!r} {percent(worst['average_precision'])}, "
                "the worst"
            )
        if self.guessed is not None:
            parts.append(f"the detections of other images would give {percent(self.guessed)}")
        return "; ".join(parts)
