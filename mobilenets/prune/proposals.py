"""Which cuts are proposed: of each family the largest network that meets the price."""

from __future__ import annotations

from dataclasses import dataclass

from mobilenets.archs import Arch, proposals
from mobilenets.archs.edits import Family
from mobilenets.prune.prices import Price

# Kinds of edits that cannot be made larger to meet a target.
WHOLE = ("kernel", "se", "row")


@dataclass(frozen=True)
class Proposal:
    """A network one edit away, what it costs, and the edit in words."""

    arch: Arch
    price: float
    words: str


def propose(arch: Arch, target: float, price: Price, kinds: tuple[str, ...]) -> list[Proposal]:
    """Of each family of `kinds` the largest network whose price is at most `target`, where there is
    one. What goes whole or not at all may save half as much: the choice weighs what is saved."""
    half = (price(arch) + target) / 2
    found = (
        _largest(family, half if family.kind in WHOLE else target, price)
        for family in proposals(arch, kinds=kinds)
    )
    return [one for one in found if one is not None]


def _largest(family: Family, target: float, price: Price) -> Proposal | None:
    """Walked from the largest on: a measured price need not fall with every channel."""
    for arch in family:
        spent = price(arch)
        if spent <= target:
            return Proposal(arch, spent, _words(family, arch))
    return None


def _words(family: Family, arch: Arch) -> str:
    rows = f"row{'s' if len(family.rows) > 1 else ''} {', '.join(map(str, family.rows))}"
    if family.kind == "row":
        return f"without {rows}"
    if family.kind == "se":
        return f"{rows} without squeeze-and-excite"
    before, after = family.size_in(family.arch), family.size_in(arch)
    return f"{family.kind} of {rows}: {before} to {after}"


def smallest(arch: Arch, price: Price, kinds: tuple[str, ...]) -> Arch:
    """The cheapest network that cutting greedily by `kinds` leads to. Widths first, as `proposals`
    lists them: a block whose expansion is at its least may keep its input from becoming as narrow.
    """
    while True:
        cheapest = (min(family, key=price) for family in proposals(arch, kinds=kinds))
        cheaper = next((one for one in cheapest if price(one) < price(arch)), None)
        if cheaper is None:
            return arch
        arch = cheaper
