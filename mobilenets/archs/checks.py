"""What fields of an architecture may hold; each raises `ArchError` with what, what we got."""

from __future__ import annotations

from math import inf

from mobilenets.errors import ArchError

ACTIVATIONS = ("relu", "relu6", "hswish")


def check_count(what: str, value: object) -> None:
    """A whole number of at least 1."""
    if type(value) is not int or value < 1:
        raise ArchError(f"{what} must be a whole number of at least 1, got {value!r}")


def check_number(what: str, value: object, *, above: float, below: float = inf) -> None:
    """A number between the two."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not above < value < below:  # type: ignore[operator]
        raise ArchError(f"{what} must be a number above {above} and below {below}, got {value!r}")


def check_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    """One of `choices`."""
    if value not in choices:
        raise ArchError(f"{what} must be one of {', '.join(choices)}, got {value!r}")


def check_flag(what: str, value: object) -> None:
    """True or False, and no number."""
    if type(value) is not bool:
        raise ArchError(f"{what} must be true or false, got {value!r}")


def check_kernel(what: str, value: object) -> None:
    """An odd number of pixels."""
    if type(value) is not int or value < 1 or value % 2 == 0:
        raise ArchError(f"{what} must be odd (1, 3, 5, ...), got {value!r}")


def check_stride(what: str, value: object) -> None:
    """1 or 2."""
    if type(value) is not int or value not in (1, 2):
        raise ArchError(f"{what} must be 1 or 2, got {value!r}")
