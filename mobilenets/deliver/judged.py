"""Does an artifact meet its budget? By its sessions, and by what else it spends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobilenets.archs.budget import LIMIT_NAMES, Use, describe
from mobilenets.measuring.device import LOCAL, subject
from mobilenets.measuring.latency import Latency, Predicted
from mobilenets.measuring.sessions import too_noisy


def not_yet_measured(verdict: Mapping[str, Any]) -> bool:
    """Whether a verdict.json waits for results of its device."""
    return "predicted" in verdict["latency"] and bool(verdict.get("undecided"))


@dataclass(frozen=True)
class Judged:
    """`sessions` are the artifact's latencies, the slowest last; none where its device cannot be
    reached, and it was not yet measured there: what is `predicted` then stands for them. To each
    comes `host_ms`, to make answers of what the graph gives."""

    sessions: tuple[Latency, ...]
    uses: tuple[Use, ...]
    predicted: Predicted | None = None
    device: str = LOCAL.name
    host_ms: float = 0.0

    @property
    def latency(self) -> Latency | Predicted:
        """Of the slowest session."""
        if self.sessions:
            return self.sessions[-1]
        assert self.predicted is not None
        return self.predicted

    @property
    def limit_ms(self) -> float:
        """Of the graph alone; infinite where the latency has none."""
        limits = (use.allowed for use in self.uses if use.limit == "latency_ms")
        return next(limits, math.inf) - self.host_ms

    @property
    def undecided(self) -> bool:
        """Whether the latency has a limit, and was not measured, or not well enough to decide."""
        if not self.sessions:
            return self.limit_ms < math.inf
        return too_noisy(self.sessions, self.limit_ms)

    @property
    def within_budget(self) -> bool:
        """Whether every limit is met: by an undecided latency none is."""
        return all(use.spent <= use.allowed for use in self.uses) and not self.undecided

    def complaints(self) -> list[str]:
        """What is wrong, a sentence each."""
        found = [
            f"{LIMIT_NAMES[use.limit]} is {describe(use.limit, use.spent)}, "
            f"{100 * (use.fraction - 1):.1f} % over the limit of {describe(use.limit, use.allowed)}"
            for use in self.uses
            if use.spent > use.allowed and not (self.undecided and use.limit == "latency_ms")
        ]
        return [*found, self._why_undecided()] if self.undecided else found

    def to_json(self) -> dict[str, Any]:
        """Their part of verdict.json."""
        return {
            "within_budget": self.within_budget,
            "undecided": self.undecided,
            "latency": self.latency.to_json(),
            **({"host_ms": self.host_ms} if self.host_ms else {}),
            "limits": [
                {**use._asdict(), "limit": LIMIT_NAMES[use.limit], "met": use.spent <= use.allowed}
                for use in self.uses
            ],
        }

    def _why_undecided(self) -> str:
        limit = describe("latency_ms", self.limit_ms)
        latency = self.latency
        if isinstance(latency, Predicted):
            return (
                f"not yet measured on {latency.name}: {describe('latency_ms', latency.p50_ms)} of "
                f"{limit} are predicted; run the kit in the run's folder there, and give its "
                "results to mobilenets verify"
            )
        return (
            f"{subject(self.device)} is too noisy to decide on the limit of {limit}: "
            f"{self._seen()} (spread {100 * latency.spread:.0f} %; co-tenant load took its cores "
            f"{100 * latency.waited:.0f} % and disturbed them {100 * latency.slowed:.0f} % of "
            "the time); run again when it is quiet"
        )

    def _seen(self) -> str:
        """The p50 of all sessions, in words."""
        ends = (self.sessions[0], self.sessions[-1])
        least, most = (describe("latency_ms", one.p50_ms) for one in ends)
        count = len(self.sessions)
        return most if count == 1 else f"{least} to {most} in {count} sessions"
