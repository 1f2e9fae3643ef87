"""Arch <-> JSON: how an architecture is stored in every file we write."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, asdict, fields
from typing import Any

from mobilenets.archs.rows import Arch, Bottleneck, Classifier, Conv, Dense, Pool, Row, Separable
from mobilenets.errors import ArchError

_ROWS: dict[str, type[Row]] = {
    "conv": Conv,
    "separable": Separable,
    "bottleneck": Bottleneck,
    "pool": Pool,
    "dense": Dense,
    "classifier": Classifier,
}
_LATER = {"skip": True, "se_act": "relu"}
_NAMES = {row: name for name, row in _ROWS.items()}


def to_json(arch: Arch) -> dict[str, Any]:
    """`arch` as a JSON object; every row says what it is under "row"."""
    rows = [{"row": _NAMES[type(row)], **_columns(row)} for row in arch.rows]
    return {
        **{field.name: getattr(arch, field.name) for field in fields(Arch)},
        "rows": rows,
        "width": float(arch.width),  # 1 and 1.0 are one network, with one digest
    }


def _columns(row: Row) -> dict[str, Any]:
    """The row's columns; those that came later only where they are set, so that files and digests
    written before stay as they are."""
    return {
        name: value
        for name, value in asdict(row).items()
        if name not in _LATER or value != _LATER[name]
    }


def from_json(value: Any) -> Arch:
    """The arch of a JSON object; raises `ArchError` that names what is wrong with it."""
    known = _known_fields(value, Arch, "architecture")
    if not isinstance(known["rows"], list):
        raise ArchError(f"architecture: rows must be a list, got {type(known['rows']).__name__}")
    rows = tuple(_row(index, row) for index, row in enumerate(known["rows"]))
    return Arch(**{**known, "rows": rows})


def digest(arch: Arch) -> str:
    """A short hash of everything in `arch`: the key of caches and the name of edited networks."""
    text = json.dumps(to_json(arch), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _row(index: int, value: Any) -> Row:
    if not isinstance(value, dict) or str(value.get("row")) not in _ROWS:
        raise ArchError(
            f"architecture: row {index} must be one of {', '.join(_ROWS)}, got {value!r}"
        )
    kind = _ROWS[value["row"]]
    columns = {key: column for key, column in value.items() if key != "row"}
    return kind(**_known_fields(columns, kind, f"architecture: row {index}"))


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
