"""Our ONNX files against torchvision's own networks exported by torch.onnx.export, in onnxruntime.

    python benchmarks/artifacts.py

V2, V3-Large, V3-Small at 224, fp32, batch 1, one thread, pinned, timed alternately in one process;
the ratio is the median of the turn by turn ratios. Ours has the normalization inside, torchvision's
has not. Same weights in both. Prints one JSON line last.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import median

import onnxruntime
import torch
import torchvision

from mobilenets.archs import get_arch
from mobilenets.measuring.latency import compare, measure
from mobilenets.measuring.machine import device_name
from mobilenets.nn import Checkpoint
from mobilenets.nn.pretrained.torchvision import convention, from_torchvision
from mobilenets.runtimes.artifact import export

_NETWORKS = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
_SESSIONS = 5


def export_both(name: str, folder: Path) -> tuple[Path, Path]:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)().eval()
    arch = convention(get_arch(name, rule="torchvision"))
    checkpoint = Checkpoint.fresh(arch)
    checkpoint = replace(checkpoint, weights=from_torchvision(arch, theirs.state_dict()))
    paths = folder / f"{name}_torchvision.onnx", folder / f"{name}_ours.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        image = torch.zeros(1, 3, 224, 224)
        torch.onnx.export(theirs, (image,), paths[0], dynamo=True, verbose=False)
    export(checkpoint, "onnxruntime", paths[1])
    return paths


def main() -> None:
    result: dict[str, object] = {
        "device": device_name(),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "threads": 1,
        "sessions": _SESSIONS,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in _NETWORKS:
            paths = export_both(name, Path(folder))
            sessions = [measure(paths, seconds=4.0, min_runs=200) for _ in range(_SESSIONS)]
            ratios = [compare(session)[1] for session in sessions]
            result[name] = {
                "torchvision_p50_ms": median(session[0].p50_ms for session in sessions),
                "ours_p50_ms": median(session[1].p50_ms for session in sessions),
                "ratio": median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
            print(name, result[name])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
