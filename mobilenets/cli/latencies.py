"""What `mobilenets latency` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilenets.cli.show import show_json, show_table
from mobilenets.measuring import Latency, compare
from mobilenets.text import counted

# The keys of the JSON stay what they were; these are their titles.
_TITLES = {"waited": "co-tenant", "slowed": "disturbed"}


def show(found: Sequence[tuple[str, Latency]], *, compared: bool, json: bool) -> None:
    """One record for each target and runtime; in JSON a single one stands alone."""
    records = [{"target": name} | latency.to_json() for name, latency in found]
    if compared:
        ratios = compare([latency for _, latency in found])
        records = [one | {"ratio": ratio} for one, ratio in zip(records, ratios, strict=True)]
    if json:
        return show_json(records[0] if len(records) == 1 else records)
    if len(records) == 1:
        (record,) = records
        return show_table(["", record.pop("target")], [list(pair) for pair in record.items()])
    return _show_many(records)


def _show_many(records: list[dict[str, Any]]) -> None:
    keys = ["target", "runtime", "p50_ms", "p90_ms", "min_ms", "spread", "waited", "slowed"]
    keys += ["noisy", "runs"]
    if "ratio" in records[0]:
        keys.insert(3, "ratio")
    if {one["precision"] for one in records} != {"fp32"}:
        keys.insert(2, "precision")
    header = [_TITLES.get(key, key) for key in keys]
    show_table(header, [[record[key] for key in keys] for record in records])
    first = records[0]
    print(f"\n{counted(first['threads'], 'thread')}, batch 1, {first['device']}")
