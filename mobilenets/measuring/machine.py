"""The machine a latency was measured on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

from mobilenets.processes.child import usable_cores

_CPUINFO = Path("/proc/cpuinfo")
_NAME_KEYS = ("model name", "Model", "Hardware")  # x86; Raspberry Pi; older ARM kernels
# Virtual machines give many CPUs one name, so what tells them apart counts too.
_IDENTITY_KEYS = ("cpu family", "model", "stepping", "flags", "CPU part", "Features")


class Machine(TypedDict):
    """`fingerprint` changes with the CPU, its instruction sets and the cores usable here."""

    cpu: str
    cores: int
    machine: str
    os: str
    fingerprint: str


def this_machine() -> Machine:
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


def is_emulated() -> bool:
    """Whether qemu runs this process's instructions, so that times say nothing of a device. Its
    own mappings tell: it hides them in /proc/self/maps, not there."""
    try:
        return b"qemu" in Path(f"/proc/self/task/{os.getpid()}/maps").read_bytes()
    except OSError:
        return False


def device_name() -> str:
    """This machine in one line."""
    return described(this_machine())


def described(machine: Machine) -> str:
    """A machine in one line."""
    cpu, fingerprint = machine["cpu"], machine["fingerprint"]
    return f"{cpu}, {machine['cores']} cores, {machine['machine']} [{fingerprint}]"


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
    name = next(filter(None, names), "") or _android() or platform.processor() or platform.machine()
    return f"{name}, emulated" if is_emulated() else name


def _android() -> str:
    """What an Android device calls itself, whose kernel tells no name; "" elsewhere."""
    if not shutil.which("getprop"):
        return ""
    names = []
    for key in ("ro.product.model", "ro.soc.model"):
        run = subprocess.run(["getprop", key], capture_output=True, text=True, check=False)
        names.append(run.stdout.strip())
    return " ".join(filter(None, names))


def waited_ns() -> int:
    """Nanoseconds that this process has waited for its cores so far: its threads' time in the run
    queue, and what the hypervisor gave to other machines. Zero where the system does not tell."""
    return _run_delay_ns() + _stolen_ns()


def _run_delay_ns() -> int:
    """Of all threads (Linux's scheduler statistics: time run, time waited, slices). By plain system
    calls: a process that holds a hundred networks may have two hundred threads, and is asked before
    and after each burst."""
    total = 0
    with contextlib.suppress(OSError), os.scandir("/proc/self/task") as tasks:
        for task in tasks:
            with contextlib.suppress(OSError, IndexError, ValueError):  # it has just ended
                total += int(_read(f"{task.path}/schedstat").split()[1])
    return total


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 100)
    finally:
        os.close(file)


def _stolen_ns() -> int:
    """Of the usable cores, from the eighth column of /proc/stat, which counts clock ticks."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0
    columns = {words[0]: words for words in map(str.split, lines) if words}
    cores = (columns.get(f"cpu{core}", []) for core in usable_cores())
    ticks = sum(int(words[8]) for words in cores if len(words) > 8)
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
