"""What `mobilenets export` prints."""

from __future__ import annotations

from typing import Any

from mobilenets.archs.budget import describe
from mobilenets.tasks import figure_with_interval
from mobilenets.text import counted


def show(record: dict[str, Any]) -> None:
    """A line for each file: what it is, and whether it gives the checkpoint's answers."""
    for one in record["files"]:
        print(f"{one['file']}: {_outcome(one)}")


def _outcome(one: dict[str, Any]) -> str:
    if "error" in one:
        return "not written"
    size = describe("size_bytes", one["size_bytes"])
    if not one["verified"]:
        return f"{size}, NOT verified: it does not give the checkpoint's answers"
    return f"{size}, verified: it gives the checkpoint's answers on {_images(one)}"


def _images(one: dict[str, Any]) -> str:
    if "random_images" in one:
        return counted(one["random_images"], "random image")
    title, value = figure_with_interval(one, "_artifact")
    unclear = f"; {one['unclear']}" if one.get("unclear") else ""
    return f"{counted(one['images'], 'validation image')}, {title} {value}{unclear}"
