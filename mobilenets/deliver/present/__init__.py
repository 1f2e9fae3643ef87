"""What report, model card, usage and run folder show of a task. One file a task."""

from mobilenets.deliver.present.attributes import AttributePresenter
from mobilenets.deliver.present.classification import ClassPresenter
from mobilenets.deliver.present.presenter import Presenter as Presenter
from mobilenets.tasks.attributes import Attributes
from mobilenets.tasks.classification import Classification

# By the task's name: each of `mobilenets.tasks.TASKS` has one.
PRESENTERS: dict[str, Presenter] = {
    Classification.name: ClassPresenter(),
    Attributes.name: AttributePresenter(),
}
