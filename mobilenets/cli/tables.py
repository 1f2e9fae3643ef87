"""What `mobilenets table` prints."""

from __future__ import annotations

from typing import Any

from mobilenets.text import counted


def show(record: dict[str, Any]) -> None:
    """The table's conditions and its error."""
    error = record["held_out"]
    print(
        f"{record['entries']:,} blocks measured in {record['build_s']:.0f} s: {record['runtime']} "
        f"{record['runtime_version']}, {counted(record['threads'], 'thread')}, {record['device']}"
    )
    print(
        f"error on {error['networks']} networks that did not build it: median "
        f"{error['median_error_pct']:.1f} %, worst {error['worst_error_pct']:.1f} %, Kendall rank "
        f"correlation {error['kendall_tau']:.3f}"
    )
