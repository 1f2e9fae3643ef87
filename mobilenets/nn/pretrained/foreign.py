"""The tensors in a file that another tool wrote, whatever it wrapped them in.

Training files hold more than weights: torchvision's reference {"model": ..., "optimizer": ...},
timm's {"state_dict": ..., "args": Namespace}, Lightning's .ckpt; DataParallel, torch.compile and
Lightning put a prefix before each name. Tensors and plain containers are unpickled, and nothing
else: any other class or function in the file becomes an `_Inert`, which does nothing.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from mobilenets.errors import FileError
from mobilenets.nn.pretrained.names import LEAVES

# The first weights of a network, by whose names.
MARKS = {
    "features.0.0.weight": "torchvision",
    "backbone.features.0.0.0.weight": "torchvision",  # of its detector
    "conv_stem.weight": "timm",
    "_conv_stem.weight": "package",
}
_DEEPEST = 6
State = dict[str, Tensor]


def read_state(path: Path) -> tuple[str, State]:
    """Whose names the file's network has, a key of `SOURCES`, and its tensors by those names.

    Of averaged weights (EMA) and others the averaged are taken. Raises `FileError` for a file that
    cannot be read, or holds no network or several.
    """
    try:
        value = _loaded(path)
    except Exception as error:  # a broken file makes torch raise nearly anything
        raise unreadable(path, error) from error
    states = [(where, _plain(state)) for where, state in _states(value)]
    if not states:
        raise unreadable(path, "it holds no dictionary of tensors")
    networks = [(where, state) for where, state in states if _prefixes(state)]
    if not networks:
        first = ", ".join(list(states[0][1])[:3])
        raise FileError(
            f"{path} is no checkpoint of ours, and of none of our sources (its first tensors are "
            f"{first}); give a MobileNet's or an EfficientNet-Lite's state_dict of torchvision, "
            "timm or Keras"
        )
    state = min(networks, key=lambda found: "ema" not in found[0].lower())[1]
    (mark, prefix), *others = _prefixes(state)
    if others:
        names = ", ".join(repr(other) for _, other in ((mark, prefix), *others))
        raise FileError(
            f"{path} holds several networks, whose names begin with {names}; save the one you mean "
            "alone"
        )
    return MARKS[mark], _named(state, prefix)


def unreadable(path: Path, why: object) -> FileError:
    """What is said of a file that holds no weights."""
    text = " ".join(str(why).split())
    code = re.search(r"GLOBAL (\S+)", text)
    if code:  # torch's own advice is to run it
        text = f"it holds more than tensors and plain containers: {code[1]}, which is never run"
    elif "Weights only load failed" in text:
        text = "it is no file of tensors that torch wrote"
    return FileError(
        f"{path} cannot be read as weights ({text[:200]}); give a file of tensors: "
        "torch.save(model.state_dict(), ...) or safetensors"
    )


class _Inert:
    """Stands where a file names a class or a function: takes any arguments and does nothing."""

    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _loaded(path: Path) -> Any:
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # the format before torch 1.6, or none
        names = []
    inert: list[Any] = [(OrderedDict if name.endswith("Dict") else _Inert, name) for name in names]
    with safe_globals(inert):
        return torch.load(path, map_location="cpu", weights_only=True)


def _states(value: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """Every dictionary of tensors, however deep, and the keys it lies under."""
    if isinstance(value, _Inert):
        value = _of_module(value)
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return
    tensors = {
        name: one
        for name, one in value.items()
        if isinstance(name, str) and isinstance(one, Tensor)
    }
    if tensors:
        yield where, tensors
    for name, one in value.items():
        if isinstance(one, Mapping | _Inert):
            yield from _states(one, f"{where}.{name}", depth + 1)


def _of_module(value: _Inert, prefix: str = "") -> State:
    """The tensors of a module that was pickled whole (torch.save(model)), as its state_dict."""
    state = value.state if isinstance(value.state, Mapping) else {}
    found = {
        f"{prefix}{name}": tensor
        for kind in ("_parameters", "_buffers")
        for name, tensor in (state.get(kind) or {}).items()
        if isinstance(tensor, Tensor)
    }
    for name, module in (state.get("_modules") or {}).items():
        if isinstance(module, _Inert):
            found |= _of_module(module, f"{prefix}{name}.")
    return found


def _plain(state: State) -> State:
    """Without what torch.compile puts into names."""
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}


def _prefixes(state: State) -> list[tuple[str, str]]:
    """Each network's mark, and what stands before its names."""
    return [
        (mark, name.removesuffix(mark))
        for name in state
        for mark in MARKS
        if name == mark or name.endswith(f".{mark}")
    ]


def _named(state: State, prefix: str) -> State:
    """The network's own tensors, in float32 and by its publisher's names."""
    found: State = {}
    for name, tensor in state.items():
        if not name.startswith(prefix) or name.rpartition(".")[2] not in LEAVES:
            continue
        tensor = tensor.detach()
        found[name.removeprefix(prefix)] = tensor.float() if tensor.is_floating_point() else tensor
    for name in [name for name in found if name.endswith(".running_mean")]:
        found.setdefault(f"{name.rpartition('.')[0]}.num_batches_tracked", torch.tensor(0))
    return found
