"""What a network is. No torch here: names, tables, costs and edits answer at once."""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches

from mobilenets.archs.arch import Arch as Arch
from mobilenets.archs.arch import ops as ops
from mobilenets.archs.attach import with_head as with_head
from mobilenets.archs.attach import with_lraspp as with_lraspp
from mobilenets.archs.attach import with_raspp as with_raspp
from mobilenets.archs.attach import with_ssdlite as with_ssdlite
from mobilenets.archs.budget import Budget as Budget
from mobilenets.archs.codec import digest as digest
from mobilenets.archs.codec import from_json as from_json
from mobilenets.archs.codec import to_json as to_json
from mobilenets.archs.counts import Cost as Cost
from mobilenets.archs.counts import cost as cost
from mobilenets.archs.counts import memory_by_size as memory_by_size
from mobilenets.archs.edits import proposals as proposals
from mobilenets.archs.edits import width_groups as width_groups
from mobilenets.archs.edits import with_expand as with_expand
from mobilenets.archs.edits import with_kernel as with_kernel
from mobilenets.archs.edits import with_width as with_width
from mobilenets.archs.edits import without_row as without_row
from mobilenets.archs.edits import without_se as without_se
from mobilenets.archs.efficientnet_lite import EFFICIENTNET_LITE
from mobilenets.archs.heads import Classify as Classify
from mobilenets.archs.heads import Head as Head
from mobilenets.archs.op import Op as Op
from mobilenets.archs.op import Resolution as Resolution
from mobilenets.archs.op import Size as Size
from mobilenets.archs.other_networks import foreign
from mobilenets.archs.published import expected_top1 as expected_top1
from mobilenets.archs.scale import at_resolution as at_resolution
from mobilenets.archs.scale import keep_resolution as keep_resolution
from mobilenets.archs.scale import widen as widen
from mobilenets.archs.v1 import MOBILENET_V1, MOBILENET_V1_CONV, MOBILENET_V1_SHALLOW
from mobilenets.archs.v2 import MOBILENET_V2
from mobilenets.archs.v3 import (
    MOBILENET_V3_LARGE,
    MOBILENET_V3_LARGE_MINIMALISTIC,
    MOBILENET_V3_SMALL,
    MOBILENET_V3_SMALL_MINIMALISTIC,
)
from mobilenets.archs.v4 import (
    MOBILENET_V4_CONV_LARGE,
    MOBILENET_V4_CONV_MEDIUM,
    MOBILENET_V4_CONV_SMALL,
)
from mobilenets.archs.width import RULES as RULES
from mobilenets.errors import ArchError

ARCHS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        MOBILENET_V1,
        MOBILENET_V1_CONV,
        MOBILENET_V1_SHALLOW,
        MOBILENET_V2,
        MOBILENET_V3_LARGE,
        MOBILENET_V3_SMALL,
        MOBILENET_V3_LARGE_MINIMALISTIC,
        MOBILENET_V3_SMALL_MINIMALISTIC,
        MOBILENET_V4_CONV_SMALL,
        MOBILENET_V4_CONV_MEDIUM,
        MOBILENET_V4_CONV_LARGE,
        *EFFICIENTNET_LITE,
    )
}

# Where each dialect's names stand: torchvision.models.mobilenet_v2, keras.applications.MobileNetV2,
# timm/mobilenetv3_small_100.lamb_in1k (the tag of its weights is cut off, too).
_PLACE = re.compile(
    r"(?:torchvision\.models\.(?:\w+\.)*|(?:tf\.)?keras\.applications\.(?:\w+\.)*"
    r"|(?:hf[-_]hub:)?timm/)"
)
# Three dialects: torchvision's, ours and TF's, mobilenet_v2_1.0_224; timm's, mobilenetv3_small_050
# (tf_: with TensorFlow's padding); Keras', MobileNetV3Small, and MobileNet for V1. The width
# follows the family, then the size.
_NAME = re.compile(
    r"(?P<tf>tf_)?(?:efficientnet_?lite_?(?P<lite>[0-4])"
    r"|(?:(?:mobilenet_?)?v(?P<generation>[1-4])_?|mobilenet)"
    r"(?P<size>(?:conv_)?(?:large|medium|small))?"
    r"(?:_?(?P<variant>minimal|minimalistic|conv|shallow))?)"
    r"(?:_(?P<percent>(?!096|128)[01][0-9][0-9])|_(?P<width>\d+\.\d*(?:e-?\d+)?))?"
    r"(?:_(?P<resolution>\d+(?:x\d+)?))?"
    r"(?:_(?P<rule>paper|timm|keras|torchvision))?(?:_os(?P<stride>\d+))?"
)


def get_arch(
    name: str,
    *,
    width: float | None = None,
    rule: str | None = None,
    resolution: Resolution | None = None,
    classes: int | None = None,
) -> Arch:
    """The network called `name`, at the given width, resolution and number of classes.

    Accepts the canonical names (`ARCHS`), the full names we print, and the well-known spellings of
    torchvision, timm, Keras and TensorFlow: `mobilenetv3_small_050`, `MobileNetV3Small`,
    `mobilenet_v2_1.0_224`. A spelling does not set the width rule: that is the paper's unless
    `rule` says otherwise. What is given as an argument wins over what the name says. Raises
    `ArchError` for a name nobody knows.
    """
    word = _PLACE.sub("", name.strip().lower(), count=1).replace("-", "_")
    word = re.sub(r"\.[a-z]\w*$", "", word)  # timm's weight tag
    match = _NAME.fullmatch(word)
    base = ARCHS.get(_family(match)) if match else None
    if match is None or base is None:
        raise _unknown(name)
    said = match["percent"], match["width"]
    named_width = int(said[0]) / 100 if said[0] else float(said[1]) if said[1] else 1.0
    arch = widen(base, named_width if width is None else width, rule or match["rule"] or "paper")
    if resolution is None and match["resolution"]:
        resolution = match["resolution"]
    if resolution is not None:
        arch = at_resolution(arch, resolution)
    if match["stride"]:
        arch = keep_resolution(arch, int(match["stride"]))
    if match["tf"]:
        arch = replace(arch, padding="same")
    return arch if classes is None else arch.with_classes(classes)


def at_width(arch: Arch, width: float) -> Arch:
    """The network of that name at another width, by the paper's rule, for the same images and
    classes: `arch` as it would be without its edits."""
    base = replace(widen(ARCHS[arch.name], width), size=arch.size)
    return keep_resolution(base, arch.output_stride).with_classes(arch.classes)


def _family(match: re.Match[str]) -> str:
    if match["lite"]:
        return f"efficientnet_lite{match['lite']}"
    variant = "minimalistic" if match["variant"] == "minimal" else match["variant"]
    words = ("mobilenet", f"v{match['generation'] or 1}", match["size"], variant)
    return "_".join(word for word in words if word)


def _unknown(name: str) -> ArchError:
    word = _PLACE.sub("", name.strip().lower(), count=1).replace("-", "_")
    if instead := foreign(word):
        return ArchError(
            f"{name} is no MobileNet, and only MobileNets are here (V1 to V4, EfficientNet-Lite); "
            f"the nearest is {instead}"
        )
    close = get_close_matches(word, ARCHS, n=1, cutoff=0.6)
    nearest = f"; the nearest name is {close[0]!r}" if close else ""
    return ArchError(f"no network is called {name!r}{nearest}; list all with: mobilenets list")
