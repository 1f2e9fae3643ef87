"""Every runtime on the four networks: error, latency, and ours against what users would pick.

    python benchmarks/runtimes.py --threads 1 --out benchmarks/results/DATE-runtimes-1.json

1. Our V1, V2, V3-Large and V3-Small (width 1, 224 pixels, random weights, batch norm's statistics
   those of photographs) in every runtime, all runtimes in turns: the largest error of a logit
   against eager PyTorch on photographs, p50, p90 and the ratio to the fastest.
2. In each runtime ours against timm's and torchvision's network of the same name, converted as
   their makers show it (`theirs`), in turns; the ratio is the median over SESSIONS sessions. Ours
   takes an image in [0, 1] and normalizes it; theirs stand as they come, which leaves that to the
   caller, and once more with it before their first layer: the same work.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.optim.swa_utils import update_bn

from mobilenets.archs import get_arch
from mobilenets.measuring import compare, measure
from mobilenets.measuring.loop import LocalTarget, interleave
from mobilenets.measuring.machine import device_name
from mobilenets.nn import Checkpoint, Deployed
from mobilenets.nn.checkpoint import MEAN, STD
from mobilenets.runtimes import RUNTIMES, get_runtime
from mobilenets.runtimes.isolated import Job, export_isolated

PEERS = {
    "mobilenet_v1": ("mobilenetv1_100", None),
    "mobilenet_v2": ("mobilenetv2_100", "mobilenet_v2"),
    "mobilenet_v3_large": ("mobilenetv3_large_100", "mobilenet_v3_large"),
    "mobilenet_v3_small": ("mobilenetv3_small_100", "mobilenet_v3_small"),
}
SESSIONS = 5
IMAGE = torch.zeros(1, 3, 224, 224)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--networks", default=",".join(PEERS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    runtimes = options.runtimes.split(",")
    record: dict[str, Any] = {
        "device": device_name(),
        "threads": options.threads,
        "versions": {name: RUNTIMES[name].version() for name in runtimes}
        | {"timm": timm.__version__, "torchvision": torchvision.__version__},
        "ours": [],
        "peers": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks.split(","):
            checkpoint = seen_photographs(Checkpoint.fresh(get_arch(name)))
            files = convert_ours(checkpoint, runtimes, Path(folder))
            record["ours"] += compare_runtimes(checkpoint, files, options.threads)
            for runtime, file in files.items():
                record["peers"] += compare_peers(name, runtime, file, options.threads)
                options.out.write_text(json.dumps(record, indent=1) + "\n")


def seen_photographs(checkpoint: Checkpoint, *, crops: int = 64) -> Checkpoint:
    """With the statistics of crops of photographs in batch norm, as training leaves them. With
    random ones a V3-Large's logits differ by 2e-4 between float32 and float64 (seed 0)."""
    random = np.random.default_rng(0)
    photos = load_sample_images().images
    images = np.empty((crops, 224, 224, 3), np.float32)
    for at in range(crops):
        photo = photos[at % len(photos)]
        top, left = (int(random.integers(side - 224)) for side in photo.shape[:2])
        images[at] = photo[top : top + 224, left : left + 224] / 255
    network = checkpoint.network()
    update_bn([normalized(checkpoint, images.transpose(0, 3, 1, 2))], network)
    return replace(checkpoint, weights=network.state_dict())


def normalized(checkpoint: Checkpoint, images: Any) -> torch.Tensor:
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (checkpoint.mean, checkpoint.std))
    return (torch.from_numpy(images) - mean) / std


def convert_ours(checkpoint: Checkpoint, runtimes: list[str], folder: Path) -> dict[str, Path]:
    name = checkpoint.arch.name
    files = {one: folder / f"{name}-{one}{RUNTIMES[one].suffix}" for one in runtimes}
    checkpoint.save(folder / f"{name}.safetensors")
    for runtime, file in files.items():
        export_isolated([Job(folder / f"{name}.safetensors", file)], runtime)
    return files


def compare_runtimes(
    checkpoint: Checkpoint, files: dict[str, Path], threads: int
) -> list[dict[str, Any]]:
    found = measure(list(files.values()), runtime=list(files), threads=threads, seconds=4)
    fastest = min(range(len(found)), key=lambda at: found[at].p50_ms)
    ratios = compare([found[fastest], *found])[1:]
    rows = []
    for latency, ratio, file in zip(found, ratios, files.values(), strict=True):
        row = {
            "network": checkpoint.arch.name,
            "runtime": latency.runtime,
            "error": error_against_eager(checkpoint, latency.runtime, file),
            **{key: getattr(latency, key) for key in ("p50_ms", "p90_ms", "spread", "noisy")},
            "ratio_to_fastest": ratio,
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def error_against_eager(checkpoint: Checkpoint, runtime: str, file: Path) -> float:
    images = photographs()
    with torch.inference_mode():
        eager = checkpoint.network()(normalized(checkpoint, images)).numpy()
    session = get_runtime(runtime).load(file, 1)
    logits = np.concatenate([session.run(image[None]) for image in images])
    return float(np.abs(logits - eager).max() / np.abs(eager).max())


def photographs() -> Any:
    """scikit-learn's two photographs at 224 pixels: (2, 3, 224, 224) in [0, 1]."""
    photos = [Image.fromarray(image).resize((224, 224)) for image in load_sample_images().images]
    return np.stack([np.asarray(p, np.float32).transpose(2, 0, 1) / 255 for p in photos])


def compare_peers(name: str, runtime: str, ours: Path, threads: int) -> list[dict[str, Any]]:
    peers = load_peers(name)
    if runtime in ("torch", "torch-compile"):
        ratios = torch_ratios(name, list(peers.values()), threads, compiled=runtime != "torch")
    else:
        with tempfile.TemporaryDirectory() as folder:
            files = [ours]
            for (source, normalizes), network in peers.items():
                stem = f"{source}_normalizing" if normalizes else source
                files.append(Path(folder, f"{stem}{RUNTIMES[runtime].suffix}"))
                with quiet():
                    THEIRS[runtime](network, files[-1])
            ratios = file_ratios(files, runtime, threads)
    rows = []
    for (source, normalizes), sessions in zip(peers, ratios, strict=True):
        row = {
            "network": name, "runtime": runtime, "peer": source, "normalizes": normalizes,
            "ours_over_theirs": median(sessions), "sessions": sessions,
        }  # fmt: skip
        print(row, flush=True)
        rows.append(row)
    return rows


def load_peers(name: str) -> dict[tuple[str, bool], nn.Module]:
    """By maker and whether the image is normalized inside."""
    by_timm, by_torchvision = PEERS[name]
    networks = {"timm": timm.create_model(by_timm, pretrained=False)}
    if by_torchvision:
        networks["torchvision"] = torchvision.models.get_model(by_torchvision, weights=None)
    peers: dict[tuple[str, bool], nn.Module] = {}
    for source, network in networks.items():
        settle_(network.eval())
        peers[source, False] = network
        peers[source, True] = Normalizing(network).eval()
    return peers


class Normalizing(nn.Module):
    """A network that is given the image in [0, 1], as ours are."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network((image - self.mean) / self.std)


def settle_(network: nn.Module) -> None:
    """Batch norm as training leaves it: with zeros the exporters drop biases."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def file_ratios(files: list[Path], runtime: str, threads: int) -> list[list[float]]:
    """Ours over each other file, by session."""
    sessions = []
    for _ in range(SESSIONS):
        found = measure(files, runtime=runtime, threads=threads, seconds=1)
        sessions.append([1 / ratio for ratio in compare(found)[1:]])
    return [list(one) for one in zip(*sessions, strict=True)]


def torch_ratios(
    name: str, peers: list[nn.Module], threads: int, *, compiled: bool
) -> list[list[float]]:
    """The same in this process, ours as its runtime runs it, theirs as they come."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    torch.set_num_threads(threads)
    ours = Deployed(Checkpoint.fresh(get_arch(name))).to(memory_format=torch.channels_last)
    image = IMAGE.uniform_()
    networks = [ours, *peers]
    if compiled:
        # What was compiled for the networks before is asked first, at every call.
        torch._dynamo.reset()
        networks = [torch.compile(ours, options={"freezing": True}), *map(torch.compile, peers)]
    inputs = [image.contiguous(memory_format=torch.channels_last)] + [image] * len(peers)
    runs = [runner(network, one) for network, one in zip(networks, inputs, strict=True)]
    sessions = []
    for _ in range(SESSIONS):
        timed = interleave([LocalTarget(run) for run in runs], seconds=2, min_runs=50)
        turns = [
            [
                median(one.times_ms[at : at + one.burst])
                for at in range(0, len(one.times_ms), one.burst)
            ]
            for one in timed
        ]
        sessions.append(
            [median(a / b for a, b in zip(turns[0], other, strict=True)) for other in turns[1:]]
        )
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return [list(one) for one in zip(*sessions, strict=True)]


def runner(network: Callable[..., Any], image: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            network(image)

    run()
    return run


# How each runtime's makers show the conversion of a PyTorch network.


def to_onnx(network: nn.Module, path: Path) -> None:
    torch.onnx.export(network, (IMAGE,), path, dynamo=True, external_data=False)


def to_openvino(network: nn.Module, path: Path) -> None:
    import openvino

    openvino.save_model(
        openvino.convert_model(network, example_input=IMAGE, input=[1, 3, 224, 224]), path
    )


def to_litert(network: nn.Module, path: Path) -> None:
    import litert_torch

    litert_torch.convert(network, (IMAGE,)).export(str(path))


def to_executorch(network: nn.Module, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = to_edge_transform_and_lower(
        torch.export.export(network, (IMAGE,)), partitioner=[XnnpackPartitioner()]
    ).to_executorch()
    path.write_bytes(program.buffer)


def to_ncnn(network: nn.Module, path: Path) -> None:
    import pnnx

    stem = path.name.removesuffix(".ncnn.param")
    pnnx.export(network, str(path.with_name(f"{stem}.pt")), (IMAGE,))
    about = {"arch": {"in_channels": 3, "resolution": 224}}
    path.with_suffix(".json").write_text(json.dumps(about))


THEIRS = {
    "onnxruntime": to_onnx,
    "openvino": to_openvino,
    "litert": to_litert,
    "executorch": to_executorch,
    "ncnn": to_ncnn,
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    main()
