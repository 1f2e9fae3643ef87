"""What `mobilenets adapt` asks and prints."""

from __future__ import annotations

from typing import Any

from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.cli.show import show_table
from mobilenets.errors import MobileNetsError
from mobilenets.tasks import figure, figure_with_interval

_FIELD_OF = {option: field for field, option in LIMIT_NAMES.items()}


def screen(text: str) -> int | None:
    """--screen: a number, or None for "all"."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise MobileNetsError(f"--screen takes a number of proposals or all, got {text!r}")
    return int(text)


def show(record: dict[str, Any]) -> None:
    """The steps as a table, and the outcome."""
    unit = _FIELD_OF[record["priced_by"]]
    show_table(
        ["step", record["priced_by"], "accuracy", "proposals", "trained", "seconds", "chosen"],
        [
            [
                at, describe(unit, one["price"]), one["accuracy"], one["proposals"],
                one["trained"], one["seconds"], one["chosen"],
            ]
            for at, one in enumerate(record["steps"], start=1)
        ],
    )  # fmt: skip
    start = record["start"]
    title, before = figure(record, "_start")
    _, after = figure_with_interval(record, "_final")
    if record.get("warning"):
        print(f"\n{record['warning']}")
    print(
        f"\n{record['priced_by']}  {describe(unit, start['price'])} to "
        f"{describe(unit, record['price'])}, "
        f"{100 * record['price'] / start['price']:.1f} % of the starting network's\n"
        f"{title}  {before} to {after} on the validation images\n"
        f"{record['artifact']}"
    )
