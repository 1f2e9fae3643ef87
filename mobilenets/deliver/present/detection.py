"""How detections are shown: average precision by class and size, precision by recall, what is taken
for what, and validation images with their boxes."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NotRequired, TypedDict, final

import numpy as np
from numpy.typing import NDArray
from torchvision.transforms.v2.functional import to_pil_image

from mobilenets.data import Images
from mobilenets.deliver import plots
from mobilenets.deliver.html_page import card, paragraph, section, subtitle, table
from mobilenets.deliver.pictures import PICTURES, Drawn, figure, gallery, url
from mobilenets.deliver.present.presenter import (
    interval_figure,
    interval_sentence,
    part,
    sentences,
)
from mobilenets.shapes import Count, Number, Percent
from mobilenets.tasks import Arrays, Task, percent, suppression
from mobilenets.tasks.average_precision import Found, matched
from mobilenets.tasks.boxes import CLASS, CORNERS, UNCOUNTED
from mobilenets.tasks.detection import ANSWERS, Detection, found_in
from mobilenets.tasks.suppression import overlaps

_HEAT_MAP = 30  # classes
_CURVES = 8  # classes whose precision is drawn by recall
_POINTS = 60
_SHOWN = 100  # in the card
_WORST, _RANDOM = 8, 8  # pictures
_SIDE = 320
_OVERLAP = 0.5
_NOTHING = "(nothing)"
_KINDS = {"right": "green", "confused": "pink", "false": "red", "missed": "orange"}


# Of one class; "class" is no name that a class could have.
_Class = TypedDict(
    "_Class",
    {
        "class": str,
        "average_precision": Percent | None,
        "average_precision_50": Percent | None,
        "boxes": Count,
    },
)


class _Drawn(TypedDict):
    corners: tuple[Number, Number, Number, Number]
    kind: str
    words: str


class _Example(TypedDict):
    """An image of `size` (width, height), and the boxes that were right, confused, false and
    missed."""

    name: str
    url: str
    size: tuple[Count, Count]
    boxes: list[_Drawn]


class _Curve(TypedDict):
    """Of one class: recalls and precisions, 0 to 1."""

    label: str
    points: list[tuple[Number, Number]]


def _program() -> str:
    """The one rule by which outputs become boxes, and a loop that prints them."""
    source = inspect.getsource(suppression)
    source = source[source.index("import numpy") :]
    return f"""{source}

answers = about.get("answers", {dict(ANSWERS)!r})
found = detections(
    boxes[0], scores[0], threshold=answers["score_threshold"], overlap=answers["iou_threshold"]
)
for (x1, y1, x2, y2), label, chance in zip(*found):  # in parts of the photo's width and height
    print(about["labels"][label], float(chance), float(x1), float(y1), float(x2), float(y2))"""


@final
class DetectionPresenter:
    """`predictions` holds the pictures: the images with most faults, and some drawn by the seed of
    the split."""

    in_verdict: ClassVar[Mapping[str, Any]] = {
        "map50_95_checkpoint": Percent | None, "map50_95_artifact": Percent | None,
        "map50_artifact": Percent | None, "map75_artifact": Percent | None,
        "map_small_artifact": Percent | None, "map_medium_artifact": Percent | None,
        "map_large_artifact": Percent | None, "boxes": Count, "score_threshold": Number,
        "precision": Percent | None, "recall": Percent | None, "classes": list[_Class],
        "map50_95_interval": NotRequired[list[Percent] | None],
    }  # fmt: skip
    in_predictions: ClassVar[Mapping[str, Any]] = {
        "confusion": list[list[Count]], "curves": list[_Curve], "worst": list[_Example],
        "random": list[_Example],
    }  # fmt: skip
    in_summary: ClassVar[tuple[str, ...]] = tuple(in_verdict)
    agreed_on: ClassVar[str] = "the boxes of "
    any_image: ClassVar[str] = (
        "Boxes may be found in any image, also in one that shows none of the classes"
    )
    prints_found: ClassVar[str] = "found.label, found.probability, found.box"

    @property
    def prints(self) -> str:
        return _program()

    def predictions(self, outputs: Arrays, images: Images, task: Task) -> dict[str, Any]:
        targets, labels = images.targets.take(images.val), images.task.labels
        assert isinstance(task, Detection)
        judged = [
            _Judged.of(found, rows)
            for found, rows in zip(task.printed(outputs), targets.values, strict=True)
        ]
        faults = np.array([one.faults for one in judged])
        worst = [int(at) for at in np.argsort(-faults, kind="stable")[:_WORST] if faults[at]]
        others = np.random.default_rng(images.seed).permutation(len(judged)).tolist()
        drawn = [at for at in others if at not in worst][:_RANDOM]
        return {
            "confusion": _confusion(judged, len(labels)).tolist(),
            "curves": _curves(outputs, targets.values, labels),
            "worst": [_example(images, judged, at) for at in worst],
            "random": [_example(images, judged, at) for at in drawn],
        }

    def says(self, verdict: dict[str, Any]) -> str:
        found, right = verdict["recall"], verdict["precision"]
        if found is None:
            return "was not scored: no validation image has a box"
        said = (
            f"finds {found:.0f} of 100 boxes, and {right or 0:.0f} of 100 that it finds are right"
        )
        weakest = self.weakest(verdict)
        if weakest is None:
            return said
        return f"{said}; its weakest class is {weakest[0]!r}, average precision {weakest[1]:.3g} %"

    def weakest(self, verdict: dict[str, Any]) -> tuple[str, float, float] | None:
        known = [
            (one["average_precision"], one["class"])
            for one in verdict["classes"]
            if one["average_precision"] is not None
        ]
        if len(known) < 2:
            return None
        value, label = min(known)
        return label, value, verdict["map50_95_artifact"]

    def interval(self, verdict: dict[str, Any]) -> Sequence[float] | None:
        return verdict.get("map50_95_interval")

    def how_sure(self, verdict: dict[str, Any], artifact: str) -> str:
        sure = interval_sentence(self.interval(verdict))
        return (
            "mAP50-95 is COCO's: the mean over the classes, and over overlaps (intersection over "
            f"union) of 0.50 to 0.95 from which a box is right. {sure}{sentences(verdict)}"
        )

    def figures(self, verdict: dict[str, Any]) -> list[tuple[str, str]]:
        return [
            *interval_figure(self.interval(verdict)),
            ("mAP50, artifact", percent(verdict["map50_artifact"])),
            ("mAP75, artifact", percent(verdict["map75_artifact"])),
            ("score threshold", f"{verdict['score_threshold']:.2f}"),
            ("precision, recall", f"{percent(verdict['precision'])}, {percent(verdict['recall'])}"),
            *(
                (f"average precision, {one['class']}", percent(one["average_precision"]))
                for one in verdict["classes"][:_SHOWN]
            ),
        ]

    def sections(self, verdict: dict[str, Any], predictions: dict[str, Any]) -> list[str]:
        labels = [one["class"] for one in verdict["classes"]]
        return [
            _precisions(verdict),
            section("Precision by recall", plots.precisions(predictions["curves"])),
            *_confused(labels, predictions["confusion"]),
            _examples(predictions),
        ]


# What is right, of one image and of all


@dataclass(frozen=True, eq=False)
class _Judged:
    """The detections of an image that would be printed, and its boxes `rows` (M, 6); `takes` (K,)
    says which of these each is on, -1 for none: the surest first, whatever its class, where they
    overlap by half."""

    found: Found
    rows: NDArray[np.float32]
    takes: NDArray[np.int64]

    @classmethod
    def of(cls, found: Found, rows: NDArray[np.float32]) -> _Judged:
        rows = rows[rows[:, CLASS] >= 0]
        shared, takes = overlaps(found[0], rows[:, CORNERS]), np.full(len(found[0]), -1)
        for at in range(len(takes) if len(rows) else 0):
            best = int(shared[at].argmax())
            if shared[at, best] >= _OVERLAP:
                takes[at] = best
                shared[:, best] = 0
        return cls(found, rows, takes)

    @property
    def kinds(self) -> list[str | None]:
        """What each detection is; None on a box that does not count."""
        return [self._kind(*one) for one in zip(self.takes, self.found[1], strict=True)]

    def _kind(self, takes: int, label: int) -> str | None:
        if takes < 0:
            return "false"
        row = self.rows[takes]
        if row[UNCOUNTED]:
            return None
        return "right" if row[CLASS] == label else "confused"

    @property
    def missed(self) -> NDArray[np.int64]:
        """The boxes that no detection is on."""
        free = np.setdiff1d(np.arange(len(self.rows)), self.takes)
        return free[self.rows[free, UNCOUNTED] == 0]

    @property
    def faults(self) -> int:
        return len(self.missed) + sum(one in ("false", "confused") for one in self.kinds)


def _confusion(judged: Sequence[_Judged], classes: int) -> NDArray[np.int64]:
    """How often which class (row) is taken for which (column); the last is nothing."""
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for one in judged:
        for kind, takes, label in zip(one.kinds, one.takes, one.found[1], strict=True):
            if kind is not None:
                matrix[classes if takes < 0 else int(one.rows[takes, CLASS]), label] += 1
        for row in one.missed:
            matrix[int(one.rows[row, CLASS]), classes] += 1
    return matrix


def _curves(
    outputs: Arrays, boxes: NDArray[np.float32], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Of the classes with the most boxes: precision by recall at an overlap of 0.5."""
    of = matched(found_in(outputs), boxes, len(labels))
    wanted = of.boxes.sum(axis=0)
    most = [int(at) for at in np.argsort(-wanted, kind="stable")[:_CURVES] if wanted[at]]
    found = []
    for label in most:
        mine = (of.labels == label) & ~of.ignored[0]
        hits = of.hits[0, mine].cumsum()
        precision, recall = hits / np.arange(1, len(hits) + 1), hits / wanted[label]
        evenly = np.searchsorted(recall, np.linspace(0, recall.max(initial=0), _POINTS))
        points = np.unique(evenly[evenly < len(hits)])
        places = [(float(recall[at]), float(precision[at])) for at in points]
        found.append({"label": labels[label], "points": places})
    return found


def _example(images: Images, judged: Sequence[_Judged], at: int) -> dict[str, Any]:
    index, one = int(images.val[at]), judged[at]
    picture = to_pil_image(
        images.source.read(index, short_side=_SIDE, grey_range=images.grey_range)
    )
    picture.thumbnail((_SIDE, _SIDE))
    return {
        "name": images.source.name(index),
        "url": url(picture),
        "size": picture.size,
        "boxes": [*_found(one, images.task.labels), *_missed(one, images.task.labels)],
    }


def _found(one: _Judged, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    for corners, label, chance, kind in zip(*one.found, one.kinds, strict=True):
        if kind is not None:
            words = f"{labels[label]} {chance:.2f}"
            yield {"corners": corners.tolist(), "kind": kind, "words": words}


def _missed(one: _Judged, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row in one.rows[one.missed]:
        yield {"corners": row[CORNERS].tolist(), "kind": "missed", "words": labels[int(row[CLASS])]}


# The report's sections


def _precisions(verdict: dict[str, Any]) -> str:
    sizes = (("small", "up to 32 x 32"), ("medium", "up to 96 x 96"), ("large", "above 96 x 96"))
    cards = [("mAP50", "map50_artifact", "right from an overlap of 0.5")]
    cards += [(f"{name} boxes", f"map_{name}_artifact", f"{size} of 640 x 640 pixels")
              for name, size in sizes]  # fmt: skip
    rows = [
        [one["class"], part(one["average_precision"]), part(one["average_precision_50"]),
         one["boxes"]]
        for one in verdict["classes"]
    ]  # fmt: skip
    return section(
        "Average precision",
        f'<div class="cards">{"".join(_card(verdict, *one) for one in cards)}</div>',
        table(["class", "average precision", "at an overlap of 0.5", "boxes"], rows),
    )


def _card(verdict: dict[str, Any], name: str, key: str, meaning: str) -> str:
    return card(percent(verdict[key]), f"{name}: {meaning}")


def _confused(labels: list[str], matrix: list[list[int]]) -> list[str]:
    """None of many classes: the pictures show it."""
    if len(labels) >= _HEAT_MAP:
        return []
    note = paragraph(
        "Rows: the box's class. Columns: the class that is found there. The last row counts what "
        "is found where nothing is, the last column what is not found.",
        kind="note",
    )
    return [section("What is taken for what", note, plots.confusion([*labels, _NOTHING], matrix))]


def _examples(predictions: dict[str, Any]) -> str:
    note = paragraph(
        "Green: right. Red: nothing is there. Pink: another class is there. Orange, dashed: "
        "missed.",
        kind="note",
    )
    parts = [PICTURES, note]
    for key, title in (("worst", "Those with most faults"), ("random", "Others, drawn at random")):
        if predictions[key]:
            parts += [subtitle(title), gallery(map(_figure, predictions[key]))]
    return section("Validation images", *parts)


def _figure(one: dict[str, Any]) -> str:
    boxes = [
        Drawn(box["corners"], _KINDS[box["kind"]], box["words"], box["kind"] == "missed")
        for box in one["boxes"]
    ]
    told = Counter(box["kind"] for box in one["boxes"])
    caption = ", ".join(f"{told[kind]} {kind}" for kind in _KINDS if told[kind])
    return figure(one["name"], one["url"], tuple(one["size"]), boxes, caption=caption or "no box")
