"""How a command ends: the exit status, and what is said of a limit that is missed."""

from __future__ import annotations

import sys
import time
from typing import Any

import typer

from mobilenets.cli.show import show_json

# What a command's minutes count from.
STARTED = time.monotonic()
NO_FIT, MISSED = 2, 3


def show_adapted(record: dict[str, Any], *, json: bool) -> None:
    """Print the record of an adaptation, and end as it ended."""
    from mobilenets.cli import adapting

    show_json(record) if json else adapting.show(record)
    ended(record)


def ended(record: dict[str, Any]) -> None:
    """With 3 where the artifact misses a limit or was not verified."""
    if not (record["verified"] and record["within_budget"]):
        print("; ".join(record["complaints"]), file=sys.stderr)
        raise typer.Exit(MISSED)
