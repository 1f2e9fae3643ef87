"""One step: what was proposed, what was chosen, and the network that came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Any, NamedTuple, TypedDict

from mobilenets.archs import Arch, to_json
from mobilenets.nn import Checkpoint
from mobilenets.shapes import AboveZero, Count, Number


class Considered(NamedTuple):
    """A network and its losses on the held-out images: cut only, and trained briefly (None: it
    was not)."""

    edit: str
    price: float
    screened: float | None
    loss: float | None


_Price = AboveZero


class _ConsideredRecord(TypedDict):
    edit: str
    price: Number
    screened: float | None
    loss: float | None


class StepRecord(TypedDict):
    """A line of steps.jsonl."""

    index: Count
    chosen: str
    proposals: Count
    trained: Count
    target: Number
    price: _Price
    loss: Number
    accuracy: Number
    seconds: Number
    uncut: _ConsideredRecord
    considered: list[_ConsideredRecord]
    arch: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Step:
    """A network of the family, `index` steps from the start, which is 0.

    `loss` and `accuracy` (percent) are on the held-out images. `target` is the price that every
    proposal had to meet; `proposals` of them met it, `trained` of them were trained briefly, and
    beside them the network that they were cut from, `uncut`.
    """

    index: int
    chosen: str
    proposals: int
    trained: int
    target: float
    price: float
    loss: float
    accuracy: float
    seconds: float
    uncut: Considered
    considered: tuple[Considered, ...]
    checkpoint: Checkpoint

    @property
    def arch(self) -> Arch:
        return self.checkpoint.arch

    def to_json(self) -> dict[str, Any]:
        """All but the weights."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        del plain["checkpoint"]
        considered = [one._asdict() for one in self.considered]
        uncut = self.uncut._asdict()
        return plain | {"uncut": uncut, "considered": considered, "arch": to_json(self.arch)}

    @classmethod
    def from_json(cls, record: dict[str, Any], checkpoint: Checkpoint) -> Step:
        """The inverse of `to_json`."""
        plain = {one.name: record[one.name] for one in fields(cls) if one.name in record}
        uncut, *considered = (
            Considered(**{name: one[name] for name in Considered._fields})
            for one in (record["uncut"], *record["considered"])
        )
        told = {"uncut": uncut, "considered": tuple(considered), "checkpoint": checkpoint}
        return cls(**plain | told)


def ranked(
    priced: Sequence[tuple[float, float]],
    *,
    price: float,
    loss: float,
    rule: str,
    budget: float = 0.0,
) -> list[int]:
    """The proposals, given as (price, loss), from the best on, by their place in `priced`.

    `price` and `loss` are the uncut network's, and all are cheaper. "paper" goes by the least
    loss. "v3" goes by loss gained per price saved; but of those that lose nothing that ratio would
    favour the least saving, so they come first and the largest saving counts. What is saved below
    the budget is no saving: nobody asked for it.
    """

    def v3(at: int) -> tuple[bool, float, float]:
        saved = price - max(priced[at][0], budget)
        gained = priced[at][1] - loss if priced[at][1] < inf else inf  # inf - inf is no number
        return gained > 0, gained / saved if gained > 0 else -saved, gained

    def paper(at: int) -> tuple[float, float]:
        return priced[at][1], priced[at][0]

    return sorted(range(len(priced)), key=v3 if rule == "v3" else paper)
