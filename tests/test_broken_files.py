"""Files of our own that are broken, and what reads them: a sentence each, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import READ, VERBS, make_runs, no_children, trials

# Verbs that may train where a mutation makes them begin anew.
SLOW = {"fit again", "adapt", "quantize", "adapt again", "quantize again", "train again", "member"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("runs")
    with no_children():
        make_runs(folder)
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_mutated_file_ends_in_a_sentence_or_is_read(
    runs: Path, verb: str, pytestconfig: pytest.Config
):
    """A few of each verb's files; more with --full, and as many as one likes by `mutations`."""
    found: list[str] = []
    slow, quick = (8, 40) if pytestconfig.getoption("full") else (4, 12)

    ends = trials(runs, verb, range(slow if verb in SLOW else quick), done=found.append)

    assert found == []
    # A latency needs no more of a file's description than its precision.
    assert ends["sentence"] or verb == "latency"


def test_every_verb_is_given_files_that_it_reads():
    assert READ.keys() == VERBS.keys()
