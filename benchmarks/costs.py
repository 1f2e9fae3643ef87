"""How long costs take: `mobilenets cost` as a process, and 1,000 different architectures in one.

    python benchmarks/costs.py

Prints one JSON line last. No torch is loaded; wall times, so quote medians.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from mobilenets.archs import ARCHS, cost, get_arch
from mobilenets.measuring.machine import device_name

_RUNS = 15


def command_seconds() -> list[float]:
    command = [Path(sys.executable).with_name("mobilenets"), "cost", "mobilenet_v3_large"]
    times = []
    for _ in range(_RUNS + 1):
        begin = time.perf_counter()
        subprocess.run([*command, "--width", "0.75", "--json"], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return times[1:]


def thousand_seconds() -> list[float]:
    names = list(ARCHS)
    times = []
    for turn in range(_RUNS):
        begin = time.perf_counter()
        for index in range(1000):
            width = 0.25 + (index + turn / _RUNS) / 1000
            cost(get_arch(names[index % len(names)], width=width, resolution=96 + index % 160))
        times.append(time.perf_counter() - begin)
    return times


def main() -> None:
    result = {"device": device_name(), "python": sys.version.split()[0]}
    for name, times in (("command_s", command_seconds()), ("thousand_s", thousand_seconds())):
        result[name] = {"median": median(times), "min": min(times), "max": max(times)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
