"""What a network is asked of an image: its targets, loss, figures and answers. One file a task."""

from mobilenets.tasks.geometry import Geometry as Geometry
from mobilenets.tasks.targets import Strata as Strata
from mobilenets.tasks.targets import Targets as Targets
from mobilenets.tasks.task import Answer as Answer
from mobilenets.tasks.task import Arrays as Arrays
from mobilenets.tasks.task import Outputs as Outputs
from mobilenets.tasks.task import Score as Score
from mobilenets.tasks.task import Task as Task
from mobilenets.tasks.task import joined as joined
from mobilenets.tasks.task import percent as percent
from mobilenets.tasks.tasks import TASKS as TASKS
from mobilenets.tasks.tasks import figure as figure
from mobilenets.tasks.tasks import figure_with_interval as figure_with_interval
from mobilenets.tasks.tasks import get_task as get_task
from mobilenets.tasks.tasks import task_in as task_in
