"""Counting costs: ours against fvcore, thop and ptflops, for time and for the numbers themselves.

    pip install fvcore thop ptflops
    python benchmarks/counters.py

The four networks at width 1, 224 pixels, 1000 classes. Each tool is asked for MACs in turns; the
others get our PyTorch module, already built. Ours needs none: it counts from the rows. The papers'
numbers stand beside. Prints one JSON line last.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from ptflops import get_model_complexity_info
from thop import profile

from mobilenets.archs import cost, get_arch
from mobilenets.measuring.machine import device_name
from mobilenets.nn import MobileNet

# Millions of multiply-adds and parameters, arXiv:1704.04861, 1801.04381, 1905.02244.
PAPERS = {
    "mobilenet_v1": (569, 4.2),
    "mobilenet_v2": (300, 3.4),
    "mobilenet_v3_large": (219, 5.4),
    "mobilenet_v3_small": (56, 2.5),  # MACs: Table 3; parameters: 2.5 M
}
TURNS = 7
Count = Callable[[], tuple[float, float]]


def counters(name: str) -> dict[str, Count]:
    arch = get_arch(name)
    model = MobileNet(arch).eval()
    image = torch.zeros(1, 3, 224, 224)

    def ours() -> tuple[float, float]:
        cost.cache_clear() if hasattr(cost, "cache_clear") else None
        costs = cost(arch)
        return costs.macs, costs.params

    def by_fvcore() -> tuple[float, float]:
        counted = FlopCountAnalysis(model, image)
        counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return counted.total(), sum(p.numel() for p in model.parameters())

    def by_thop() -> tuple[float, float]:
        return profile(model, inputs=(image,), verbose=False)

    def by_ptflops() -> tuple[float, float]:
        return get_model_complexity_info(
            model, (3, 224, 224), as_strings=False, print_per_layer_stat=False, backend="pytorch"
        )

    return {"ours": ours, "fvcore": by_fvcore, "thop": by_thop, "ptflops": by_ptflops}


def main() -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    record: dict[str, Any] = {"device": device_name(), "networks": {}}
    record["versions"] = {name: version(name) for name in ("fvcore", "thop", "ptflops", "torch")}
    for name, (macs_m, params_m) in PAPERS.items():
        seconds: dict[str, list[float]] = {}
        counted: dict[str, tuple[float, float]] = {}
        for _ in range(TURNS):
            for tool, count in counters(name).items():
                with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    begin = time.perf_counter()
                    counted[tool] = count()
                    seconds.setdefault(tool, []).append(time.perf_counter() - begin)
        ours = median(seconds["ours"])
        record["networks"][name] = {"paper": {"macs": macs_m * 1e6, "params": params_m * 1e6}} | {
            tool: {
                "macs": counted[tool][0],
                "params": counted[tool][1],
                "ms": 1000 * median(times),
                "times_ours": median(times) / ours,
            }
            for tool, times in seconds.items()
        }
        print(name, json.dumps(record["networks"][name], indent=1))
    print(json.dumps(record))


if __name__ == "__main__":
    main()
