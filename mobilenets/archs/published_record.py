"""What a published checkpoint is, as data: `Published`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from mobilenets.archs import ARCHS, RULES, at_resolution
from mobilenets.archs.arch import Arch
from mobilenets.archs.attach import with_ssdlite
from mobilenets.archs.scale import widen
from mobilenets.archs.variants import VARIANTS


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """Where a checkpoint lies, and its name in our cache.

    `checksum` is what its publisher says of it: "sha256:" or "md5:" and hexadecimal digits, of
    which there may be only the first; "" where nothing is published. `package` is the PyPI package
    whose installed files have it, where one does: it is not downloaded, pip does that.
    """

    url: str
    name: str
    checksum: str = ""
    package: str = ""


# What a checkpoint has on its backbone: a classifier, or torchvision's SSDLite on the whole tail or
# half of it (`archs.attach`).
HEADS = ("classify", "ssdlite", "ssdlite_reduced")


@dataclass(frozen=True, slots=True)
class Published:
    """One published checkpoint.

    `model` and `tag` are its publisher's names, `network` is ours. An image's short side is resized
    to `short_side` and the centre cut; `mean` and `std` normalize RGB in [0, 1]. `top1` is the
    publisher's, in percent at this resolution (None: trained on other classes); `files` hold the
    same weights, the first is preferred. `head` is one of `HEADS`; of a detector `classes` counts
    the background, and images are resized whole.
    """

    source: str
    model: str
    tag: str
    network: str
    width: float
    resolution: int
    files: tuple[WeightsFile, ...]
    short_side: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bn_eps: float
    bn_momentum: float
    padding: str
    top1: float | None
    classes: int = 1000
    head: str = "classify"

    @property
    def name(self) -> str:
        """The words that mean this checkpoint and no other."""
        return f"{self.source}:{self.model}.{self.tag}"

    @property
    def task(self) -> str:
        """What it was trained for, by the name in `mobilenets.tasks`."""
        return "classification" if self.head == "classify" else "detection"

    @property
    def arch(self) -> Arch:
        """The network these weights are of."""
        known = VARIANTS.get(self.network)
        rule = self.source if self.source in RULES else "paper"
        arch = widen(ARCHS[self.network], self.width, rule) if known is None else known
        if self.head != "classify":
            reduced = self.head == "ssdlite_reduced"
            arch = with_ssdlite(arch, variant="torchvision", reduced=reduced)
        return replace(
            at_resolution(arch, self.resolution).with_classes(self.classes),
            bn_eps=self.bn_eps,
            bn_momentum=self.bn_momentum,
            padding=self.padding,
        )

    def to_json(self) -> dict[str, Any]:
        """What `mobilenets list --weights --json` says of it."""
        return {"weights": self.name, **asdict(self), "top1_source": self.top1_source}

    @property
    def top1_source(self) -> str:
        """Who published `top1`."""
        return _TOP1_SOURCES.get(f"{self.source} {self.network}", _TOP1_SOURCES[self.source])


_SLIM = "tensorflow/models research/slim/nets"
_TOP1_SOURCES = {
    "torchvision": "torchvision.models, the weights' metadata",
    "timm": "huggingface/pytorch-image-models results/results-imagenet.csv",
    "keras": "keras.applications.mobilenet_v3",
    "package": "tensorflow/tpu models/official/efficientnet/lite/README.md",
    "keras mobilenet_v1": f"{_SLIM}/mobilenet_v1.md, whose checkpoints Keras converted",
    "keras mobilenet_v2": f"{_SLIM}/mobilenet/README.md, whose checkpoints Keras converted",
}

# Mean and standard deviation of RGB in [0, 1].
Norm = tuple[tuple[float, float, float], tuple[float, float, float]]
IMAGENET: Norm = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INCEPTION: Norm = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
RAW: Norm = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
