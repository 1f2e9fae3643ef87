"""MobileNets, right-sized: images and a budget in, a verified network out.

>>> from mobilenets import cost, get_arch
>>> cost(get_arch("mobilenet_v3_large", width=0.75)).params
3993528
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilenets.archs import Arch as Arch
    from mobilenets.archs import Budget as Budget
    from mobilenets.archs import at_resolution as at_resolution
    from mobilenets.archs import cost as cost
    from mobilenets.archs import get_arch as get_arch
    from mobilenets.archs import widen as widen
    from mobilenets.choosing.choice import choose as choose
    from mobilenets.deliver.finished import Run
    from mobilenets.deliver.verdict import verify as verify
    from mobilenets.devices.registry import find_device as find_device
    from mobilenets.errors import MobileNetsError as MobileNetsError
    from mobilenets.measuring.device import measuring_on as measuring_on
    from mobilenets.measuring.latency import measure as measure
    from mobilenets.nn import MobileNet as MobileNet
    from mobilenets.nn.pretrained import load_weights as load_weights
    from mobilenets.runtimes import Engine
    from mobilenets.train import How, Limits

__version__ = "0.1.0"
__all__ = [
    "Arch",
    "Budget",
    "MobileNet",
    "MobileNetsError",
    "at_resolution",
    "choose",
    "cost",
    "find_device",
    "fit",
    "get_arch",
    "load_weights",
    "measure",
    "measuring_on",
    "verify",
    "widen",
]

# Loaded on first use: torch takes seconds, and a cost needs none of it.
_LAZY = {
    "Arch": "mobilenets.archs",
    "Budget": "mobilenets.archs",
    "MobileNet": "mobilenets.nn",
    "MobileNetsError": "mobilenets.errors",
    "at_resolution": "mobilenets.archs",
    "choose": "mobilenets.choosing.choice",
    "cost": "mobilenets.archs",
    "find_device": "mobilenets.devices.registry",
    "get_arch": "mobilenets.archs",
    "load_weights": "mobilenets.nn.pretrained",
    "measure": "mobilenets.measuring.latency",
    "measuring_on": "mobilenets.measuring.device",
    "verify": "mobilenets.deliver.verdict",
    "widen": "mobilenets.archs",
}


def fit(
    data: str | Path,
    budget: Budget,
    *,
    out: str | Path | None = None,
    limits: Limits | None = None,
    how: How | None = None,
    runtimes: Sequence[str | Engine] = ("onnxruntime",),
    threads: int = 1,
    seed: int = 0,
) -> Run:
    """Choose, train, export, verify and report, in the folder `out` (None: runs/DATA-LIMITS).

    `limits` bounds the training; where minutes do, the trials before it, too. The network is for
    the best of `runtimes`; "onnxruntime-int8" and "openvino-int8" quantize it to int8.
    The latency is that on this machine, or within `measuring_on(find_device(NAME))` on that.
    `how` says what to train from; with weights, the choice is among the networks that they are of.
    Every stage is a file in the folder; called again with the same arguments, what is done is not
    done again. Raises `NoFitError` where no network fits; an artifact that misses a limit is kept,
    and the summary says so.
    """
    from pathlib import Path

    from mobilenets.commands.fit import Fitting
    from mobilenets.commands.fit import fit as fit_job
    from mobilenets.measuring.device import current
    from mobilenets.runtimes import Engine
    from mobilenets.train import How, Limits

    job = Fitting(
        data, budget, None if out is None else Path(out), limits or Limits(), how or How(),
        tuple(map(Engine.parse, runtimes)), threads, seed, device=current().name,
    )  # fmt: skip
    return fit_job(job)


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mobilenets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
