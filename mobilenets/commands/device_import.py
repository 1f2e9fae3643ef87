"""`device import`: a device that cannot be reached, by the results that came from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilenets.choosing.imported_table import keep_table
from mobilenets.devices.imported import Imported
from mobilenets.devices.registry import Record, check_name, devices, keep_device
from mobilenets.measuring.device import measuring_on
from mobilenets.measuring.results import read_results


def import_device(path: Path, name: str) -> dict[str, Any]:
    """Name the device, and keep its table; the JSON of `mobilenets device import`.

    Raises `FileError` for results that cannot be used, and `MeasureError` where the name is another
    device's.
    """
    check_name(name)
    results = read_results(path)
    before, machine = devices().get(name), results["machine"]
    known = before["machine"] if before and "machine" in before else None
    same = known is not None and known["fingerprint"] == machine["fingerprint"]
    versions = before.get("versions", {}) if before and same else {}
    versions = {**versions, results["runtime"]: results["runtime_version"]}
    record: Record = {"kind": results["kind"], "machine": machine, "versions": versions}
    if before and not same:
        keep_device(name, record)  # refused, before anything is written
    with measuring_on(Imported(name, results["kind"], machine, versions)):
        table = keep_table(results)
    keep_device(name, record, replace=same)
    return {
        "name": name,
        "kind": results["kind"],
        "machine": machine,
        "runtime": results["runtime"],
        "runtime_version": results["runtime_version"],
        "threads": results["threads"],
        "table": table.to_json() if table else None,
    }
