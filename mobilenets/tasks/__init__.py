"""What a network is asked of an image: its labels, loss, figures and answers. One file a task."""

from mobilenets.tasks.task import Answer as Answer
from mobilenets.tasks.task import Score as Score
from mobilenets.tasks.task import Task as Task
from mobilenets.tasks.task import percent as percent
from mobilenets.tasks.tasks import TASKS as TASKS
from mobilenets.tasks.tasks import figure as figure
from mobilenets.tasks.tasks import get_task as get_task
