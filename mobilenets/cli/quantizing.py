"""What `mobilenets quantize` prints."""

from __future__ import annotations

from typing import Any

from mobilenets.archs.budget import describe
from mobilenets.cli.show import show_table
from mobilenets.measuring.device import LOCAL, device_in
from mobilenets.tasks import figure, figure_with_interval


def show(record: dict[str, Any]) -> None:
    """Float and int8 side by side, and the outcome."""
    rows = [(part, record[part]) for part in ("fp32", "int8")]
    metric = record["metric"]
    show_table(
        ["", f"holdout {metric}", "loss", "p50 ms", "p90 ms", "file"],
        [
            [
                part, one[metric], one["loss"], one["latency"]["p50_ms"],
                one["latency"]["p90_ms"], describe("size_bytes", one["size_bytes"]),
            ]
            for part, one in rows
        ],
    )  # fmt: skip
    title, ours = figure_with_interval(record, "_artifact")
    _, theirs = figure(record, "_checkpoint")
    for sentence in filter(None, [record.get("warning"), record.get("unclear")]):
        print(sentence)
    print(
        f"\nkept      {record['kept']}: {record['why']}\n"
        f"ratio     int8 takes {record['ratio']:.2f} of the time of fp32{_there(record)}\n"
        f"verified  {'yes' if record['verified'] else 'NO'}: {title} {ours} on the validation "
        f"images (checkpoint {theirs})\n"
        f"artifact  {record['artifact']}"
    )


def _there(record: dict[str, Any]) -> str:
    name = device_in(record)
    return "" if name == LOCAL.name else f" on {name}"
