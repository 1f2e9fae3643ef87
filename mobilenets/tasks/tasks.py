"""Tasks by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobilenets.errors import FileError
from mobilenets.tasks.attributes import Attributes
from mobilenets.tasks.classification import Classification
from mobilenets.tasks.confidence import FEW
from mobilenets.tasks.detection import Detection
from mobilenets.tasks.task import Task, percent

_Kind = type[Classification] | type[Attributes] | type[Detection]
TASKS: dict[str, _Kind] = {
    Classification.name: Classification,
    Attributes.name: Attributes,
    Detection.name: Detection,
}


def get_task(name: str, labels: Sequence[str], answers: Mapping[str, float] | None = None) -> Task:
    """The task of that name, for outputs of these labels, which become answers by these numbers
    (None: the usual); raises `FileError` for one nobody knows, as only a file can name it."""
    if name not in TASKS:
        raise FileError(
            f"the file is for the task {name!r}, and this version knows {', '.join(TASKS)}; "
            "use a newer one"
        )
    task: Task = TASKS[name](tuple(labels))
    return task.with_answers(answers) if answers else task


def task_in(record: dict[str, Any], labels: Sequence[str]) -> Task:
    """The task that the record of a file names; the oldest files name none, and are of classes."""
    return get_task(record.get("task", Classification.name), labels, record.get("answers"))


# Which figures a record's interval is of.
_INTERVALS = ("", "_artifact", "_final")


def figure(record: dict[str, Any], of: str = "") -> tuple[str, str]:
    """The metric in the JSON of a run, in words: ("top-1", "93.50 %"); `of` follows its key."""
    task = _task_of(record, of)
    return task.title, percent(record[task.metric + of])


def figure_with_interval(record: dict[str, Any], of: str = "") -> tuple[str, str]:
    """`figure`, with its interval where it is of few images: "93.50 % (95 % interval 82.5 to
    97.8 %)"."""
    title, value = figure(record, of)
    ends = record.get(f"{_task_of(record, of).metric}_interval")
    if of not in _INTERVALS or not ends or record.get("images", FEW) >= FEW:
        return title, value
    return title, f"{value} (95 % interval {ends[0]:.1f} to {ends[1]:.1f} %)"


def _task_of(record: dict[str, Any], of: str) -> _Kind:
    return next(one for one in TASKS.values() if one.metric + of in record)
