"""What report, model card, usage and run folder show of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mobilenets.data import Images
from mobilenets.deliver.html_page import Share
from mobilenets.tasks import Arrays, Task, percent


class Presenter(Protocol):
    """Of one task. `verdict` and `predictions` are the records in the run's files of that name."""

    @property
    def in_verdict(self) -> Mapping[str, Any]:
        """The keys of a verdict that the task adds and the pages read, with their types."""

    @property
    def in_predictions(self) -> Mapping[str, Any]:
        """The keys of `predictions`, with their types."""

    @property
    def in_summary(self) -> tuple[str, ...]:
        """The keys of a verdict that `fit --json` prints."""

    @property
    def agreed_on(self) -> str:
        """Of what checkpoint and artifact say the same, before "100 validation images"."""

    @property
    def any_image(self) -> str:
        """The card's warning: what an image gets that is like none of the training images."""

    @property
    def prints(self) -> str:
        """Python that prints the answers in `logits`, an image's, with the metadata `about`."""

    @property
    def prints_found(self) -> str:
        """The arguments of `print` for `found`, a `Prediction`."""

    def predictions(self, outputs: Arrays, images: Images, task: Task) -> dict[str, Any]:
        """What to keep of an artifact's outputs for all validation images; `task` is its own."""

    def says(self, verdict: dict[str, Any]) -> str:
        """How good the artifact is, after "This MobileNetV3-Small"."""

    def weakest(self, verdict: dict[str, Any]) -> tuple[str, float, float] | None:
        """The label that is worst off, its percentage, and the mean over all labels; None where
        that is not known."""

    def interval(self, verdict: dict[str, Any]) -> Sequence[float] | None:
        """The ends of the metric's 95 % interval."""

    def how_sure(self, verdict: dict[str, Any], artifact: str) -> str:
        """Under the report's figures, in sentences that end with a space."""

    def figures(self, verdict: dict[str, Any]) -> list[tuple[str, str]]:
        """(figure, value) for the card, after the metric."""

    def sections(self, verdict: dict[str, Any], predictions: dict[str, Any]) -> list[str]:
        """The report's sections on the answers, as HTML."""


def interval_sentence(ends: Sequence[float] | None) -> str:
    """The ends of a metric's interval as a sentence that ends with a space; nothing for none."""
    return f"Its 95 % interval is {ends[0]:.1f} to {ends[1]:.1f} %. " if ends else ""


def interval_figure(ends: Sequence[float] | None) -> list[tuple[str, str]]:
    """The same for the card."""
    return [("its 95 % interval", f"{ends[0]:.1f} to {ends[1]:.1f} %")] if ends else []


def part(percentage: float | None) -> Share:
    """A table's cell with a bar as long as the percentage."""
    return Share(percent(percentage), (percentage or 0) / 100)


def sentences(verdict: dict[str, Any]) -> str:
    """The verdict's spread as a sentence that ends with a space; older verdicts have none."""
    spread = verdict.get("spread")
    return f"{spread[0].upper()}{spread[1:]}. " if spread else ""
