"""The hand-written reference pages name what the code writes, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mobilenets.deliver.record import VerdictRecord
from mobilenets.description import Description
from mobilenets.measuring.latency import LatencyRecord
from mobilenets.prune.step import StepRecord
from mobilenets.runs import layout

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Code, where what looks like a link is none.
_CODE = re.compile(r"```.*?```|^    .*?$|`[^`]*`", re.DOTALL | re.MULTILINE)


def named_in(page: str) -> set[str]:
    """What stands in backticks in a page of the reference."""
    return set(re.findall(r"`([^`]+)`", (DOCS / "reference" / page).read_text(encoding="utf-8")))


def test_every_file_of_a_run_is_in_the_reference():
    files = {value for name, value in vars(layout).items() if name.isupper()}

    assert files - named_in("run-folder.md") == set()


@pytest.mark.parametrize("record", [VerdictRecord, LatencyRecord, StepRecord])
def test_every_key_of_a_record_is_in_the_reference(record: Any):
    assert set(record.__annotations__) - named_in("json.md") == set()


def test_every_key_of_the_metadata_is_in_the_reference():
    assert set(Description.__annotations__) - named_in("metadata.md") == set()


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_link_in_the_repository_leads_to_a_file(page: Path):
    links = re.findall(r"\]\(([^)#\s]+)", _CODE.sub("", page.read_text(encoding="utf-8")))
    here = [link for link in links if not link.startswith("https://")]

    assert [link for link in here if not (page.parent / link).exists()] == []
