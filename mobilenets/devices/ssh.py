"""A device that ssh reaches: the measuring worker runs there, its lines come over the connection.

The system's own `ssh` connects, with the user's keys and settings, and asks for no password. There
it takes Python, numpy and the runtime: the worker is one file (`worker_file`), copied to
~/.cache/mobilenets. Networks are converted here and sent over the same connection.

Times are differences of the far `time.perf_counter_ns`, which only counts on: a clock that is set
meanwhile, as on a board without a battery after it starts, changes none.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mobilenets.devices.ssh_errors import LOST, lost, not_started, too_old
from mobilenets.devices.worker_file import OLDEST_PYTHON, checksum, worker_file
from mobilenets.errors import MeasureError, MobileNetsError, RuntimeMissing
from mobilenets.files import read_bytes
from mobilenets.measuring.machine import Machine
from mobilenets.processes.child import ChildDied, Program, Request
from mobilenets.runtimes import RUNTIMES, Engine
from mobilenets.runtimes.artifact import files_of
from mobilenets.shapes import shaped

_TARGET = re.compile(
    r"(?P<host>([\w.-]+@)?(\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9][\w.-]*))(:(?P<port>\d{1,5}))?"
)
_PART = 3 << 20  # bytes of a file that are sent at a time
_CONNECT_S, _START_S = 15, 120.0
# A connection that says nothing for a minute is lost.
_OPTIONS = ("BatchMode=yes", f"ConnectTimeout={_CONNECT_S}", "ServerAliveInterval=15",
            "ServerAliveCountMax=4")  # fmt: skip


class About(TypedDict):
    """What the worker there says of its machine (`far.FarWorker`), and its Python."""

    machine: Machine
    numpy: bool
    runtimes: dict[str, str | None]
    python: NotRequired[str]


@dataclass(frozen=True)
class Ssh:
    """`target` is [user@]host[:port], `python` the interpreter there. Raises `MeasureError` for a
    target that is none."""

    name: str
    target: str
    python: str = "python3"

    def __post_init__(self) -> None:
        if not _TARGET.fullmatch(self.target):
            raise MeasureError(
                f"a device is named by user@host or user@host:port, got {self.target!r}"
            )

    def machine(self) -> Machine:
        return self.about["machine"]

    def version(self, engine: Engine) -> str:
        found = self.about["runtimes"].get(engine.runtime, "")
        if found and self.about["numpy"]:
            return found
        raise RuntimeMissing(self._missing(engine.runtime))

    def start(self, engine: Engine, environment: Mapping[str, str]) -> FarProcess:
        self.version(engine)
        return FarProcess(self, environment)

    @cached_property
    def about(self) -> About:
        """Asked once."""
        with FarProcess(self, {}) as process:
            found = process.ask({"do": "about"}, timeout=_START_S)
            return shaped(found, About) | {"python": process.python}

    @property
    def command(self) -> list[str]:
        """What connects, and runs the first program there."""
        host, port = self.address
        options = ["-p", port] if port else []
        options += [word for option in _OPTIONS for word in ("-o", option)]
        first = files("mobilenets.devices").joinpath("bootstrap.py").read_text(encoding="utf-8")
        # exec: no shell stays between, whose end would not be the program's.
        far = f"exec {shlex.join([self.python, '-c', first])}"
        return [_ssh(), "-T", *options, "--", host, far]

    @property
    def address(self) -> tuple[str, str | None]:
        """[user@]host, and the port where one was given."""
        found = _TARGET.fullmatch(self.target)
        assert found is not None
        return re.sub(r"[\[\]]", "", found["host"]), found["port"]

    def _missing(self, runtime: str) -> str:
        if runtime not in self.about["runtimes"]:
            known = ", ".join(self.about["runtimes"])
            return f"{runtime} cannot be measured over ssh; give one of {known} as --runtime"
        packages = [] if self.about["numpy"] else ["numpy"]
        packages += [] if self.about["runtimes"][runtime] else [RUNTIMES[runtime].distribution]
        return (
            f"{self.python} {self.about['python']} on {self.name} lacks {' and '.join(packages)}; "
            f"run there: {self.python} -m pip install {' '.join(packages)}"
        )


class FarProcess(Program):
    """A measuring process there. Raises `MeasureError` where there can be none."""

    def __init__(self, device: Ssh, environment: Mapping[str, str]):
        super().__init__(device.command)
        self._device = device
        self._sent = 0
        self._started = False
        try:
            self.python = self._start(environment)
        except BaseException:
            self.close()
            raise
        self._started = True

    def ask(self, request: Request, *, timeout: float) -> Any:
        try:
            return super().ask(request, timeout=timeout)
        except ChildDied as error:
            if not self._started:
                raise not_started(self._device, self.status(), self.said() or str(error)) from error
            if self.status() == LOST:
                raise lost(self._device.name, self.said()) from error
            raise
        except MobileNetsError as error:
            raise type(error)(f"on {self._device.name}: {error}") from error

    def send(self, path: Path) -> str:
        self._sent += 1
        beside = [file for file in files_of(path)[:-1] if file.exists()]
        return [self._send(file, f"{self._sent}/{file.name}") for file in [*beside, path]][-1]

    def status(self) -> int:
        """Signals too, which ssh tells as numbers over 128."""
        code = super().status()
        return 128 - code if 128 < code < 160 else code

    def _start(self, environment: Mapping[str, str]) -> str:
        """Bring the worker there, where it is not yet, and start it; the version of Python."""
        asked = {"worker": checksum(), "environment": dict(environment)}
        found = self.ask(asked, timeout=_START_S)
        version = ".".join(map(str, found["python"]))
        if tuple(found["python"]) < OLDEST_PYTHON:
            raise too_old(self._device, version)
        if not found["there"]:
            file = base64.b64encode(worker_file()).decode()
            refused = self.ask({"file": file}, timeout=_START_S)["refused"]
            if refused:
                raise MeasureError(
                    f"{self._device.name} could not keep the worker's file in {refused}; make room "
                    "there, or let it be written, and run the same command again"
                )
        return version

    def _send(self, file: Path, name: str) -> str:
        data = read_bytes(file)
        there = ""
        for start in range(0, len(data) or 1, _PART):
            part = data[start : start + _PART]
            last = start + _PART >= len(data)
            request = {
                "do": "receive",
                "name": name,
                "data": base64.b64encode(part).decode(),
                "sha256": hashlib.sha256(data).hexdigest() if last else None,
            }
            there = self.ask(request, timeout=_START_S)
        return there

    def _exchange(self, request: Request) -> bytes:
        """What a shell there prints when it starts is no answer."""
        line = super()._exchange(request)
        while line and not line.startswith((b'{"answer"', b'{"error"')):
            line = self._next()
        return line


def _ssh() -> str:
    found = shutil.which("ssh")
    if found is None:
        raise MeasureError("there is no ssh on this machine; install OpenSSH's client")
    return found
