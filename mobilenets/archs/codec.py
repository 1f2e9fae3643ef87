"""Arch <-> JSON: how an architecture is stored in every file we write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from mobilenets.archs.arch import Arch
from mobilenets.archs.heads import Classify, Head, Pooled, Tap
from mobilenets.archs.rows import ROWS, Row
from mobilenets.archs.segmentation import LRASPP, RASPP, Pixelwise
from mobilenets.archs.ssdlite import SSDLite
from mobilenets.errors import ArchError

_HEADS: Mapping[str, type[Head]] = {
    "classify": Classify,
    "pooled": Pooled,
    "ssdlite": SSDLite,
    "lraspp": LRASPP,
    "raspp": RASPP,
    "pixelwise": Pixelwise,
}
# Columns that came later are written only where they are set, so that files and digests written
# before stay as they are.
_LATER = {"skip": True, "se_act": "relu", "dilation": 1, "scales": (0.2, 0.95)}
Part = TypeVar("Part", Row, Head)


def to_json(arch: Arch) -> dict[str, Any]:
    """`arch` as a JSON object; every row says what it is under "row", the head under "head"."""
    return {
        **{field.name: getattr(arch, field.name) for field in fields(Arch)},
        "rows": [_said("row", ROWS, row) for row in arch.rows],
        "head": None if arch.head is None else _said("head", _HEADS, arch.head),
        "size": arch.size.written,
        "width": float(arch.width),  # 1 and 1.0 are one network, with one digest
    }


def from_json(value: Any) -> Arch:
    """The arch of a JSON object; raises `ArchError` that names what is wrong with it."""
    if isinstance(value, dict) and "head" not in value and isinstance(value.get("rows"), list):
        value = _with_head(value)
    known = _known_fields(value, Arch, "architecture")
    if not isinstance(known["rows"], list):
        raise ArchError(f"architecture: rows must be a list, got {type(known['rows']).__name__}")
    rows = tuple(_read("row", ROWS, row, f"row {at}") for at, row in enumerate(known["rows"]))
    head = known.get("head")
    if head is not None:
        head = _read("head", _HEADS, head, "the head")
    return Arch(**{**known, "rows": rows, "head": head})


def digest(arch: Arch) -> str:
    """A short hash of everything in `arch`: the key of caches and the name of edited networks."""
    text = json.dumps(to_json(arch), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _said(key: str, kinds: Mapping[str, type[Part]], part: Part) -> dict[str, Any]:
    name = next(name for name, kind in kinds.items() if kind is type(part))
    columns = asdict(part)  # type: ignore[call-overload]
    return {key: name} | {
        name: value
        for name, value in columns.items()
        if name not in _LATER or value != _LATER[name]
    }


def _read(key: str, kinds: Mapping[str, type[Part]], value: Any, where: str) -> Part:
    if not isinstance(value, dict) or str(value.get(key)) not in kinds:
        raise ArchError(f"architecture: {where} must be one of {', '.join(kinds)}, got {value!r}")
    kind = kinds[value[key]]
    columns = {name: _column(name, column) for name, column in value.items() if name != key}
    return kind(**_known_fields(columns, kind, f"architecture: {where}"))


def _column(name: str, value: Any) -> Any:
    """JSON's lists are our tuples, and those under taps name tensors; what is neither is left for
    `check` to name."""
    if not isinstance(value, list):
        return value
    if name != "taps":
        return tuple(value)
    return tuple(Tap(*one) if isinstance(one, list) and len(one) == 2 else one for one in value)


def _known_fields(value: Any, kind: type, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArchError(f"{where} must be a JSON object, got {type(value).__name__}")
    names = [field.name for field in fields(kind)]
    needed = [field.name for field in fields(kind) if field.default is MISSING]
    unknown = sorted(set(value) - set(names))
    missing = [name for name in needed if name not in value]
    if unknown or missing:
        raise ArchError(
            f"{where} needs the fields {', '.join(names)}; "
            f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
        )
    return value


# ------------------------------------------------------------------ files written before heads were


def _with_head(value: dict[str, Any]) -> dict[str, Any]:
    """The same with a head: rows used to end in pool, dense and classifier, and a resolution and a
    number of classes stood beside them."""
    new = {name: one for name, one in value.items() if name not in ("classes", "dropout")}
    if "resolution" in new:
        new["size"] = new.pop("resolution")
    kinds = [row.get("row") if isinstance(row, dict) else None for row in value["rows"]]
    if "pool" not in kinds:
        return new | {"head": None}
    at = kinds.index("pool")
    tail = {kind: row for kind, row in zip(kinds[at:], value["rows"][at:], strict=True)}
    head: dict[str, Any] = {"head": "pooled"}
    if "classifier" in tail:
        dense = (
            {"dense": tail["dense"]["out"], "act": tail["dense"]["act"]} if "dense" in tail else {}
        )
        head = {"head": "classify", **dense}
        head |= {name: value[name] for name in ("classes", "dropout") if name in value}
    return new | {"rows": value["rows"][:at], "head": head}
