"""How attributes are shown: a table of how well each is ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NotRequired, TypedDict, final

from mobilenets.data import Images
from mobilenets.deliver.html_page import paragraph, section, table
from mobilenets.deliver.present.presenter import (
    interval_figure,
    interval_sentence,
    part,
    sentences,
)
from mobilenets.shapes import Count, Percent
from mobilenets.tasks import Arrays, Task, percent
from mobilenets.text import counted

_SHOWN = 100  # in the card


class _Found(TypedDict):
    """Of one attribute."""

    attribute: str
    average_precision: Percent | None
    accuracy: Percent | None
    present: Count
    known: Count


@final
class AttributePresenter:
    """The verdict has it all: the average precision of each attribute."""

    in_verdict: ClassVar[Mapping[str, Any]] = {
        "map_checkpoint": Percent | None, "map_artifact": Percent | None,
        "attributes": list[_Found], "map_interval": NotRequired[list[Percent] | None],
    }  # fmt: skip
    in_predictions: ClassVar[Mapping[str, Any]] = {}
    in_summary: ClassVar[tuple[str, ...]] = tuple(in_verdict)
    agreed_on: ClassVar[str] = "the attributes of "
    any_image: ClassVar[str] = (
        "Every image gets a probability for each attribute, also one like no training image"
    )
    prints: ClassVar[str] = """for label, logit in zip(about["labels"], numpy.ravel(logits)):
    print(label, 1 / (1 + numpy.exp(-logit)))"""
    prints_found: ClassVar[str] = "found.label, found.probability"

    def predictions(self, outputs: Arrays, images: Images, task: Task) -> dict[str, Any]:
        return {}

    def says(self, verdict: dict[str, Any]) -> str:
        value, found = verdict["map_artifact"], verdict["attributes"]
        if value is None:
            return "was not scored: no validation image has a label"
        said = (
            f"ranks {counted(len(found), 'attribute')} with a mean average precision of "
            f"{value:.3g} %"
        )
        weakest = self.weakest(verdict)
        if weakest is None or weakest[1] == 100:
            return said
        return f"{said}; its weakest attribute is {weakest[0]!r}, {weakest[1]:.3g} %"

    def weakest(self, verdict: dict[str, Any]) -> tuple[str, float, float] | None:
        known = [
            (one["average_precision"], one["attribute"])
            for one in verdict["attributes"]
            if one["average_precision"] is not None
        ]
        value, label = min(known, default=(None, ""))
        return None if value is None else (label, value, verdict["map_artifact"])

    def interval(self, verdict: dict[str, Any]) -> Sequence[float] | None:
        return verdict.get("map_interval")

    def how_sure(self, verdict: dict[str, Any], artifact: str) -> str:
        sure = interval_sentence(self.interval(verdict))
        return (
            f"Mean average precision is the mean over the attributes that any image has. {sure}"
            f"{sentences(verdict)}"
        )

    def figures(self, verdict: dict[str, Any]) -> list[tuple[str, str]]:
        return interval_figure(self.interval(verdict)) + [
            (f"average precision, {one['attribute']}", percent(one["average_precision"]))
            for one in verdict["attributes"][:_SHOWN]
        ]

    def sections(self, verdict: dict[str, Any], predictions: dict[str, Any]) -> list[str]:
        return [_attributes(verdict["attributes"])]


def _attributes(found: list[dict[str, Any]]) -> str:
    """Of each attribute how well the artifact ranks the validation images by it, and how often it
    is right at a probability of one half."""
    rows = [
        [one["attribute"], part(one["average_precision"]), part(one["accuracy"]),
         one["present"], one["known"]]
        for one in found
    ]  # fmt: skip
    note = paragraph(
        "Average precision is 100 % where every image with the attribute is ranked before every "
        "image without it; by chance it is the share of images with it. Right: the probability is "
        "on the right side of one half.",
        kind="note",
    )
    header = ["attribute", "average precision", "right", "images with it", "images labelled"]
    return section("Each attribute", note, table(header, rows))
