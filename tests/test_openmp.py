"""The command's threads spin briefly, a measured process's as in a user's program."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mobilenets.processes.openmp import as_found, spin_briefly


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": "10000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
    ids=["unset", "spins set", "policy set"],
)
def test_threads_spin_briefly_unless_the_user_said_how_long(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: dict[str, str]
):
    monkeypatch.setattr(os, "environ", environment := dict(before))

    spin_briefly()

    assert environment == after
    assert as_found(environment) == before


PROGRAM = """
import os, sys
from mobilenets.processes.child import Child
from mobilenets.cli import main as command

sys.argv = ["mobilenets", "--version"]
assert "torch" not in sys.modules, "libgomp has read its environment by now"
try:
    command()
except SystemExit:
    pass
print(os.environ["GOMP_SPINCOUNT"])
with Child("tests.environment_child") as child:
    print(child.ask({"name": "GOMP_SPINCOUNT"}, timeout=60))
"""


def test_the_command_says_so_before_torch_is_loaded_and_not_to_what_it_measures():
    environment = {name: value for name, value in os.environ.items() if "GOMP" not in name}
    environment.pop("OMP_WAIT_POLICY", None)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[1:] == ["10000", "None"]
