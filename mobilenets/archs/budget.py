"""What may be spent, and whether a network fits in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any, NamedTuple

from mobilenets.errors import BudgetError

_COUNTS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}
_BYTES = {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_UNITS: dict[str, dict[str, float]] = {
    "latency_ms": {"ms": 1.0, "us": 1e-3, "s": 1e3},
    "macs": _COUNTS,
    "params": _COUNTS,
    "size_bytes": _BYTES,
    "memory_bytes": _BYTES,
}
_EXAMPLES = {
    "latency_ms": "5ms",
    "macs": "100M",
    "params": "2M",
    "size_bytes": "4MB",
    "memory_bytes": "1.5MB",
}
# No network has so few MACs or parameters: such a number lacks its unit.
_FEWEST = 10_000
_OF_BYTES = ((1e3, "MB"), (1e6, "kB"), (inf, "B"))
# The unit of a number below so much that lacks its own.
_SUITING: dict[str, tuple[tuple[float, str], ...]] = {
    "latency_ms": ((0.05, "s"), (1e3, "ms"), (inf, "us")),
    "macs": ((inf, "M"),),
    "params": ((inf, "M"),),
    "size_bytes": _OF_BYTES,
    "memory_bytes": _OF_BYTES,
}
# The limit's field in `Budget` -> the command's option.
LIMIT_NAMES = {
    "latency_ms": "latency",
    "macs": "macs",
    "params": "params",
    "size_bytes": "size",
    "memory_bytes": "memory",
}


class Use(NamedTuple):
    """How much of one limit a network uses."""

    limit: str
    spent: float
    allowed: float

    @property
    def fraction(self) -> float:
        return self.spent / self.allowed


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for one network; None does not limit. All must be met.

    Budget(latency_ms=5)                  # p50, batch 1, on the measured runtime and threads
    Budget(macs=100e6, params=2e6)        # by arithmetic
    Budget(size_bytes=4e6)                # the artifact's file
    Budget(memory_bytes=1.5e6)            # peak activations, fp32 (`mobilenets.cost`)
    """

    latency_ms: float | None = None
    macs: float | None = None
    params: float | None = None
    size_bytes: float | None = None
    memory_bytes: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if not isinstance(limit, int | float) or isinstance(limit, bool) or not 0 < limit < inf:
                raise BudgetError(f"{LIMIT_NAMES[name]} must be a positive number, got {limit!r}")

    @classmethod
    def parse(cls, **texts: str | None) -> Budget:
        """A budget from texts with units, by option name: `Budget.parse(latency="5ms")`."""
        field_of = {option: field for field, option in LIMIT_NAMES.items()}
        return cls(
            **{
                field_of[option]: _parse(field_of[option], text)
                for option, text in texts.items()
                if text is not None
            }
        )

    def limits(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: limit for name, limit in asdict(self).items() if limit is not None}

    def check_limited(self) -> None:
        """Raise `BudgetError` where nothing is limited."""
        if not self.limits():
            raise BudgetError("a budget needs a limit; give at least one, such as --latency 5ms")

    def uses(self, **spent: float) -> tuple[Use, ...]:
        """Each limit against what is spent on it; what is not given is not judged."""
        return tuple(
            Use(name, spent[name], limit) for name, limit in self.limits().items() if name in spent
        )

    def fits(self, **spent: float) -> bool:
        """Whether everything given is within its limit."""
        return all(use.spent <= use.allowed for use in self.uses(**spent))

    def for_graph(self, host_ms: float) -> Budget:
        """What the graph alone may take where `host_ms` go to what follows it. Raises `BudgetError`
        where nothing is left."""
        if self.latency_ms is None or not host_ms:
            return self
        if host_ms >= self.latency_ms:
            raise BudgetError(
                f"latency may be {describe('latency_ms', self.latency_ms)}, and making answers of "
                f"a network's outputs alone takes {describe('latency_ms', host_ms)}; raise "
                "--latency"
            )
        return replace(self, latency_ms=self.latency_ms - host_ms)

    def label(self) -> str:
        """The limits as a part of a file's name: latency1.5ms-params2M."""
        return "-".join(
            f"{LIMIT_NAMES[name]}{''.join(_scaled(name, limit, '{:g}'.format))}"
            for name, limit in self.limits().items()
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def describe(limit: str, value: float) -> str:
    """A limit or cost in a reader's units: 4.2 ms, 155 M, 3.9 MB."""
    return " ".join(_scaled(limit, value, _digits)).strip()


def _scaled(limit: str, value: float, digits: Callable[[float], str]) -> tuple[str, str]:
    """The number and its unit."""
    if limit == "latency_ms":
        return digits(value), "ms"
    unit = "B" if limit.endswith("_bytes") else ""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * factor:
            return digits(value / factor), f"{prefix}{unit}"
    return digits(value), unit


def _digits(value: float) -> str:
    """Three digits, never in powers of ten."""
    return f"{value:.0f}" if value >= 999.5 else f"{value:.3g}"


def _parse(limit: str, text: str) -> float:
    match = re.fullmatch(
        r"\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)\s*", text
    )
    units = _UNITS[limit]
    if match is None or match[2].lower() not in units:
        meant = _meant(limit, match) or f"write it as in {_EXAMPLES[limit]}"
        raise BudgetError(f"{_expected(limit)}, got {text!r}; {meant}")
    value = float(match[1]) * units[match[2].lower()]
    if not match[2] and 0 < value < _FEWEST:
        raise BudgetError(f"{_expected(limit)}, got {text!r}; {_meant(limit, match)}")
    return value


def _expected(limit: str) -> str:
    known = ", ".join(unit for unit in _UNITS[limit] if unit)
    return f"--{LIMIT_NAMES[limit]} takes a number with a unit ({known})"


def _meant(limit: str, match: re.Match[str] | None) -> str:
    """What a number without a unit was meant as: what suits a MobileNet."""
    if match is None or match[2]:
        return ""
    value, units = float(match[1]), _SUITING[limit]
    unit = next(unit for most, unit in units if value < most)
    return f"did you mean {match[1]}{unit}?"
