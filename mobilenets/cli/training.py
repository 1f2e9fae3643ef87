"""What `mobilenets train` prints."""

from __future__ import annotations

from typing import Any

from mobilenets.deliver.advice import advice
from mobilenets.tasks import figure_with_interval
from mobilenets.text import counted


def show(record: dict[str, Any]) -> None:
    """How good the network is: first of all, where nothing was learned."""
    title, value = figure_with_interval(record)
    images = counted(record["images"], "validation image") if "images" in record else "validation"
    print(
        *filter(None, [record.get("warning")]),
        f"{title} {value} of {images}, from {record['start'] or 'random weights'}, after "
        f"{counted(record['epochs'], 'epoch')} "
        f"({record['images_per_second']:,.0f} images a second)",
        *filter(None, [record.get("spread")]),
        *(f"advice: {one}" for one in advice(record)),
        record["checkpoint"],
        sep="\n",
    )
