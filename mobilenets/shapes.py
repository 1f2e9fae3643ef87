"""What a value read from a file must be: a Python type, such as a `TypedDict`, a dataclass,
`list[str]`, or `Annotated` with a `Range`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from math import inf
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Of a number, or of how many parts there are."""

    least: float = -inf
    most: float = inf
    above: float = -inf

    def check(self, value: Any, at: str) -> None:
        number = len(value) if isinstance(value, list | tuple | str) else value
        if not (self.least <= number <= self.most and number > self.above):  # never so for NaN
            raise ValueError(f"{at or 'it'} is {_short(value)}, which is out of range")


Count = Annotated[int, Range(0, 2**53)]
Positive = Annotated[int, Range(1, 2**53)]
# Finite, as every number that is printed or drawn must be.
Number = Annotated[float, Range(-1e18, 1e18)]
AboveZero = Annotated[float, Range(most=1e18, above=0)]
Percent = Annotated[float, Range(0, 100)]


def shaped(value: Any, kind: Any, at: str = "") -> Any:
    """The JSON value as one of this kind; raises ValueError that says where it is another.

    A TypedDict keeps what else it has, a dataclass does not.
    """
    if kind is Any:
        return value
    if is_typeddict(kind):
        return value | _parts(value, kind, at)
    if is_dataclass(kind):
        return _made(value, kind, at)
    origin = get_origin(kind)
    return _KINDS[origin](value, get_args(kind), at) if origin else _plain(value, kind, at)


def _plain(value: Any, kind: Any, at: str) -> Any:
    """None, a word, a flag, a whole number or any: JSON writes 1.0 as 1."""
    kind = NoneType if kind is None else kind
    allowed = (int, float) if kind is float else (kind,)
    if type(value) not in allowed:
        raise ValueError(f"{at or 'it'} must be {_WORDS[kind]}, got {_short(value)}")
    try:
        return float(value) if kind is float else value
    except OverflowError as error:
        raise ValueError(f"{at or 'it'} is too large a number") from error


def _parts(value: Any, kind: Any, at: str) -> dict[str, Any]:
    """The fields of an object, each as its own kind."""
    if not isinstance(value, dict):
        raise ValueError(f"{at or 'it'} must be an object, got {_short(value)}")
    hints, optional = _fields(kind)
    missing = [name for name in hints if name not in value and name not in optional]
    if missing:
        raise ValueError(f"{at or 'it'} lacks {', '.join(missing)}")
    return {
        name: shaped(value[name], hint, f"{at}.{name}".lstrip("."))
        for name, hint in hints.items()
        if name in value
    }


def _made(value: Any, kind: Any, at: str) -> Any:
    parts = _parts(value, kind, at)
    try:
        return kind(**parts)
    except Exception as error:  # its own checks, which may raise any of our errors
        raise ValueError(f"{at}: {error}" if at else str(error)) from error


@cache
def _fields(kind: Any) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The type of each field, and which may be left out."""
    hints = get_type_hints(kind, include_extras=True)
    if is_dataclass(kind):
        own = {one.name: one for one in fields(kind)}
        given = {
            name for name, one in own.items() if {one.default, one.default_factory} != {MISSING}
        }
        return {name: hints[name] for name in own}, frozenset(given)
    optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
    plain = {name: get_args(hint)[0] if name in optional else hint for name, hint in hints.items()}
    return plain, frozenset(optional if kind.__total__ else plain)


def _list(value: Any, kinds: tuple[Any, ...], at: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{at or 'it'} must be a list, got {_short(value)}")
    return [shaped(one, kinds[0], f"{at}[{index}]") for index, one in enumerate(value)]


def _tuple(value: Any, kinds: tuple[Any, ...], at: str) -> tuple[Any, ...]:
    if kinds[-1] is Ellipsis:
        return tuple(_list(value, kinds, at))
    if not isinstance(value, list) or len(value) != len(kinds):
        raise ValueError(f"{at or 'it'} must be a list of {len(kinds)}, got {_short(value)}")
    pairs = zip(value, kinds, strict=True)
    return tuple(shaped(one, kind, f"{at}[{index}]") for index, (one, kind) in enumerate(pairs))


def _dict(value: Any, kinds: tuple[Any, ...], at: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{at or 'it'} must be an object, got {_short(value)}")
    return {key: shaped(one, kinds[1], f"{at}.{key}".lstrip(".")) for key, one in value.items()}


def _annotated(value: Any, kinds: tuple[Any, ...], at: str) -> Any:
    found = shaped(value, kinds[0], at)
    kinds[1].check(found, at)
    return found


def _literal(value: Any, known: tuple[Any, ...], at: str) -> Any:
    if not any(type(value) is type(one) and value == one for one in known):
        words = ", ".join(map(str, known))
        raise ValueError(f"{at or 'it'} must be one of {words}, got {_short(value)}")
    return value


def _union(value: Any, kinds: tuple[Any, ...], at: str) -> Any:
    """The first kind that it can be; the error is the first one's."""
    errors = []
    for kind in kinds:
        try:
            return shaped(value, kind, at)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


_KINDS: Mapping[Any, Callable[[Any, tuple[Any, ...], str], Any]] = {
    list: _list, tuple: _tuple, dict: _dict, Annotated: _annotated, Literal: _literal,
    Union: _union, UnionType: _union,
}  # fmt: skip
_WORDS = {NoneType: "null", str: "a text", bool: "true or false", int: "a whole number",
          float: "a number"}  # fmt: skip


def _short(value: Any) -> str:
    """In a few words, whatever it is."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    text = "null" if value is None else ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
