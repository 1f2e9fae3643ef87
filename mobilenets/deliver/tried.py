"""What a page needs to try a run's network on pictures, and to compare its answers with ours."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from mobilenets.data import Preprocess, decode
from mobilenets.deliver.predictor import Predictor, load
from mobilenets.deliver.selection import select
from mobilenets.deliver.usage import resizing
from mobilenets.errors import MobileNetsError
from mobilenets.files import read_json
from mobilenets.runs.layout import IMAGES
from mobilenets.text import counted

_COMPARED = 10
log = logging.getLogger(__name__)


def can_try(artifact: Path) -> bool:
    """Whether the page can show the network's answers: of others it tells the time alone."""
    arch = load(artifact, threads=1).arch
    if not arch.classifies:
        gives = " and ".join(arch.outputs)
        log.warning(f"{artifact} gives {gives}: the page times it, and no more")
    return arch.classifies


def to_try(run: Path, artifact: Path) -> tuple[dict[str, Any], bytes]:
    """The labels, the rule for images and the logits of some, as JSON; and the pixels of these
    images, (N, 3, rows, columns), a byte each."""
    network = load(artifact, threads=1)
    pixels, said = _images(run, network)
    outputs = network.outputs(pixels)
    first = network.task.decode({name: one[0] for name, one in outputs.items()})
    found = {
        "labels": list(network.labels),
        "rule": rule_of(network.preprocess),
        "rule_words": resizing(network.preprocess),
        "apart": len(first) == len(network.labels),  # each label has a probability by itself
        "images": said,
        "answers": outputs["logits"].tolist(),
    }
    return found, pixels.numpy().tobytes()


def _images(run: Path, network: Predictor) -> tuple[torch.Tensor, str]:
    """Validation images of the run. Where they cannot be read random ones will do: what is compared
    are two runtimes."""
    try:
        data = read_json(run / IMAGES, dict[str, Any]).get("data", "")
        selection = select(network, data)
        step = max(1, len(selection.indices) // _COMPARED)
        some = selection.indices[::step][:_COMPARED]
        pixels = decode(selection.images, some, network.preprocess).contiguous()
        return pixels, f"{counted(len(some), 'validation image')} of {selection.images.name}"
    except MobileNetsError as error:
        log.warning(f"{error}; the page compares the answers on random images")
        shape = (_COMPARED, 3, *network.preprocess.size)
        random = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        return torch.from_numpy(random), f"{_COMPARED} random images, for the run's are not here"


def rule_of(preprocess: Preprocess) -> dict[str, Any]:
    """`Preprocess` in numbers."""
    rows, columns = preprocess.size
    return {
        "rows": rows,
        "columns": columns,
        "short_side": preprocess.short_side,
        "covered": list(preprocess.covered),
        "interpolation": preprocess.interpolation,
        "resize": preprocess.resize,
        # From here on the columns of what shrinks more in height are resized before its rows.
        "tall_first": int(PIL.__version__.partition(".")[0]) >= 13,
    }
