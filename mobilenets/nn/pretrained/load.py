"""`load_weights`: from the words after `--weights` to a checkpoint of ours.

timm                       the best published weights of timm for the network asked for
timm:lamb_in1k             those of one tag
timm:mobilenetv2_110d.ra_in1k     one checkpoint by its whole name
hf:owner/name              a Hub repository of ours (`mobilenets push`)
trained.safetensors        a checkpoint of ours, or a weights file of one of the three sources
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mobilenets.archs import Arch, Resolution, at_resolution, get_arch, keep_resolution
from mobilenets.archs.published_weights import PUBLISHED_WEIGHTS, SOURCES, Published, find_weights
from mobilenets.errors import ArchError, FileError
from mobilenets.files import sha256_of
from mobilenets.nn.checkpoint import Checkpoint
from mobilenets.nn.model import MobileNet
from mobilenets.nn.pretrained.download import fetch, verified
from mobilenets.nn.pretrained.hub import pull_checkpoint
from mobilenets.nn.pretrained.keras import Layers, from_keras, read_layers
from mobilenets.nn.pretrained.timm import from_timm
from mobilenets.nn.pretrained.torchvision import from_torchvision

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".h5")


def load_weights(
    words: str | Path,
    network: str | Arch | None = None,
    *,
    width: float | None = None,
    resolution: Resolution | None = None,
    classes: int | None = None,
) -> Checkpoint:
    """The checkpoint that `words` mean, for `network`, which may be left out where the words name
    one; its arch has the conventions of the weights.

    Of an `Arch`, the name, width, resolution, output stride and number of classes are taken. For
    another number of classes than the weights have, the classifier is new (random), the rest is
    kept. Raises `ArchError` where nothing such is published and `FileError` for what cannot be
    downloaded or read.
    """
    text = str(words)
    source = text.partition(":")[0].lower()
    if source in SOURCES:
        published = find_weights(text, network, width=width, resolution=resolution)
        checkpoint = read_published(published, fetch(published))
    elif source == "hf":
        checkpoint = Checkpoint.load(pull_checkpoint(text.partition(":")[2]))
        _check_is(checkpoint, network, width, text)
    else:
        checkpoint = _from_file(Path(words), network, width, resolution)
    return _fitted(checkpoint, network, resolution, classes)


def read_published(published: Published, path: Path) -> Checkpoint:
    """The checkpoint in a published file; raises `FileError` for a file of something else."""
    return _convert(published, _read(path), path)


def imagenet_labels() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the order of the logits of all three sources."""
    from torchvision.models import MobileNet_V2_Weights

    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])


def _convert(published: Published, state: Any, path: Path) -> Checkpoint:
    convert = {
        "torchvision": from_torchvision,
        "timm": from_timm,
        "keras": from_keras,
    }[published.source]
    weights = convert(published.arch, state)  # type: ignore[operator]
    return Checkpoint(
        arch=published.arch,
        weights=weights,
        labels=imagenet_labels() if published.classes == 1000 else _numbers(published.classes),
        preprocess=_preprocess(published),
        mean=published.mean,
        std=published.std,
        training={
            "weights": published.name,
            "imagenet_top1": published.top1,
            "file": path.name,
            "sha256": sha256_of(path),
        },
    )


def _preprocess(published: Published) -> dict[str, Any]:
    """As `data.Preprocess` writes it."""
    return {
        "resolution": published.resolution,
        "crop": published.resolution / published.short_side,
        "interpolation": published.interpolation,
        "antialias": True,
        "value_range": [0, 1],
        "colour": "RGB",
    }


def _numbers(classes: int) -> tuple[str, ...]:
    return tuple(str(index) for index in range(classes))


def _fitted(
    checkpoint: Checkpoint,
    network: str | Arch | None,
    resolution: Resolution | None,
    classes: int | None,
) -> Checkpoint:
    """At the resolution and output stride asked for, with as many classes."""
    arch = checkpoint.arch
    if isinstance(network, Arch):
        resolution = network.resolution if resolution is None else resolution
        classes = network.classes if classes is None else classes
        arch = keep_resolution(arch, network.output_stride)
    if resolution is not None:
        arch = at_resolution(arch, resolution)
    preprocess = {**checkpoint.preprocess, "resolution": arch.resolution}
    checkpoint = replace(checkpoint, arch=arch, preprocess=preprocess)
    if classes is None or classes == arch.classes:
        return checkpoint
    return _with_new_classifier(checkpoint, classes)


def _with_new_classifier(checkpoint: Checkpoint, classes: int) -> Checkpoint:
    arch = checkpoint.arch.with_classes(classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = MobileNet(arch).state_dict()
    new = {name: tensor for name, tensor in fresh.items() if name.startswith("head.classifier.")}
    weights = {**checkpoint.weights, **new}
    training = {**checkpoint.training, "classifier": "new"}
    return replace(
        checkpoint, arch=arch, weights=weights, labels=_numbers(classes), training=training
    )


def _from_file(
    path: Path, network: str | Arch | None, width: float | None, resolution: Resolution | None
) -> Checkpoint:
    if not path.is_file() or path.suffix not in _SUFFIXES:
        raise FileError(
            f"weights come from {', '.join(SOURCES)} (each with :TAG), hf:OWNER/NAME or a file "
            f"({', '.join(_SUFFIXES)}), got {str(path)!r}"
        )
    if _is_ours(path):
        checkpoint = Checkpoint.load(path)
        _check_is(checkpoint, network, width, str(path))
        return checkpoint
    for published in PUBLISHED_WEIGHTS:
        for file in published.files:
            if file.name == path.name:
                return read_published(published, verified(file, path))
    return _from_foreign(path, network, width, resolution)


def _from_foreign(
    path: Path, network: str | Arch | None, width: float | None, resolution: Resolution | None
) -> Checkpoint:
    """A file in the format of a source, of weights that need not be its published ones: the network
    and the conventions are those of what the source publishes for this network."""
    state = _read(path)
    source = _source(state)
    if network is None or source is None:
        raise FileError(
            f"{path} is no checkpoint of ours, and "
            + ("of none of our sources" if source is None else f"looks like {source}'s")
            + "; name the network it is of, as its publisher does"
        )
    published = find_weights(source, network, width=width, resolution=resolution)
    published = replace(published, classes=_classes(state))
    checkpoint = _convert(published, state, path)
    return replace(checkpoint, labels=_numbers(published.classes), training={"file": path.name})


def _source(state: Mapping[str, Tensor] | Layers) -> str | None:
    if not isinstance(state, Mapping):
        return "keras"
    marks = {"features.0.0.weight": "torchvision", "conv_stem.weight": "timm"}
    return next((source for name, source in marks.items() if name in state), None)


def _classes(state: Mapping[str, Tensor] | Layers) -> int:
    """The length of the last bias."""
    if not isinstance(state, Mapping):
        return len(state[-1].get("bias", ())) or 1
    return len([tensor for name, tensor in state.items() if name.endswith(".bias")][-1])


def _check_is(
    checkpoint: Checkpoint, network: str | Arch | None, width: float | None, where: str
) -> None:
    """Raise `ArchError` where the file's network is not the one asked for."""
    if network is None:
        return
    asked = get_arch(network, width=width) if isinstance(network, str) else network
    got = checkpoint.arch
    if (got.name, got.width) != (asked.name, asked.width):
        raise ArchError(
            f"{where} holds weights of {got.name} of width {got.width:g}, not of {asked.name} of "
            f"width {asked.width:g}; ask for that network or give other weights"
        )


def _is_ours(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return "mobilenets" in (file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _read(path: Path) -> Any:
    """The tensors in a file by name, or Keras' list of layers. Nothing pickled but tensors is
    loaded."""
    if path.suffix == ".h5":
        return read_layers(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file makes torch raise nearly anything
        raise _unreadable(path, error) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        raise _unreadable(path, "it holds no dictionary of tensors")
    return state


def _unreadable(path: Path, why: object) -> FileError:
    reason = " ".join(str(why).split())[:200]
    return FileError(f"{path} cannot be read as weights ({reason}); remove it and get it again")
