"""What report, model card, usage and run folder show of a task. One file a task."""

from typing import Any

from mobilenets.deliver.present.attributes import AttributePresenter
from mobilenets.deliver.present.classification import ClassPresenter
from mobilenets.deliver.present.detection import DetectionPresenter
from mobilenets.deliver.present.presenter import Presenter as Presenter
from mobilenets.tasks import TASKS
from mobilenets.tasks.attributes import Attributes
from mobilenets.tasks.classification import Classification
from mobilenets.tasks.detection import Detection

# By the task's name: each of `mobilenets.tasks.TASKS` has one.
PRESENTERS: dict[str, Presenter] = {
    Classification.name: ClassPresenter(),
    Attributes.name: AttributePresenter(),
    Detection.name: DetectionPresenter(),
}


def presenter_of(record: dict[str, Any]) -> Presenter:
    """What shows the task whose metric an artifact's record has."""
    tasks = (name for name, task in TASKS.items() if f"{task.metric}_artifact" in record)
    return PRESENTERS[next(tasks)]
