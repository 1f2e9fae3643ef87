"""What `mobilenets choose` prints."""

from __future__ import annotations

from mobilenets.choosing.choice import Choice
from mobilenets.cli.show import show_table


def show(choice: Choice) -> None:
    """The measured candidates, best expected first, and the outcome."""
    header = ["network", "runtime", "expected top-1", "p50 ms", "MACs", "params", "file bytes"]
    rows = [
        [
            one.arch.full_name, str(one.engine), one.expected.top1,
            one.latency and one.latency.p50_ms, one.macs, one.params, one.file_bytes,
        ]
        for one in choice.shortlist()
    ]  # fmt: skip
    show_table(header, rows)
    chosen = choice.chosen
    print(f"\nchosen: {chosen.arch.full_name} in {chosen.engine}; {choice.binding_limit} binds")
