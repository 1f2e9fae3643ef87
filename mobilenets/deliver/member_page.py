"""One page: the networks of a NetAdapt run, step by step, beside the width multiplier's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.archs import at_width, expected_top1, from_json
from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.archs.published import WIDTHS
from mobilenets.deliver import html_page as page
from mobilenets.deliver import plots
from mobilenets.errors import FileError
from mobilenets.files import write_text
from mobilenets.prune import Price
from mobilenets.prune.members import Asked, records, run_price
from mobilenets.runs.layout import METRICS, TRAINED
from mobilenets.tasks import get_task
from mobilenets.text import counted
from mobilenets.train.job import Trained

_TITLE = "NetAdapt, step by step"


class Point(NamedTuple):
    """A network on the page: what it costs and its accuracy, percent of the held-out images."""

    name: str
    price: float
    accuracy: float


@dataclass(frozen=True)
class Family:
    """An adaptation's steps and what they are compared with.

    `limit` is what it was priced by. `widths` are the starting network's accuracy minus what the
    width multiplier costs on ImageNet, by the papers; `trained` are other runs.
    """

    folder: Path
    limit: str
    steps: tuple[dict[str, Any], ...]
    final: Point | None
    widths: tuple[Point, ...]
    trained: tuple[Point, ...]

    @property
    def members(self) -> list[Point]:
        return [
            Point(f"{step['index']}: {step['chosen']}", step["price"], step["accuracy"])
            for step in self.steps
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "priced_by": LIMIT_NAMES[self.limit],
            "members": [one._asdict() for one in self.members],
            "final": self.final and self.final._asdict(),
            "width_multiplier": [one._asdict() for one in self.widths],
            "trained": [one._asdict() for one in self.trained],
        }


def read_family(run: Path, others: Sequence[Path] = ()) -> Family:
    """The family in the folder of an `adapt` run, and other trained runs to draw beside it; raises
    `FileError` for a folder that holds none."""
    steps = records(run)
    if not steps:
        raise FileError(f"{run} is no run of `mobilenets adapt`; give the folder of one")
    price = run_price(run)
    finished = (run / TRAINED).exists() and (run / METRICS).exists()
    return Family(
        folder=run,
        limit=Asked.read(run).limit,
        steps=tuple(steps),
        final=_trained(run, price, steps[-1]["price"]) if finished else None,
        widths=_widths(steps[0], price) if price else (),
        trained=tuple(_trained(one, price, None) for one in others),
    )


def write_family(family: Family, path: Path) -> Path:
    """Write the page to `path`."""
    first, last = family.members[0], family.members[-1]
    name = LIMIT_NAMES[family.limit]
    body = [
        page.heading(
            _TITLE,
            f"{from_json(family.steps[0]['arch']).full_name} from "
            f"{describe(family.limit, first.price)} to {describe(family.limit, last.price)} "
            f"({name}) in {counted(len(family.steps) - 1, 'step')}",
        ),
        page.paragraph(
            "Each dot is the network of one NetAdapt step after its short training, with its "
            "accuracy on held-out images, a part of the training images. The width multiplier's "
            "line is expected, not measured: the starting network's accuracy minus what the papers "
            "lose by width on ImageNet."
        ),
        plots.family(family.limit, _series(family)),
        page.section("Steps", _table(family)),
        page.section(
            "Train, export and verify one of them",
            page.code(f"mobilenets adapt {family.folder} DATA --member NUMBER"),
        ),
    ]
    write_text(path, page.page(_TITLE, body))
    return path


def _series(family: Family) -> list[tuple[str, str, Sequence[Point]]]:
    """(label, how it is drawn, points) for each that there is."""
    final = (family.final,) if family.final else ()
    found = [
        ("NetAdapt", "line", family.members),
        ("NetAdapt, after the long training", "star", final),
        ("width multiplier, expected", "dashes", family.widths),
        ("trained without NetAdapt", "dots", family.trained),
    ]
    return [(label, how, points) for label, how, points in found if points]


def _table(family: Family) -> str:
    start, name = family.steps[0]["price"], LIMIT_NAMES[family.limit]
    rows = [
        [
            step["index"],
            describe(family.limit, step["price"]),
            page.Share(f"{100 * step['price'] / start:.1f} %", step["price"] / start),
            f"{step['accuracy']:.2f} %",
            f"{step['loss']:.4f}",
            f"{step['trained']} of {step['proposals']}",
            step["chosen"],
        ]
        for step in family.steps
    ]
    header = ["step", name, "of the first", "accuracy", "loss", "proposals trained", "chosen"]
    return page.table(header, rows, tight=True)


def _trained(run: Path, price: Price | None, known: float | None) -> Point:
    """A run's network at the epoch that was kept."""
    try:
        trained = Trained.read(run)
    except FileError as error:
        raise FileError(f"{run} is no run of `mobilenets train`: {error}; give others") from error
    checkpoint, kept = trained.checkpoint, trained.best
    spent = known if known is not None else price(checkpoint.arch) if price else None
    if spent is None:
        raise FileError(f"{run} cannot be priced without its device's table: mobilenets table")
    metric = get_task(checkpoint.task, checkpoint.labels).metric
    score = kept.get(f"holdout_{metric}")
    if score is None:
        raise FileError(f"{run / METRICS} has no column holdout_{metric}; give another run")
    return Point(run.resolve().name, spent, score)


def _widths(start: dict[str, Any], price: Price) -> tuple[Point, ...]:
    """The start's family at its width and below; none where no accuracy is published."""
    arch = from_json(start["arch"])
    expected = expected_top1(arch)
    if expected is None or arch.name not in WIDTHS:
        return ()
    found = []
    for hundredths in WIDTHS[arch.name]:
        one = at_width(arch, hundredths / 100)
        its = expected_top1(one)
        if its is not None and hundredths <= round(100 * arch.width):
            lost = expected.top1 - its.top1
            found.append(Point(f"width {one.width:g}", price(one), start["accuracy"] - lost))
    return tuple(found)
