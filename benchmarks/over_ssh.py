"""p50 of networks measured by ssh against the same measured here, interleaved turn by turn.

    taskset -c 0 python benchmarks/over_ssh.py USER@HOST:PORT PYTHON [REPEATS]

It tells what the connection does to a latency where both are one machine: sshd on 127.0.0.1, pinned
to the same core. A line of JSON for each pair.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from mobilenets.archs import get_arch
from mobilenets.devices.ssh import Ssh
from mobilenets.measuring.device import LOCAL, measuring_on
from mobilenets.measuring.latency import Bench, Latency, compare
from mobilenets.measuring.loop import interleave
from mobilenets.runtimes import DEFAULT
from mobilenets.runtimes.isolated import Job, export_isolated

NETWORKS = (
    ("mobilenet_v1", 0.5, 128),
    ("mobilenet_v1", 1.0, 224),
    ("mobilenet_v2", 0.5, 160),
    ("mobilenet_v2", 1.0, 224),
    ("mobilenet_v3_small", 0.5, 96),
    ("mobilenet_v3_small", 1.0, 224),
    ("mobilenet_v3_large", 1.0, 224),
    ("mobilenet_v4_conv_small", 1.0, 224),
)
SECONDS = 6.0


def both(path: Path, far: Ssh, *, first_far: bool) -> tuple[Latency, Latency]:
    """The latency here and there, one core, one session."""
    with measuring_on(LOCAL):
        here = Bench(DEFAULT, 1)
    with measuring_on(far):
        there = Bench(DEFAULT, 1)
    with here, there:
        targets = [here.load(path), there.load(path)]
        order = targets[::-1] if first_far else targets
        timed = dict(zip(order, interleave(order, seconds=SECONDS, min_runs=50), strict=True))
        ours, theirs = (target.latency(timed[target]) for target in targets)
        return ours, theirs


def main(target: str, python: str, repeats: int = 3) -> None:
    far = Ssh("far", target, python)
    with tempfile.TemporaryDirectory() as folder:
        archs = [get_arch(name, width=w, resolution=r) for name, w, r in NETWORKS]
        paths = [Path(folder, f"{arch.full_name}.onnx") for arch in archs]
        export_isolated([Job(*one) for one in zip(archs, paths, strict=True)], DEFAULT)
        for repeat in range(repeats):
            for path in paths:
                ours, theirs = both(path, far, first_far=repeat % 2 == 1)
                found = {
                    "network": path.stem,
                    "here_ms": ours.p50_ms,
                    "there_ms": theirs.p50_ms,
                    "ratio": theirs.p50_ms / ours.p50_ms,
                    "by_turns": compare([ours, theirs])[1],
                    "disturbed": [ours.slowed, theirs.slowed],
                }
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
