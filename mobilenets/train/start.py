"""The weights a training starts from: published ones or a file's, carried over to the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mobilenets.archs import Arch, Classify, at_width
from mobilenets.archs.published_weights import (
    PUBLISHED_WEIGHTS,
    SOURCES,
    find_weights,
    published_as,
)
from mobilenets.errors import ArchError
from mobilenets.nn import Checkpoint, surgery
from mobilenets.nn.pretrained import load_weights


def starting_point(words: str | Path, arch: Arch) -> Checkpoint:
    """The checkpoint to start `arch` from that `words` mean (`load_weights`).

    Its classes stay the weights', and so do the conventions: batch norm's constants, padding and,
    where the weights are of this width, the width rule. Where nothing is published for this width,
    or a file is of another, the nearest wider one is carried over by `surgery` (of narrower ones
    the widest); of the channels those with the largest filters stay. Of a classifier only the rows
    are meant where `arch` has another head: its own head stays. Raises `ArchError` for weights of
    another network.
    """
    classifying = arch if isinstance(arch.head, Classify) else at_width(arch, arch.width)
    found = _named(_load(words, classifying), str(words))
    if isinstance(found.arch.head, Classify):  # else it is of the same kind as `arch`
        arch = classifying
    if found.arch.name != arch.name:
        raise ArchError(
            f"{words} holds weights of {found.arch.name}, not of {arch.name}; name it or "
            "give other weights"
        )
    if found.arch.width == arch.width:
        return _seen_as(found, arch)
    conventions = {name: getattr(found.arch, name) for name in ("bn_eps", "bn_momentum", "padding")}
    to = replace(arch.with_classes(found.arch.classes), **conventions)
    return surgery(found, to, same_additions=False)


def families(words: str | Path) -> tuple[str, ...]:
    """The networks that `words` hold weights of. Raises `ArchError` and `FileError` as
    `load_weights` does."""
    text = str(words)
    if text.partition(":")[0].lower() in SOURCES:
        return tuple(sorted({one.network for one in published_as(text)}))
    return (load_weights(words).arch.name,)


def _seen_as(checkpoint: Checkpoint, arch: Arch) -> Checkpoint:
    """The checkpoint at the resolution and with the strides of `arch`."""
    theirs = checkpoint.arch.rows
    if len(theirs) != len(arch.rows):
        raise ArchError(
            f"the weights are of a {arch.name} with {len(theirs)} rows instead of "
            f"{len(arch.rows)}; carry them over with mobilenets.nn.weight_surgery first"
        )
    rows = tuple(
        row.with_columns(stride=ours.stride) for row, ours in zip(theirs, arch.rows, strict=True)
    )
    to = replace(checkpoint.arch, rows=rows, size=arch.size)
    preprocess = {**checkpoint.preprocess, "resolution": arch.resolution}
    return replace(checkpoint, arch=to, preprocess=preprocess)


def _named(checkpoint: Checkpoint, words: str) -> Checkpoint:
    """The checkpoint, which says where it came from."""
    known = {"file", "weights"} & checkpoint.training.keys()
    name = {} if known else {"file": Path(words).name if Path(words).is_file() else words}
    return replace(checkpoint, training=checkpoint.training | name)


def _load(words: str | Path, arch: Arch) -> Checkpoint:
    """The weights as they are, at the width nearest to the arch's."""
    text = str(words)
    if text.partition(":")[0].lower() in SOURCES:
        origin = _published(text, arch)
        return load_weights(text, origin)
    return load_weights(words)


def _published(text: str, arch: Arch) -> Arch:
    """The network nearest in width for which `text` is published, with the weights' classes."""
    for origin in _of_other_widths(arch):
        try:
            return origin.with_classes(find_weights(text, origin).classes)
        except ArchError:
            continue
    return arch.with_classes(find_weights(text, arch).classes)


def _of_other_widths(arch: Arch) -> Iterator[Arch]:
    """`arch`, then the same network at the widths of published weights: the wider ones from the
    nearest on, then the narrower ones."""
    yield arch
    widths = {one.width for one in PUBLISHED_WEIGHTS if one.network == arch.name} - {arch.width}
    for width in sorted(widths, key=lambda width: (width < arch.width, abs(width - arch.width))):
        yield at_width(arch, width)
