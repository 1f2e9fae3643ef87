"""Images per second of training: ours against torchvision's and timm's training scripts.

    python benchmarks/training.py --vision ~/vision --timm ~/pytorch-image-models

`--vision` and `--timm` are checkouts of pytorch/vision and huggingface/pytorch-image-models; their
scripts run as they come, on the CPU: same network, same JPEG files (Fashion-MNIST enlarged to 8/7
of the network's input, in train/ and val/, a folder per class), same batch, two data workers where
they have workers, torch's own number of threads. Each contestant runs in a process of its own, in
turns (A B C A B C ...); what is timed is one epoch between two of its printed steps, by this
process's clock, so reading files and augmentation count and start-up does not; ours decodes before
its first step, which is stated apart. `--channels-last` runs timm a second time with that flag.
Prints progress on stderr and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mobilenets.archs import cost, get_arch
from mobilenets.measuring.machine import device_name

BATCH, WORKERS, EVERY = 128, 2, 5
# resolution: (training images, steps that are timed); the steps before FIRST warm up
SIZES = {32: (8_000, 40), 96: (6_000, 20), 224: (3_000, 10)}
FIRST = 5
VERSIONS = ("torch", "torchvision", "timm", "lightning", "pillow")


@dataclass(frozen=True)
class Network:
    """A network and what the peers call it."""

    name: str
    width: float
    torchvision: str
    timm: str


NETWORKS = (
    Network("mobilenet_v3_small", 1.0, "mobilenet_v3_small", "mobilenetv3_small_100"),
    Network("mobilenet_v2", 0.35, "mobilenet_v2", "mobilenetv2_035"),
)


@dataclass(frozen=True)
class Job:
    network: Network
    resolution: int
    data: Path
    scratch: Path


# ------------------------------------------------------------------------- inside a child process


def run_ours(data: str, name: str, width: str, resolution: str, folder: str) -> None:
    """`train` as it comes, saying every few steps which step it has done."""
    from mobilenets.data import load_images, train_pixels
    from mobilenets.train import Limits, from_scratch, train
    from mobilenets.train.module import Learner

    def say(module: Learner, outputs: Any, batch: Any, index: int) -> None:
        if index % EVERY == 0:
            print(f"step {index}", file=sys.stderr, flush=True)

    Learner.on_train_batch_end = say  # type: ignore[method-assign]
    arch = get_arch(name, width=float(width), resolution=int(resolution), classes=10)
    recipe = from_scratch().limited(Limits(epochs=1))
    images, begin = load_images(data), time.perf_counter()
    train_pixels(images, arch.resolution)
    print(f"decoded in {time.perf_counter() - begin:.2f} s", file=sys.stderr, flush=True)
    train(arch, images, recipe, folder=Path(folder))


def run_torchvision(script: str, width: str, *options: str) -> None:
    """Their script, unchanged, with a width it has no flag for."""
    from torchvision.models import _api, mobilenet_v2

    name = "mobilenet_v2_narrow"
    _api.register_model(name)(partial(mobilenet_v2, width_mult=float(width)))
    sys.path.insert(0, str(Path(script).parent))
    sys.argv = [script, *(name if one == "mobilenet_v2" else one for one in options)]
    runpy.run_path(script, run_name="__main__")


# ----------------------------------------------------------------------------------- the parent


def commands(vision: Path, timm: Path, job: Job, *, channels_last: bool) -> dict[str, list[str]]:
    """The contestants' command lines."""
    net, side, data, out = job.network, str(job.resolution), str(job.data), str(job.scratch)
    own = [sys.executable, __file__]
    torchvision = [
        str(vision / "references/classification/train.py"), str(net.width), "--device", "cpu",
        "--data-path", data, "--model", net.torchvision, "-b", str(BATCH), "-j", str(WORKERS),
        "--train-crop-size", side, "--val-crop-size", side, "--val-resize-size", side,
        "--print-freq", str(EVERY), "--output-dir", out, "--epochs", "1",
    ]  # fmt: skip
    theirs = [
        sys.executable, str(timm / "train.py"), "--data-dir", data, "--model", net.timm,
        "--train-split", "train", "--val-split", "val", "--num-classes", "10", "--device", "cpu",
        "--input-size", "3", side, side, "-b", str(BATCH), "-j", str(WORKERS),
        "--log-interval", str(EVERY), "--output", out, "--epochs", "1",
    ]  # fmt: skip
    return {
        "ours": [*own, "ours", data, net.name, str(net.width), side, out],
        "torchvision": [*own, "torchvision", *torchvision],
        "timm": theirs,
    } | ({"timm --channels-last": [*theirs, "--channels-last"]} if channels_last else {})


STEPS = {
    "ours": re.compile(r"^step (\d+)"),
    "torchvision": re.compile(r"^Epoch: \[0\]\s+\[\s*(\d+)/"),
    "timm": re.compile(r"^Train: 0 \[\s*(\d+)/"),
}


def images_per_second(kind: str, command: list[str], steps: int) -> float:
    """Of the epoch's part between two printed steps; the process is ended after the second."""
    pattern = STEPS[kind.split()[0]]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, start_new_session=True,
    )  # fmt: skip
    lines, begin = [], 0.0
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line)
            step = pattern.match(line)
            if step and int(step[1]) == FIRST:
                begin = time.perf_counter()
            if step and int(step[1]) == FIRST + steps:
                return steps * BATCH / (time.perf_counter() - begin)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise SystemExit(f"{kind} did not reach step {FIRST + steps}:\n{''.join(lines[-20:])}")


def write_images(folder: Path, resolution: int, count: int) -> Path:
    """`count` training images and a few for validation, at 8/7 of the network's side."""
    from mobilenets.data import load_images
    from mobilenets.data.preprocess import Preprocess

    images = load_images("fashion-mnist")
    enlarge = Preprocess(resolution * 8 // 7)
    for split, indices in (("train", images.train[:count]), ("val", images.val[: 2 * BATCH])):
        for index in indices.tolist():
            place = folder / split / images.task.labels[images.targets.values[index]]
            place.mkdir(parents=True, exist_ok=True)
            save(enlarge(images.source.read(index)), place / f"{index}.jpg")
    return folder


def save(pixels: Any, path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path, quality=90)


def measure(options: argparse.Namespace, job: Job) -> dict[str, Any]:
    """Every contestant `--rounds` times, in turns; ratios are taken within each round."""
    found: dict[str, list[float]] = {}
    steps = SIZES[job.resolution][1]
    contestants = commands(options.vision, options.timm, job, channels_last=options.channels_last)
    for turn in range(options.rounds):
        for kind, command in contestants.items():
            with tempfile.TemporaryDirectory() as scratch:
                here = [scratch if one == str(job.scratch) else one for one in command]
                found.setdefault(kind, []).append(images_per_second(kind, here, steps))
            net = f"{job.network.name} {job.network.width} {job.resolution}"
            print(f"{net} {turn} {kind} {found[kind][-1]:.1f}", file=sys.stderr, flush=True)
    arch = get_arch(job.network.name, width=job.network.width, resolution=job.resolution)
    return {
        "network": asdict(job.network),
        "resolution": job.resolution,
        "macs": cost(arch).macs,
        "images_per_second": found,
        "ours_over": {kind: ratios(found["ours"], found[kind]) for kind in list(found)[1:]},
        "load": os.getloadavg(),
    }


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    each = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {"median": statistics.median(each), "least": each[0], "most": each[-1]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vision", type=Path, required=True, help="checkout of pytorch/vision")
    parser.add_argument("--timm", type=Path, required=True, help="checkout of timm")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--channels-last", action="store_true", help="timm also with its flag")
    return parser.parse_args()


def main() -> None:
    if sys.argv[1:2] == ["ours"]:
        return run_ours(*sys.argv[2:])
    if sys.argv[1:2] == ["torchvision"]:
        return run_torchvision(*sys.argv[2:])
    options = arguments()
    results = []
    with tempfile.TemporaryDirectory() as name:
        for size in options.sizes:
            data = write_images(Path(name, str(size)), size, SIZES[size][0])
            for network in NETWORKS:
                job = Job(network, size, data, Path(name, "out"))
                results.append(measure(options, job))
    versions = {package: version(package) for package in VERSIONS}
    return print(json.dumps({"device": device_name(), "versions": versions, "results": results}))


if __name__ == "__main__":
    main()
