"""How classes are shown: confusion matrix, most confident mistakes, the interval of the top-1."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NotRequired, TypedDict, final

import numpy as np
from numpy.typing import NDArray
from torchvision.transforms.v2.functional import to_pil_image

from mobilenets.data import Images, Preprocess
from mobilenets.deliver import plots
from mobilenets.deliver.html_page import Share, paragraph, picture, section, subtitle, table
from mobilenets.deliver.present.presenter import sentences
from mobilenets.shapes import Count, Number, Percent
from mobilenets.tasks import Arrays, Task
from mobilenets.tasks.classification import softmax
from mobilenets.tasks.confidence import interval
from mobilenets.text import counted

_HEAT_MAP = 30  # classes; beyond, tables
_BESIDE = 12  # classes whose table has room beside the heat map
_PAIRS_SHOWN = 40
_SHOWN = 12
_SIDE = 96


class _Example(TypedDict):
    """An image, and what the network takes it for; `png` is a picture of it in base64."""

    name: str
    label: str
    predicted: str
    probability: Number
    png: str


@final
class ClassPresenter:
    """The confusion matrix (row: true class, column: predicted) and example pictures: the most
    confident mistakes, and some that are right, drawn by the seed of the split."""

    in_verdict: ClassVar[Mapping[str, Any]] = {
        "top1_checkpoint": Percent, "top1_artifact": Percent, "top5_artifact": Percent,
        "top1_interval": NotRequired[list[Percent]],
        "balanced_accuracy": NotRequired[Percent],
        "largest_class": NotRequired[str | None], "largest_share": NotRequired[Percent | None],
        "worst_class": NotRequired[str | None], "worst_recall": NotRequired[Percent | None],
    }  # fmt: skip
    in_predictions: ClassVar[Mapping[str, Any]] = {
        "classes": list[str], "confusion": list[list[Count]],
        "wrong": list[_Example], "right": list[_Example],
    }  # fmt: skip
    in_summary: ClassVar[tuple[str, ...]] = (
        "top1_checkpoint", "top1_artifact", "top1_interval", "balanced_accuracy", "largest_class",
        "largest_share", "worst_class", "worst_recall",
    )  # fmt: skip
    agreed_on: ClassVar[str] = ""
    any_image: ClassVar[str] = (
        "Every image gets one of the labels, also one that shows none of the classes"
    )
    prints: ClassVar[str] = """print(about["labels"][logits.argmax()])"""
    prints_found: ClassVar[str] = "found.label"

    def predictions(self, outputs: Arrays, images: Images, task: Task) -> dict[str, Any]:
        labels = images.targets.take(images.val).values
        chances = softmax(outputs["logits"])
        found = chances.argmax(axis=1)
        count = len(images.task.labels)
        matrix = np.bincount(labels * count + found, minlength=count**2).reshape(count, count)
        wrong = np.flatnonzero(found != labels)
        wrong = wrong[np.argsort(-chances[wrong, found[wrong]])][:_SHOWN]
        right = np.flatnonzero(found == labels)
        right = np.random.default_rng(images.seed).permutation(right)[:_SHOWN]
        return {
            "classes": list(images.task.labels),
            "confusion": matrix.tolist(),
            "wrong": [_predicted(images, chances, int(at)) for at in wrong],
            "right": [_predicted(images, chances, int(at)) for at in right],
        }

    def says(self, verdict: dict[str, Any]) -> str:
        said = f"is right {_times(verdict['top1_artifact'])} in 100"
        weakest = self.weakest(verdict)
        if weakest is None or weakest[1] == 100:
            return said
        return f"{said}; its weakest class is {weakest[0]!r}, {weakest[1]:.3g} %"

    def weakest(self, verdict: dict[str, Any]) -> tuple[str, float, float] | None:
        worst = verdict.get("worst_class")
        if worst is None:
            return None
        return worst, verdict["worst_recall"], verdict["balanced_accuracy"]

    def interval(self, verdict: dict[str, Any]) -> Sequence[float] | None:
        return interval(verdict["top1_artifact"], verdict["images"])

    def how_sure(self, verdict: dict[str, Any], artifact: str) -> str:
        low, high = interval(verdict["top1_artifact"], verdict["images"])
        return (
            f"The top-1 of {artifact} has a 95 % interval of {low:.1f} to {high:.1f} %; its "
            f"top-5 is {verdict['top5_artifact']:.2f} %. {sentences(verdict)}"
        )

    def figures(self, verdict: dict[str, Any]) -> list[tuple[str, str]]:
        low, high = interval(verdict["top1_artifact"], verdict["images"])
        return [
            ("its 95 % interval", f"{low:.1f} to {high:.1f} %"),
            ("top-5, artifact", f"{verdict['top5_artifact']:.2f} %"),
            *_shares(verdict),
        ]

    def sections(self, verdict: dict[str, Any], predictions: dict[str, Any]) -> list[str]:
        return [_confusion(predictions), _examples(predictions)]


def _times(percent: float) -> str:
    """ "91 times"; 100 only where nothing was wrong."""
    if 99.5 <= percent < 100:
        return "more than 99 times"
    return counted(round(percent), "time")


def _shares(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    """What stands behind the top-1; older verdicts do not tell."""
    if verdict.get("largest_class") is None:
        return []
    return [
        ("balanced accuracy, artifact", f"{verdict['balanced_accuracy']:.2f} %"),
        ("largest class", f"{verdict['largest_class']}, {verdict['largest_share']:.1f} %"),
        ("worst recall", f"{verdict['worst_class']}, {verdict['worst_recall']:.1f} %"),
    ]


def _predicted(images: Images, chances: NDArray[np.float32], at: int) -> dict[str, Any]:
    index = int(images.val[at])
    found = int(chances[at].argmax())
    return {
        "name": images.source.name(index),
        "label": images.task.labels[images.targets.values[index]],
        "predicted": images.task.labels[found],
        "probability": float(chances[at, found]),
        "png": _picture(images, index),
    }


def _picture(images: Images, index: int) -> str:
    """A square thumbnail as base64 PNG."""
    file = io.BytesIO()
    image = images.source.read(index, grey_range=images.grey_range)
    to_pil_image(Preprocess(_SIDE)(image)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _confusion(predictions: dict[str, Any]) -> str:
    classes, matrix = predictions["classes"], predictions["confusion"]
    title = "Confusion matrix"
    if len(classes) <= _HEAT_MAP:
        note = paragraph(
            "Rows: true class. Columns: predicted class. Cells count validation images; blue is "
            "right, red is wrong.",
            kind="note",
        )
        accuracy = table(
            ["class", "right", "of", "most confused with"], _per_class(classes, matrix)
        )
        kind = "sides" if len(classes) <= _BESIDE else ""
        sides = f'<div class="{kind}">{plots.confusion(classes, matrix)}{accuracy}</div>'
        return section(title, note, sides)
    worst = sorted(_per_class(classes, matrix), key=lambda row: row[1].part)[:_PAIRS_SHOWN]
    parts = [
        subtitle("Pairs most often confused"),
        table(["true class", "predicted", "images"], _pairs(classes, matrix)),
        subtitle("Classes with the lowest recall"),
        table(["class", "right", "of", "most confused with"], worst),
    ]
    return section(title, *parts)


def _per_class(classes: list[str], matrix: list[list[int]]) -> list[list[Any]]:
    """Of each class: its name, the share that is right, its images, what it is most taken for."""
    rows = []
    for at, (name, row) in enumerate(zip(classes, matrix, strict=True)):
        share = row[at] / max(sum(row), 1)
        mistakes = [(count, said) for said, count in enumerate(row) if said != at and count]
        most = max(mistakes, key=lambda mistake: mistake[0], default=None)
        taken = f"{classes[most[1]]} ({most[0]:,})" if most else ""
        rows.append([name, Share(f"{100 * share:.1f} %", share), sum(row), taken])
    return rows


def _pairs(classes: list[str], matrix: list[list[int]]) -> list[list[Any]]:
    """The mistakes made most often: the true class, the class said, how many images."""
    pairs: list[list[Any]] = [
        [classes[true], classes[said], count]
        for true, row in enumerate(matrix)
        for said, count in enumerate(row)
        if true != said and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_PAIRS_SHOWN]


def _examples(predictions: dict[str, Any]) -> str:
    parts = []
    for key, text in (("wrong", "Wrong, most confident first"), ("right", "Right, a random few")):
        figures = [_example(one) for one in predictions[key]]
        if figures:
            parts += [subtitle(text), f'<div class="gallery">{"".join(figures)}</div>']
    return section("Examples from the validation images", *parts)


def _example(one: dict[str, Any]) -> str:
    right = one["predicted"] == one["label"]
    chance = f"{100 * one['probability']:.0f}\N{NO-BREAK SPACE}%"
    said = f"{'' if right else 'predicted '}{one['predicted']}, {chance}"
    return picture(one["png"], one["name"], said, "" if right else f"is {one['label']}")
