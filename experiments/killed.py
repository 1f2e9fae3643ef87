"""A `mobilenets adapt` killed at random moments ends with the network of an undisturbed one.

    python experiments/killed.py --out runs/killed

Trains a V3-Small on the digits and adapts it to half its MACs, once undisturbed. Then, ten times:
the same command in a new folder, its whole process group killed (SIGKILL) at a random moment, and
started again until it ends. The weights and the steps (but their seconds) must be the same, to the
bit. With --workers the proposals are evaluated by Ray; with --worker-only one of Ray's processes is
killed instead, while it evaluates a proposal of a random step, and the command goes on by itself.
A JSON line a try; ends with status 1 if any network differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.commands.train import Training, train_named
from mobilenets.nn import Checkpoint
from mobilenets.prune.members import records
from mobilenets.train import Limits


@dataclass(frozen=True)
class Command:
    """The adaptation, but for its folder."""

    start: Path
    workers: int

    def begin(self, out: Path) -> subprocess.Popen[bytes]:
        program = "from mobilenets.cli import main; main()"
        options = (
            f"--macs 300k --step 0.08 --short-steps 20 --long-epochs 3 --workers {self.workers}"
        )
        words = [
            sys.executable,
            "-c",
            program,
            "adapt",
            str(self.start),
            "digits",
            "--out",
            str(out),
        ]
        words += options.split()
        with out.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)

    def run(self, out: Path) -> float:
        begin = time.monotonic()
        status = self.begin(out).wait()
        if status:
            sys.exit(f"status {status}; {out.with_suffix('.log')} says why")
        return time.monotonic() - begin


def main() -> None:
    """Undisturbed, then so many tries."""
    asked = _arguments()
    shutil.rmtree(asked.out, ignore_errors=True)
    start = asked.out / "start"
    train_named(
        Training("mobilenet_v3_small_0.5_16", "digits", limits=Limits(epochs=20), out=start)
    )
    command = Command(start, asked.workers)
    whole = asked.out / "whole"
    seconds = command.run(whole)
    steps = len(records(whole)) - 1
    print(f"undisturbed: {seconds:.1f} s, {steps} steps", flush=True)
    chance, different = random.Random(asked.seed), 0
    for number in range(asked.tries):
        out = asked.out / f"try-{number}"
        if asked.worker_only:
            found = _kill_worker(command, out, chance.randrange(steps))
        else:
            found = _kill_all(command, out, chance.uniform(0, seconds))
        same = _end(out) == _end(whole)
        different += not same
        record = {"try": number, **found, "same": same}
        print(json.dumps(record), flush=True)
    sys.exit(int(different > 0))


def _kill_all(command: Command, out: Path, moment: float) -> dict[str, Any]:
    process = command.begin(out)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    left = len(records(out)) - 1 if out.exists() else 0
    seconds = command.run(out)
    found = {"moment": round(moment, 1), "steps_before": left}
    return found | {"status": process.returncode, "seconds_after": round(seconds, 1)}


def _kill_worker(command: Command, out: Path, steps_before: int) -> dict[str, Any]:
    begin = time.monotonic()
    process = command.begin(out)
    killed = None
    while killed is None and process.poll() is None:
        if out.exists() and len(records(out)) - 1 >= steps_before:
            killed = _a_worker(process.pid)
        time.sleep(0.02)
    if killed is not None:
        os.kill(killed, signal.SIGKILL)
    status = process.wait()
    seconds = round(time.monotonic() - begin, 1)
    found = {"steps_before": steps_before, "worker_killed": killed is not None}
    return found | {"status": status, "seconds": seconds}


def _a_worker(ancestor: int) -> int | None:
    """A process of Ray's that evaluates a proposal just now."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, *_ in rows}
    for pid, _, words in (row for row in rows if len(row) == 3):
        at = int(pid)
        while at in parents and at != ancestor:
            at = parents[at]
        if at == ancestor and words.startswith("ray::evaluate"):
            return int(pid)
    return None


def _end(out: Path) -> tuple[Any, ...]:
    checkpoint = Checkpoint.load(out / "trained.safetensors")
    steps = [{key: value for key, value in one.items() if key != "seconds"} for one in records(out)]
    return checkpoint.digest(), json.dumps(steps)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/killed"))
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--worker-only", action="store_true", help="kill one of Ray's processes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
