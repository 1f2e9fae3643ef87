"""Is a latency verdict right on a disturbed machine? Tries at budgets around the truth.

    python benchmarks/noise.py --tries 20 --out benchmarks/results/DATE-noise.json

The truth is the median p50 of five quiet sessions of one network (V3-Small, 224 pixels,
onnxruntime, one thread). Then another process spins on the measured core, and each try asks for
the verdict on a budget of 0.90 to 1.10 times the truth, as `fit` does at its end. A verdict is
wrong when it says "within budget" and the truth is above the budget. The same tries follow on the
quiet machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mobilenets.archs import Budget, get_arch
from mobilenets.deliver.verdict import time_artifact, too_noisy
from mobilenets.measuring import measure
from mobilenets.measuring.machine import device_name
from mobilenets.nn import Checkpoint
from mobilenets.processes.child import usable_cores
from mobilenets.runtimes.artifact import export

_SPIN = "import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    factors = np.linspace(0.9, 1.1, options.tries).tolist()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export(Checkpoint.fresh(get_arch("mobilenet_v3_small")), "onnxruntime", path)
        quiet = [measure([path])[0].p50_ms for _ in range(5)]
        truth = median(quiet)
        record: dict[str, Any] = {"device": device_name(), "quiet_p50_ms": quiet, "truth_ms": truth}
        spinner = subprocess.Popen([sys.executable, "-c", _SPIN.format(core=usable_cores()[-1])])
        try:
            time.sleep(1)
            record["loaded"] = [one_try(path, factor, truth) for factor in factors]
        finally:
            spinner.kill()
        record["quiet"] = [one_try(path, factor, truth) for factor in factors]
    for key in ("loaded", "quiet"):
        summarise_(record, key)
    options.out.write_text(json.dumps(record, indent=1) + "\n")


def summarise_(record: dict[str, Any], key: str) -> None:
    tries = record[key]
    wrong = [one for one in tries if one["within"] and one["factor"] < 1]
    record[f"{key}_noisy"] = sum(one["noisy"] for one in tries)
    record[f"{key}_wrong_by"] = [1 - one["factor"] for one in wrong]
    print(key, "noisy", record[f"{key}_noisy"], "wrong", len(wrong), "of", len(tries))


def one_try(path: Path, factor: float, truth: float) -> dict[str, Any]:
    limit = factor * truth
    sessions = time_artifact(path, Budget(latency_ms=limit))
    latency = sessions[-1]
    within = latency.p50_ms <= limit and not too_noisy(sessions, limit)
    row = {
        "factor": factor, "p50_ms": latency.p50_ms, "noisy": latency.noisy,
        "waited": latency.waited, "spread": latency.spread, "within": within,
    }  # fmt: skip
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
