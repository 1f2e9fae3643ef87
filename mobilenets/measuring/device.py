"""Where latency is measured: on this machine, or on another device with a measuring process.

All that measures asks `current()`, so that a command says once, with `measuring_on`, which device
its budgets, choice, table and verdict are of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from mobilenets.errors import RuntimeMissing
from mobilenets.measuring.machine import Machine, described, this_machine
from mobilenets.processes.child import Child
from mobilenets.runtimes import Engine, check_runtime

_WORKER = "mobilenets.measuring.worker"


class Process(Protocol):
    """A running `measuring.worker`."""

    def ask(self, request: Mapping[str, Any], *, timeout: float) -> Any:
        """Its answer; raises `ChildDied` where it ends without one."""

    def send(self, path: Path) -> str:
        """Make the artifact at `path` readable for it; where it lies there."""

    def close(self) -> None:
        """End it, with all that was sent."""


class Device(Protocol):
    """A machine that networks are measured on."""

    @property
    def name(self) -> str:
        """What the user calls it; "local" for this machine."""

    def machine(self) -> Machine:
        """What it is; raises `MeasureError` where it cannot be reached."""

    def version(self, engine: Engine) -> str:
        """That of the engine's runtime there; raises `RuntimeMissing`."""

    def start(self, engine: Engine, environment: Mapping[str, str]) -> Process:
        """A measuring process there; raises `MeasureError` where there can be none."""


class LocalProcess(Child):
    """A measuring process on this machine."""

    def __init__(self, environment: Mapping[str, str]):
        super().__init__(_WORKER, environment=environment)

    def send(self, path: Path) -> str:
        return str(path)


class _Local:
    """This machine."""

    name = "local"

    def machine(self) -> Machine:
        return this_machine()

    def version(self, engine: Engine) -> str:
        return check_runtime(engine).version()

    def start(self, engine: Engine, environment: Mapping[str, str]) -> Process:
        check_runtime(engine)
        return LocalProcess(environment)


LOCAL: Device = _Local()
_current: ContextVar[Device] = ContextVar("device", default=LOCAL)


def current() -> Device:
    """The device that is measured on now."""
    return _current.get()


@contextmanager
def measuring_on(device: Device) -> Iterator[Device]:
    """What is measured within is measured on `device`."""
    token = _current.set(device)
    try:
        yield device
    finally:
        _current.reset(token)


def device_words(device: Device) -> str:
    """The device in one line: its name, unless it is this machine, and what it is."""
    name = "" if device is LOCAL else f"{device.name}: "
    return name + described(device.machine())


def device_in(record: Mapping[str, Any]) -> str:
    """The name of the device that a run's record is of; older ones are of this machine."""
    return str(record.get("device", LOCAL.name))


def place(name: str) -> str:
    """The device of this name, in a sentence."""
    return "this machine" if name == LOCAL.name else name


def subject(name: str) -> str:
    """The device of this name, as what a sentence is of."""
    return "the machine" if name == LOCAL.name else name


def option(name: str) -> str:
    """ " --device pi" to type behind a command; nothing for this machine."""
    return "" if name == LOCAL.name else f" --device {name}"


def on_another() -> str:
    """ " on pi" where that is measured on; nothing for this machine."""
    return "" if current() is LOCAL else f" on {current().name}"


def engines_there(engines: Sequence[Engine]) -> list[Engine]:
    """Those of `engines` that the current device has; all of them, and so an error, for none."""
    found = []
    for engine in engines:
        with suppress(RuntimeMissing):
            current().version(engine)
            found.append(engine)
    return found or list(engines)
