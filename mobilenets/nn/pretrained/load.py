"""`load_weights`: from the words after `--weights` to a checkpoint of ours.

timm                       the best published weights of timm for the network asked for
timm:lamb_in1k             those of one tag
timm:mobilenetv2_110d.ra_in1k     one checkpoint by its whole name
hf:owner/name              a Hub repository of ours (`mobilenets push`)
package:efficientnet_lite0        those in an installed PyPI package
trained.safetensors        a checkpoint of ours, or another tool's file of such a network
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mobilenets.archs import Arch, Resolution, at_resolution, get_arch, keep_resolution, ops
from mobilenets.archs.published_weights import (
    PUBLISHED_DETECTORS,
    PUBLISHED_WEIGHTS,
    SOURCES,
    Published,
    find_weights,
)
from mobilenets.archs.variants import VARIANTS
from mobilenets.data import Preprocess
from mobilenets.errors import ArchError, FileError
from mobilenets.files import sha256_of
from mobilenets.nn.checkpoint import Checkpoint
from mobilenets.nn.model import MobileNet
from mobilenets.nn.pretrained.download import fetch, verified
from mobilenets.nn.pretrained.efficientnet_pytorch import from_efficientnet_pytorch
from mobilenets.nn.pretrained.foreign import read_state, unreadable
from mobilenets.nn.pretrained.hub import pull_checkpoint
from mobilenets.nn.pretrained.identify import identified
from mobilenets.nn.pretrained.keras import from_keras, read_layers
from mobilenets.nn.pretrained.timm import from_timm
from mobilenets.nn.pretrained.torchvision import from_torchvision

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".h5")


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
    state = read_layers(path) if published.source == "keras" else read_state(path)[1]
    return _convert(published, state, path)


def imagenet_labels() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the order of the logits of all three sources."""
    from torchvision.models import MobileNet_V2_Weights

    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])


def coco_labels() -> tuple[str, ...]:
    """The names of COCO's 90 classes without the background, "N/A" where a number has none, in the
    order of torchvision's scores."""
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

    return tuple(SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"][1:])


def _convert(published: Published, state: Any, path: Path) -> Checkpoint:
    convert = {
        "torchvision": from_torchvision,
        "timm": from_timm,
        "keras": from_keras,
        "package": from_efficientnet_pytorch,
    }[published.source]
    weights = convert(published.arch, state)  # type: ignore[operator]
    return Checkpoint(
        arch=published.arch,
        weights=weights,
        labels=_labels(published),
        preprocess=_preprocess(published),
        mean=published.mean,
        std=published.std,
        training={
            "weights": published.name,
            "imagenet_top1": published.top1,
            "file": path.name,
            "sha256": sha256_of(path),
        },
        task=published.task,
    )


def _labels(published: Published, *, named: bool = True) -> tuple[str, ...]:
    """Those it was published with; numbers where it is of other classes, or not `named`."""
    detects = published.head != "classify"
    classes = published.classes - detects  # without the background
    if named and classes == (90 if detects else 1000):
        return coco_labels() if detects else imagenet_labels()
    return _numbers(classes)


def _preprocess(published: Published) -> dict[str, Any]:
    crop = published.resolution / published.short_side
    return Preprocess(published.resolution, crop, published.interpolation).to_json()


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
    layers = tuple(f"{op.name}." for op in ops(arch) if op.role == "classifier")
    new = {name: tensor for name, tensor in fresh.items() if name.startswith(layers)}
    weights = {**checkpoint.weights, **new}
    training = {**checkpoint.training, "classifier": "new"}
    background = checkpoint.arch.classes - len(checkpoint.labels)
    labels = _numbers(classes - background)
    return replace(checkpoint, arch=arch, weights=weights, labels=labels, training=training)


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
    for published in (*PUBLISHED_WEIGHTS, *PUBLISHED_DETECTORS):
        for file in published.files:
            if file.name == path.name:
                return read_published(published, verified(file, path))
    checkpoint = _from_foreign(path, network)
    _check_is(checkpoint, network, width, str(path))
    return checkpoint


def _from_foreign(path: Path, network: str | Arch | None) -> Checkpoint:
    """A file in the format of a source, not necessarily of its published weights. Width and classes
    are found from the shapes; the conventions are those of what the source publishes."""
    source, state = ("keras", read_layers(path)) if path.suffix == ".h5" else read_state(path)
    tensorflow = any(str(word).startswith("tf_") for word in (path.name, network))
    error: FileError | None = None
    for published in identified(source, state, tensorflow=tensorflow):
        try:
            checkpoint = _convert(published, state, path)
        except FileError as latest:
            error = error or latest
            continue
        labels = _labels(published, named=False)
        return replace(checkpoint, labels=labels, training={"file": path.name})
    raise error or FileError(
        f"{path} has {source}'s names, and the shapes of none of our networks at any width; "
        "`mobilenets list --weights` shows them"
    )


def _check_is(
    checkpoint: Checkpoint, network: str | Arch | None, width: float | None, where: str
) -> None:
    """Raise `ArchError` where the file's network is not the one asked for."""
    if network is None:
        return
    name, wide = _asked(network, width)
    got = checkpoint.arch
    if (got.name, got.width) != (name, wide):
        raise ArchError(
            f"{where} holds weights of {got.name} of width {got.width:g}, not of {name} of "
            f"width {wide:g}; ask for that network or give other weights"
        )


def _asked(network: str | Arch, width: float | None) -> tuple[str, float]:
    """Name and width in our words; timm has names of its own for its variants."""
    if not isinstance(network, str):
        return network.name, network.width
    for one in PUBLISHED_WEIGHTS:
        if one.network in VARIANTS and network in (one.network, one.model):
            return one.network, one.width
    arch = get_arch(network, width=width)
    return arch.name, arch.width


def _is_ours(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return "mobilenets" in (file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error
