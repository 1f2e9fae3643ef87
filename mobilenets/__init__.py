"""MobileNets, right-sized: images and a budget in, a verified network out.

>>> from mobilenets import cost, get_arch
>>> cost(get_arch("mobilenet_v3_large", width=0.75)).params
3993528
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mobilenets.archs import Arch as Arch
from mobilenets.archs import Budget as Budget
from mobilenets.archs import at_resolution as at_resolution
from mobilenets.archs import cost as cost
from mobilenets.archs import get_arch as get_arch
from mobilenets.archs import widen as widen
from mobilenets.errors import MobileNetsError as MobileNetsError

if TYPE_CHECKING:
    from mobilenets.choosing.choice import choose as choose
    from mobilenets.commands.fit import fit as fit
    from mobilenets.deliver.verdict import verify as verify
    from mobilenets.measuring.latency import measure as measure
    from mobilenets.nn import MobileNet as MobileNet
    from mobilenets.nn.pretrained import load_weights as load_weights

__version__ = "0.1.0"
__all__ = [
    "Arch",
    "Budget",
    "MobileNet",
    "MobileNetsError",
    "at_resolution",
    "choose",
    "cost",
    "fit",
    "get_arch",
    "load_weights",
    "measure",
    "verify",
    "widen",
]

# Loaded on first use: torch takes seconds, and a cost needs none of it.
_LAZY = {
    "MobileNet": "mobilenets.nn",
    "choose": "mobilenets.choosing.choice",
    "fit": "mobilenets.commands.fit",
    "load_weights": "mobilenets.nn.pretrained",
    "measure": "mobilenets.measuring.latency",
    "verify": "mobilenets.deliver.verdict",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mobilenets' has no attribute {name!r}")
