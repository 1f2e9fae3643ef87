"""What `mobilenets choose` prints."""

from __future__ import annotations

from mobilenets.archs.budget import describe
from mobilenets.choosing.candidate import Candidate
from mobilenets.choosing.choice import Choice
from mobilenets.cli.show import show_table


def show(choice: Choice) -> None:
    """The measured candidates, best expected first, and the outcome."""
    of = "mAP" if choice.chosen.prior is not None else "top-1"
    header = ["network", "runtime", f"expected {of}", "p50 ms", "MACs", "params", "file bytes"]
    rows = [
        [
            one.arch.full_name, str(one.engine), one.rank,
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
