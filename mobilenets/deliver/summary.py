"""The outcome of a run in words: the first lines of the report, the card and `fit`'s output."""

from __future__ import annotations

from typing import Any

from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.archs.published import family_name
from mobilenets.deliver.present import Presenter
from mobilenets.measuring.device import LOCAL, device_in, place
from mobilenets.tasks import figure
from mobilenets.tasks.confidence import FEW
from mobilenets.text import counted


def summary(
    name: str, found: dict[str, Any], *, limit_ms: float | None, presenter: Presenter
) -> str:
    """What was found of the network `name` (`Arch.name`), in a few sentences: first of all, where
    it was not verified or learned nothing. `found` is a verdict's JSON, or what `fit` prints."""
    warning = found.get("warning")
    sentences = [
        ""
        if found["verified"]
        else "Not verified: the exported file gives other answers than the trained network.",
        f"{warning[0].upper()}{warning[1:]}." if warning else "",
        f"This {family_name(name)} answers in {_latency(found, limit_ms)} and "
        f"{presenter.says(found)}.",
        _few_images(found, presenter),
        _missed(found, limit_ms),
    ]
    return " ".join(filter(None, sentences))


def limit_text(limit: dict[str, Any]) -> str:
    """What is spent of one of the verdict's limits: "latency 0.8 ms of 1 ms"."""
    field = {option: field for field, option in LIMIT_NAMES.items()}[limit["limit"]]
    spent, allowed = describe(field, limit["spent"]), describe(field, limit["allowed"])
    return f"{limit['limit']} {spent} of {allowed}"


def _latency(found: dict[str, Any], limit_ms: float | None) -> str:
    """ "0.29 ms (limit 0.3 ms) on onnxruntime", or "... on pi, in onnxruntime"."""
    latency = found["latency"]
    if "predicted" in latency:
        return _predicted(latency, limit_ms)
    about = "about " if latency.get("noisy") else ""
    limit = "" if limit_ms is None else f" ({_limit(found, limit_ms)})"
    int8 = " in int8" if latency["precision"] == "int8" else ""
    p50 = describe("latency_ms", latency["p50_ms"])
    where = "on" if device_in(found) == LOCAL.name else f"on {device_in(found)}, in"
    return f"{about}{p50}{limit} {where} {latency['runtime']}{int8}"


def _predicted(latency: dict[str, Any], limit_ms: float | None) -> str:
    """ "0.29 ms (limit 0.3 ms), as its latency table predicts, on phone7"."""
    limit = "" if limit_ms is None else f"limit {describe('latency_ms', limit_ms)}, "
    return (
        f"{describe('latency_ms', latency['p50_ms'])} ({limit}predicted and not yet measured) on "
        f"{latency['runtime']} on {latency['predicted']}"
    )


def _limit(found: dict[str, Any], limit_ms: float) -> str:
    limit = describe("latency_ms", limit_ms)
    if found.get("undecided"):
        return f"limit {limit}: undecided, {place(device_in(found))} was too noisy"
    return f"over the limit of {limit}" if _is_late(found, limit_ms) else f"limit {limit}"


def _is_late(found: dict[str, Any], limit_ms: float | None) -> bool:
    return limit_ms is not None and found["latency"]["p50_ms"] > limit_ms


def _few_images(found: dict[str, Any], presenter: Presenter) -> str:
    """How little a metric of few images says."""
    ends = presenter.interval(found)
    if ends is None or found["images"] >= FEW:
        return ""
    return (
        f"With only {counted(found['images'], 'validation image')}, the 95 % interval of its "
        f"{figure(found, '_artifact')[0]} is {ends[0]:.0f} to {ends[1]:.0f} %."
    )


def _missed(found: dict[str, Any], limit_ms: float | None) -> str:
    """Which limits but the latency's it misses."""
    others = [
        limit_text(one)
        for one in found.get("limits", ())
        if not one["met"] and one["limit"] != LIMIT_NAMES["latency_ms"]
    ]
    if others:
        return f"It misses the budget: {', '.join(others)}."
    known = found["within_budget"] or found.get("undecided") or _is_late(found, limit_ms)
    return "" if known else "It misses the budget."
