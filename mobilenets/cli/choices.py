"""What `mobilenets choose` prints."""

from __future__ import annotations

from mobilenets.archs.budget import describe
from mobilenets.choosing.candidate import Candidate
from mobilenets.choosing.choice import Choice
from mobilenets.cli.show import show_table


def show(choice: Choice) -> None:
    """The measured candidates, best expected first, and the outcome."""
    header = ["network", "runtime", "expected top-1", "p50 ms", "MACs", "params", "file bytes"]
    rows = [
        [
            one.arch.full_name, str(one.engine), one.expected.top1,
            _known_ms(one), one.macs, one.params, one.file_bytes,
        ]
        for one in choice.shortlist()
    ]  # fmt: skip
    show_table(header, rows)
    chosen = choice.chosen
    print(f"\nchosen: {chosen.arch.full_name} in {chosen.engine}; {choice.binding_limit} binds")
    if chosen.stated:
        print(f"latency: {describe('latency_ms', chosen.stated.ms)}, {chosen.stated.words()}")


def _known_ms(one: Candidate) -> float | None:
    return one.latency.p50_ms if one.latency else one.stated and one.stated.ms
