"""The devices that the user has named: a file beside the cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from mobilenets.errors import MeasureError
from mobilenets.files import cache_folder, read_json, write_json
from mobilenets.measuring.device import LOCAL, Device, current
from mobilenets.measuring.machine import Machine

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}")


class Record(TypedDict):
    """What is kept of a device.

    `target` is that of ssh, [user@]host[:port], and `python` the interpreter there. `machine` and
    `versions`, by runtime, are of a device that cannot be reached: its results were imported.
    """

    kind: Literal["ssh", "kit", "browser"]
    target: NotRequired[str]
    python: NotRequired[str]
    machine: NotRequired[Machine]
    versions: NotRequired[dict[str, str]]


def devices() -> dict[str, Record]:
    """All that are named; raises `FileError` for a broken file."""
    path = _path()
    return read_json(path, dict[str, Record]) if path.exists() else {}


def keep_device(name: str, record: Record, *, replace: bool = False) -> None:
    """Name a device. Raises `MeasureError` for a name that cannot be one or, unless `replace`, is
    another device's."""
    known = devices()
    check_name(name)
    if name in known and known[name] != record and not replace:
        raise MeasureError(
            f"there is a device {name} already; give another name, or run: "
            f"mobilenets device remove {name}"
        )
    write_json(_path(), known | {name: record})


def check_name(name: str) -> None:
    """Raise `MeasureError` for a name that no device can have."""
    if not _NAME.fullmatch(name) or name == LOCAL.name:
        raise MeasureError(
            f"a device cannot be called {name!r}; give letters, digits, dots and dashes (local is "
            "this machine)"
        )


def remove_device(name: str) -> None:
    """Forget a device; its tables stay. Raises `MeasureError` where there is none."""
    known = devices()
    _known(name, known)
    write_json(_path(), {other: record for other, record in known.items() if other != name})


def find_device(name: str) -> Device:
    """The device called `name`: "local" is this machine, and what is measured on now (`current`)
    need not be kept. Raises `MeasureError` for any other that was not named."""
    if name == LOCAL.name:
        return LOCAL
    if name == current().name:
        return current()
    record = _known(name, devices())
    if record["kind"] == "ssh":
        return _ssh(name, record["target"], record.get("python", "python3"))
    from mobilenets.devices.imported import Imported

    return Imported(name, record["kind"], record["machine"], record["versions"])


@cache
def _ssh(name: str, target: str, python: str) -> Device:
    """One for the whole process: what it is asked once is remembered."""
    from mobilenets.devices.ssh import Ssh

    return Ssh(name, target, python)


def _known(name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        names = ", ".join([LOCAL.name, *known])
        raise MeasureError(
            f"there is no device {name}; there are {names}; add one with: mobilenets device add "
            f"{name} ssh:user@host"
        )
    return known[name]


def _path() -> Path:
    return cache_folder() / "devices.json"
