"""What `mobilenets device add` and `device show` print."""

from __future__ import annotations

from typing import Any

from mobilenets.measuring.machine import described
from mobilenets.runtimes import RUNTIMES


def show(found: dict[str, Any]) -> None:
    """The device line by line."""
    machine = found["machine"]
    address = found.get("address")
    print(f"device    {found['name']}{f', {address}' if address else ''}")
    print(f"machine   {described(machine)}, {machine['os']}")
    if "python" in found:
        numpy = "" if found["numpy"] else "; numpy is missing"
        print(f"python    {found['python_version']}, {found['python']}{numpy}")
    there = {name: version for name, version in found["runtimes"].items() if version}
    listed = ", ".join(f"{name} {version}" for name, version in there.items())
    print(f"runtimes  {listed or 'none'}")
    if "python" in found and not (there and found["numpy"]):
        wanted = [] if found["numpy"] else ["numpy"]
        wanted += [] if there else [RUNTIMES["onnxruntime"].distribution]
        print(f"to do     run there: {found['python']} -m pip install {' '.join(wanted)}")
