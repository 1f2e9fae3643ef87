"""`device import`: a device that cannot be reached, by the results that came from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilenets.choosing.imported_table import keep_table
from mobilenets.devices.imported import Imported
from mobilenets.devices.registry import check_name, devices, keep_device
from mobilenets.measuring.device import measuring_on
from mobilenets.measuring.machine import Machine
from mobilenets.measuring.results import Results, read_results


def import_device(path: Path, name: str) -> dict[str, Any]:
    """Name the device, and keep its table; the JSON of `mobilenets device import`.

    Raises `FileError` for results that cannot be used, and `MeasureError` where the name is another
    device's.
    """
    check_name(name)
    results = read_results(path)
    machine = its_machine(results, name)
    before = devices().get(name)
    same = before is not None and before.get("machine") == machine
    versions = dict((before or {}).get("versions", {})) if same else {}
    versions[results["runtime"]] = results["runtime_version"]
    device = Imported(name, results["kind"], machine, versions)
    with measuring_on(device):
        table = keep_table(results)
    keep_device(
        name,
        {"kind": results["kind"], "machine": machine, "versions": versions},
        replace=same,
    )
    return {
        "name": name,
        "kind": results["kind"],
        "machine": machine,
        "runtime": results["runtime"],
        "runtime_version": results["runtime_version"],
        "threads": results["threads"],
        "table": table.to_json() if table else None,
    }


def its_machine(results: Results, name: str) -> Machine:
    """The machine of the results, told apart from others of its kind by the device's name: two
    phones of one model have a table each, and none is taken for this machine's."""
    machine = results["machine"]
    return machine | {"fingerprint": f"{machine['fingerprint']}-{name}"}
