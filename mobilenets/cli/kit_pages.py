"""What `mobilenets kit` and `device import` print."""

from __future__ import annotations

from typing import Any

from mobilenets.archs.budget import describe
from mobilenets.cli import tables
from mobilenets.measuring.machine import described
from mobilenets.text import counted


def show_kit(record: dict[str, Any]) -> None:
    """What is in it, and what to do with it."""
    print(
        f"{record['out']}: {counted(record['blocks'], 'block')} and "
        f"{counted(record['networks'], 'network')} for {record['runtime']} on "
        f"{counted(record['threads'], 'thread')}, {describe('size_bytes', record['size_bytes'])}"
    )
    print(f"next: copy it to the device and run there: sh run.sh ({record['out']}/README)")
    print("then: mobilenets device import results.json --as NAME")


def show_imported(record: dict[str, Any]) -> None:
    """The device, and its table's error."""
    print(
        f"{record['name']}: {described(record['machine'])}, {record['runtime']} "
        f"{record['runtime_version']}"
    )
    table = record["table"]
    if table is None:
        print("no latency table: too few networks were measured; choose knows those that were")
    else:
        tables.show(table)
        if table["noisy"]:
            print(
                f"{table['noisy']:,} of them and of the networks were measured only while other "
                "work disturbed the device: sh run.sh there repeats these; import again"
            )
    if record["kind"] == "browser":
        print("this is the browser's speed, not that of the device's own programs")
