"""What `mobilenets list --weights` prints."""

from __future__ import annotations

from mobilenets.archs.published_weights import PUBLISHED_WEIGHTS
from mobilenets.cli.show import show_json, show_table


def show(*, json: bool) -> None:
    """Every published checkpoint, with its publisher's accuracy and its file."""
    if json:
        return show_json([one.to_json() for one in PUBLISHED_WEIGHTS])
    header = ["weights", "network", "width", "pixels", "top-1 %", "file"]
    rows = [
        [one.name, one.network, one.width, one.resolution, one.top1, one.files[0].url]
        for one in PUBLISHED_WEIGHTS
    ]
    return show_table(header, rows)
