"""What `fit` ends with, and its outcome in a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.archs.budget import describe
from mobilenets.choosing.halving import TRIALS, hurried
from mobilenets.deliver.advice import advice
from mobilenets.deliver.present import presenter_of
from mobilenets.deliver.summary import summary as summarize
from mobilenets.measuring.device import LOCAL, device_in
from mobilenets.runs.layout import kit_folder
from mobilenets.tasks import figure, figure_with_interval
from mobilenets.text import counted


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what `mobilenets fit --json` prints."""

    folder: Path
    summary: dict[str, Any]

    @property
    def artifact(self) -> Path:
        return Path(self.summary["artifact"])

    @property
    def accepted(self) -> bool:
        """Whether the artifact was verified and meets every limit."""
        return bool(self.summary["verified"] and self.summary["within_budget"])

    def verdict(self) -> str:
        """The outcome: in a few sentences, then line by line."""
        summary = self.summary
        latency = summary["latency"]
        lines = [
            self._outcome(),
            f"network   {summary['chosen']['full_name']}",
            *self._start(),
            *self._short_of_time(),
            *self._accuracy(),
            *(f"advice    {one}" for one in advice(summary)),
            f"verified  {self._verified()}",
            f"budget    {_met(summary)}: {_guess(latency)}p50 {latency['p50_ms']:.3f} ms"
            f"{_limit(summary)} on {counted(latency['threads'], 'thread')}{_in_int8(latency)}"
            f"{_there(summary)}{_host(summary)}, "
            f"{describe('macs', summary['macs'])} MACs, "
            f"{describe('params', summary['params'])} parameters, "
            f"{describe('size_bytes', summary['size_bytes'])}",
            f"artifact  {summary['artifact']}",
            f"report    {summary['report']}",
            *self._kit(),
        ]
        return "\n".join(lines)

    def _kit(self) -> list[str]:
        """What to do where the device is still to measure it."""
        device = self.summary["latency"].get("predicted")
        if device is None:
            return []
        return [
            f"kit       {kit_folder(self.folder)}: copy it to {device} and run there: sh run.sh",
            f"then      mobilenets verify {self.folder} --results results.json",
        ]

    def _outcome(self) -> str:
        """The summary in words."""
        found = self.summary
        limit_ms = found.get("budget", {}).get("latency_ms")
        name, presenter = found["chosen"]["name"], presenter_of(found)
        return summarize(name, found, limit_ms=limit_ms, presenter=presenter)

    def _start(self) -> list[str]:
        """What training started from; nothing of an older run, which does not say."""
        summary = self.summary
        return [f"start     {summary['start'] or 'random weights'}"] if "start" in summary else []

    def _accuracy(self) -> list[str]:
        """How good it is, and what stands behind that."""
        summary = self.summary
        title, ours = figure_with_interval(summary, "_artifact")
        images = counted(summary["images"], "validation image")
        found = [f"accuracy  {title} {ours} of {images}"]
        return [*found, f"          {summary['spread']}"] if summary.get("spread") else found

    def _verified(self) -> str:
        """What it says of the file, and no more."""
        summary = self.summary
        _, theirs = figure(summary, "_checkpoint")
        if not summary["verified"]:
            return f"NO: the exported file does not give the checkpoint's answers ({theirs})"
        if summary["latency"]["precision"] == "int8":
            unclear = summary.get("unclear") or "it loses no more than allowed"
            return f"yes: the exported file is as good as the checkpoint ({theirs}); {unclear}"
        return f"yes: the exported file gives the checkpoint's answers ({theirs})"

    def _short_of_time(self) -> list[str]:
        """What more minutes would change, where the network best expected is another, or was hardly
        trained."""
        summary, tried = self.summary, [trial["name"] for trial in self.summary["trials"]]
        if tried and tried[0] != summary["chosen"]["full_name"]:
            return [
                f"trials    the best of {counted(len(set(tried)), 'network')} in this time; with "
                f"more --minutes {tried[0]} may be better"
            ]
        trained, whole = summary["epochs"], summary["recipe_epochs"]
        if tried or not hurried(trained, whole):
            return []
        return [
            f"trained   {trained:g} of the recipe's {whole} epochs: give more --minutes, or "
            f"--trials {TRIALS}, which tries cheaper networks too"
        ]


def _guess(latency: dict[str, Any]) -> str:
    return "predicted " if "predicted" in latency else ""


def _in_int8(latency: dict[str, Any]) -> str:
    return " in int8" if latency["precision"] == "int8" else ""


def _there(summary: dict[str, Any]) -> str:
    """ " of pi", where it was measured on another device."""
    name = device_in(summary)
    return "" if name == LOCAL.name else f" of {name}"


def _host(summary: dict[str, Any]) -> str:
    """ " and 0.3 ms to pick boxes of its outputs", where answers take time."""
    spent = summary.get("host_ms")
    return f" and {describe('latency_ms', spent)} to make answers of its outputs" if spent else ""


def _met(summary: dict[str, Any]) -> str:
    if summary.get("undecided"):
        device = summary["latency"].get("predicted")
        return f"not yet measured on {device}" if device else "undecided"
    return "yes" if summary["within_budget"] else "NO"


def _limit(summary: dict[str, Any]) -> str:
    """ " of 0.3 ms", where the latency has a limit."""
    limit = summary.get("budget", {}).get("latency_ms")
    return f" of {describe('latency_ms', limit)}" if limit is not None else ""
