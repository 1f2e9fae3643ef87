"""Numbers in sentences."""

from __future__ import annotations


def counted(count: float, noun: str) -> str:
    """`count` of what `noun` names, whose plural ends in s: 1 thread, 2,000 images."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
