"""What is true of every task, and that nobody else tells them apart."""

import ast
import re
from pathlib import Path

import pytest
import torch

import mobilenets
from mobilenets.archs import get_arch, with_lraspp, with_ssdlite
from mobilenets.data.loading import _READERS
from mobilenets.deliver.present import PRESENTERS
from mobilenets.errors import ArchError
from mobilenets.tasks import TASKS, Geometry, Task
from mobilenets.tasks.attributes import Attributes
from mobilenets.tasks.classification import Classification

PACKAGE = Path(mobilenets.__file__).parent
# Where the names of tasks and metrics belong: archs tells of published figures alone.
OWN = ("tasks", "deliver/present", "archs")
# Checkpoints of old name no task; the report's tables of layers have a column of feature maps; the
# shell completes the tasks' names without loading them.
MEANT = {
    ("nn/checkpoint.py", "classification"),
    ("deliver/architecture.py", "map"),
    ("cli/options.py", "classification"),
    ("cli/options.py", "attributes"),
    ("cli/options.py", "detection"),
}
WORDS = "|".join(word for task in TASKS.values() for word in (task.name, task.metric))


def told_apart(source: str) -> set[str]:
    """What decides by a task: literals that are its name, its metric or a key made of it, and looks
    at the shape of labels."""
    constants = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    literals = {node.value for node in constants if isinstance(node.value, str)}
    named = re.compile(rf"(?!.*imagenet_)(\w+_)?({WORDS})(_\w+)?")
    shape = r"\w*(?:label|target)s?(?:\.values)?(?:\[[^]]*\])?\.(?:ndim|dim\(\))"
    return {word for word in literals if named.fullmatch(word)} | set(re.findall(shape, source))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('if images.task == "attributes": pass', {"attributes"}),
        ('row["holdout_top1"]', {"holdout_top1"}),
        ('record["top1_start"]', {"top1_start"}),
        ("if labels.ndim == 1: pass", {"labels.ndim"}),
        ("if targets.values[at].ndim == 1: pass", {"targets.values[at].ndim"}),
        ('"expected_imagenet_top1"; weight.ndim; values.ndim; "the attributes of an image"', set()),
    ],
)
def test_what_tells_tasks_apart_is_found(source: str, found: set[str]):
    assert told_apart(source) == found


def test_tasks_are_told_apart_by_themselves_alone():
    modules = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    others = {name: path for name, path in modules.items() if not name.startswith(OWN)}

    found = {(name, word) for name, path in others.items() for word in told_apart(path.read_text())}

    assert len(others) > 100
    assert found == MEANT


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_read_and_shown(name: str):
    assert name in _READERS
    assert f"{TASKS[name].metric}_artifact" in PRESENTERS[name].in_verdict


def test_corners_of_a_box_follow_a_crop_and_a_mirror():
    """The right half of the image, mirrored: what was at its left edge is at the right."""
    right_half_mirrored = torch.tensor([[[-0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]])
    corners = torch.tensor([[[0.0, -1.0], [1.0, 0.5], [-1.0, 0.0]]])

    moved = Geometry(right_half_mirrored).points(corners)

    torch.testing.assert_close(moved, torch.tensor([[[1.0, -1.0], [-1.0, 0.5], [3.0, 0.0]]]))


@pytest.mark.parametrize("task", [Classification(("a", "b")), Attributes(("x", "y", "z"))])
def test_a_task_asks_for_a_logit_of_each_label(task: Task):
    network = get_arch("mobilenet_v3_small")

    assert task.network(network) == network.with_classes(len(task.labels))
    with pytest.raises(ArchError, match=r"gives logits and no logits an image; take a network"):
        task.network(with_lraspp(network))
    with pytest.raises(ArchError, match=r"gives boxes, scores and no logits an image"):
        task.network(with_ssdlite(network))
