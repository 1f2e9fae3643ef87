"""The machine a latency was measured on."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import TypedDict

_CPUINFO = Path("/proc/cpuinfo")
_NAME_KEYS = ("model name", "Model", "Hardware")  # x86; Raspberry Pi; older ARM kernels
# Virtual machines give many CPUs one name, so what tells them apart counts too.
_IDENTITY_KEYS = ("cpu family", "model", "stepping", "flags", "CPU part", "Features")


class Device(TypedDict):
    """`fingerprint` changes with the CPU, its instruction sets and the cores usable here."""

    cpu: str
    cores: int
    machine: str
    os: str
    fingerprint: str


def device() -> Device:
    """This machine."""
    info = _cpuinfo()
    cpu = _cpu_name(info)
    cores = len(usable_cores())
    identity = (cpu, cores, platform.machine(), *(info.get(key, "") for key in _IDENTITY_KEYS))
    return {
        "cpu": cpu,
        "cores": cores,
        "machine": platform.machine(),
        "os": f"{platform.system()} {platform.release()}",
        "fingerprint": hashlib.sha256(repr(identity).encode()).hexdigest()[:8],
    }


def device_name() -> str:
    """This machine in one line."""
    here = device()
    return f"{here['cpu']}, {here['cores']} cores, {here['machine']} [{here['fingerprint']}]"


def usable_cores() -> list[int]:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _cpuinfo() -> dict[str, str]:
    """/proc/cpuinfo of the first core, and of the chip where it has lines of its own."""
    if not _CPUINFO.exists():
        return {}
    info: dict[str, str] = {}
    for line in _CPUINFO.read_text().splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    return info


def _cpu_name(info: dict[str, str]) -> str:
    names = (info.get(key) for key in _NAME_KEYS)
    return next(filter(None, names), "") or platform.processor() or platform.machine()
