"""`device add`, `device list`, `device show`: the devices that networks are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mobilenets.devices.registry import check_name, devices, find_device, keep_device
from mobilenets.devices.ssh import Ssh
from mobilenets.errors import MeasureError
from mobilenets.measuring.device import LOCAL
from mobilenets.runtimes import RUNTIMES


@dataclass(frozen=True)
class Adding:
    """What to call the device, its address, ssh:[user@]host[:port], and the Python there."""

    name: str
    address: str
    python: str = "python3"

    @property
    def device(self) -> Ssh:
        """It; raises `MeasureError` for an address that is none."""
        kind, _, target = self.address.partition(":")
        if kind != "ssh":
            raise MeasureError(
                f"a device's address is ssh:user@host or ssh:user@host:port, got {self.address!r}; "
                "where ssh does not reach it, measure with a kit: mobilenets kit"
            )
        return Ssh(self.name, target, self.python)


def add_device(job: Adding) -> dict[str, Any]:
    """Connect, keep the device, and tell what it is (`show_device`). Raises `MeasureError` where it
    cannot measure, or another has its name."""
    check_name(job.name)
    device = job.device
    found = _about(device)
    known = devices().get(job.name)
    same = known is not None and known.get("target") == device.target
    keep_device(
        job.name, {"kind": "ssh", "target": device.target, "python": device.python}, replace=same
    )
    return found


def list_devices() -> list[dict[str, Any]]:
    """All, and none is connected to."""
    here = {"name": LOCAL.name, "kind": "local", "address": None}
    return [here, *({"name": name, **_address(record)} for name, record in devices().items())]


def show_device(name: str) -> dict[str, Any]:
    """The device's machine, Python and runtimes: `runtimes` are versions, None for one that is not
    installed there."""
    device = find_device(name)
    if isinstance(device, Ssh):
        return _about(device)
    if device is LOCAL:
        versions = {name: known.version_to_run() for name, known in RUNTIMES.items()}
        return {"name": name, "kind": "local", "machine": device.machine(), "runtimes": versions}
    record = devices()[name]
    return {
        "name": name, "kind": record["kind"], "machine": device.machine(),
        "runtimes": record.get("versions", {}),
    }  # fmt: skip


def _about(device: Ssh) -> dict[str, Any]:
    about = device.about
    return {
        "name": device.name,
        "kind": "ssh",
        "address": f"ssh:{device.target}",
        "python": device.python,
        "python_version": about["python"],
        "numpy": about["numpy"],
        "machine": about["machine"],
        "runtimes": about["runtimes"],
    }


def _address(record: Any) -> dict[str, Any]:
    target = record.get("target")
    return {"kind": record["kind"], "address": target and f"ssh:{target}"}
