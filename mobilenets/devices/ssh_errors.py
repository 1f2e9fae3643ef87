"""What goes wrong over ssh, in a sentence each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mobilenets.devices.worker_file import OLDEST_PYTHON
from mobilenets.errors import ConnectionLost, MeasureError

if TYPE_CHECKING:
    from mobilenets.devices.ssh import Ssh

LOST = 255  # ssh's own exit status; any other is the far program's
_NO_PROGRAM = (126, 127)  # the shell's
_KEY = re.compile(r"Permission denied|Too many authentication failures|Authentication failed")
_HOST_KEY = re.compile(r"Host key verification failed|IDENTIFICATION HAS CHANGED")


def not_started(device: Ssh, status: int, said: str) -> MeasureError:
    """For a program that never answered; `said` is the last line on stderr."""
    name, plain = device.name, plain_command(device)
    if status in _NO_PROGRAM:
        return _no_python(device, said)
    if status != LOST:
        return MeasureError(f"{device.python} on {name} did not start: {said}")
    if _HOST_KEY.search(said):
        return MeasureError(
            f"the host key of {name} is not known here, or has changed ({said}); connect once by "
            f"hand, and accept it: {plain}"
        )
    if _KEY.search(said):
        return MeasureError(
            f"{name} refused our key ({said}); give it the key, and no password is asked for: "
            f"{plain_command(device, 'ssh-copy-id')}"
        )
    return MeasureError(f"{name} cannot be reached ({said}); this must work first: {plain}")


def too_old(device: Ssh, version: str) -> MeasureError:
    """For a Python that is."""
    return MeasureError(
        f"{device.python} on {device.name} is Python {version}, and measuring takes "
        f"{_dotted(OLDEST_PYTHON)}; {_another(device)}"
    )


def lost(name: str, said: str) -> ConnectionLost:
    """For a connection that ended while networks were measured."""
    return ConnectionLost(
        f"the connection to {name} was lost ({said or 'it ended'}); the same command goes on where "
        "it was"
    )


def plain_command(device: Ssh, program: str = "ssh") -> str:
    """What the user types to connect."""
    host, port = device.address
    return f"{program} -p {port} {host}" if port else f"{program} {host}"


def _no_python(device: Ssh, said: str) -> MeasureError:
    return MeasureError(
        f"{device.name} has no {device.python} ({said}); install Python "
        f"{_dotted(OLDEST_PYTHON)} or later there, or {_another(device)}"
    )


def _another(device: Ssh) -> str:
    return (
        "name another interpreter: mobilenets device add "
        f"{device.name} ssh:{device.target} --python PATH"
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
