"""Does a choice over all runtimes find as good a network as the best of them alone?

    python benchmarks/choosing.py --latency 2 --out benchmarks/results/DATE-choosing.json

`choose` for each installed runtime, then for all of them together, one thread, networks for large
images. All share one journal: a network is measured once in a runtime, so that the machine's moods
do not decide. Uses the latency tables that there are (`mobilenets table`). For each: the network
chosen, its expected ImageNet top-1 (percent), its p50, and how long the choice took.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from mobilenets.archs import Budget
from mobilenets.choosing.choice import choose, measured_once
from mobilenets.choosing.latency_table import load_tables
from mobilenets.errors import NoFitError
from mobilenets.measuring.machine import device_name
from mobilenets.runtimes import parse_engines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=2.0, help="milliseconds")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    engines = parse_engines("auto")
    tables = load_tables(engines, 1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        measure = measured_once(Path(folder, "journal.jsonl"), 1)
        for some in [*([one] for one in engines), engines]:
            begin = time.perf_counter()
            row: dict[str, Any] = {"runtimes": list(map(str, some))}
            try:
                chosen = choose(
                    Budget(latency_ms=options.latency), runtimes=some, measure=measure,
                    tables=tables,
                ).chosen  # fmt: skip
                row |= {
                    "chosen": chosen.arch.full_name,
                    "runtime": str(chosen.engine),
                    "expected_top1": chosen.expected.top1,
                    "p50_ms": chosen.latency and chosen.latency.p50_ms,
                    "noisy": chosen.latency and chosen.latency.noisy,
                }
            except NoFitError as error:
                row["refused"] = str(error)
            rows.append(row | {"seconds": round(time.perf_counter() - begin, 1)})
            print(rows[-1], flush=True)
            record = {"device": device_name(), "tables": list(map(str, tables)), "choices": rows}
            options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
