"""What `fit` ends with, and its outcome in a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.archs.budget import describe
from mobilenets.choosing.halving import RACING, hurried
from mobilenets.tasks import figure
from mobilenets.text import counted


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what `mobilenets fit --json` prints."""

    folder: Path
    summary: dict[str, Any]

    @property
    def artefact(self) -> Path:
        return Path(self.summary["artefact"])

    @property
    def accepted(self) -> bool:
        """Whether the artefact was verified and meets every limit."""
        return bool(self.summary["verified"] and self.summary["within_budget"])

    def verdict(self) -> str:
        """The outcome in a few lines."""
        summary = self.summary
        latency = summary["latency"]
        title, ours = figure(summary, "_artefact")
        _, theirs = figure(summary, "_checkpoint")
        return "\n".join(
            [
                f"network   {summary['chosen']['full_name']}",
                *self._short_of_time(),
                f"verified  {_yes(summary['verified'])}: {title} {ours} (checkpoint {theirs})",
                f"budget    {_yes(summary['within_budget'])}: p50 {latency['p50_ms']:.3f} ms on "
                f"{counted(latency['threads'], 'thread')}{_in_int8(latency)}, "
                f"{describe('macs', summary['macs'])} MACs, "
                f"{describe('params', summary['params'])} parameters, "
                f"{describe('size_bytes', summary['size_bytes'])}",
                f"artefact  {summary['artefact']}",
                f"report    {summary['report']}",
            ]
        )

    def _short_of_time(self) -> list[str]:
        """What more minutes would change, where the network best expected is another, or was hardly
        trained."""
        summary, raced = self.summary, [lap["name"] for lap in self.summary["race"]]
        if raced and raced[0] != summary["chosen"]["full_name"]:
            return [
                f"race      the best of {counted(len(set(raced)), 'network')} in so little time; "
                f"with more --minutes perhaps {raced[0]}"
            ]
        trained, whole = summary["epochs"], summary["recipe_epochs"]
        if raced or not hurried(trained, whole):
            return []
        return [
            f"trained   {trained:g} of the recipe's {whole} epochs: give more --minutes, or "
            f"--race {RACING}, which tries cheaper networks too"
        ]


def _in_int8(latency: dict[str, Any]) -> str:
    return " in 8-bit integers" if latency["precision"] == "int8" else ""


def _yes(value: bool) -> str:
    return "yes" if value else "NO"
