"""The published ImageNet checkpoints of torchvision, timm and Keras, those in PyPI packages, and
torchvision's COCO detector, as data. No torch here.

Each brings the conventions that its numbers need (width rule, batch norm's eps, padding) and the
preprocessing it was evaluated with. `nn.pretrained` downloads and reads them.

Covered: every V1, V2, V3, convolutional V4 and EfficientNet-Lite classifier of the libraries
(facts: the packages' own metadata, held together by tests/test_weights_registry.py). Not covered,
and why:

- torchvision's quantized V2 and V3-Large: their files hold int8 modules of torch.ao, not weights.
- torchvision's other detectors and its segmentation weights: other heads.
- Keras' V2 1.3 and 1.4 below 224 pixels: Keras makes up an address, and there is no file at it
  (keras-team/keras#16452). The 224 weights run at any resolution.
- Keras' "no top" files: the same weights without the classifier.
- MobileNetV4 with attention or anti-aliasing, MnasNet and EdgeTPU: no rows here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mobilenets.archs import ARCHS, get_arch
from mobilenets.archs.arch import Arch
from mobilenets.archs.op import Resolution, Size
from mobilenets.archs.package_weights import packages
from mobilenets.archs.published import PUBLISHED_TOP1
from mobilenets.archs.published_record import IMAGENET, INCEPTION
from mobilenets.archs.published_record import Published as Published
from mobilenets.archs.published_record import WeightsFile as WeightsFile
from mobilenets.archs.timm_weights import timm
from mobilenets.errors import ArchError

SOURCES = ("torchvision", "timm", "keras", "package")

# torchvision.models.MobileNet_*_Weights; a file's name has the first eight digits of its SHA-256.
# fmt: off
_TORCHVISION = (
    # network             tag               sha256      short side  top-1
    ("mobilenet_v2",       "IMAGENET1K_V1", "b0353104", 256,        71.878),
    ("mobilenet_v2",       "IMAGENET1K_V2", "7ebf99e0", 232,        72.154),
    ("mobilenet_v3_large", "IMAGENET1K_V1", "8738ca79", 256,        74.042),
    ("mobilenet_v3_large", "IMAGENET1K_V2", "5c1a4163", 232,        75.274),
    ("mobilenet_v3_small", "IMAGENET1K_V1", "047dcff4", 256,        67.668),
)
# fmt: on


def _torchvision() -> Iterator[Published]:
    for network, tag, sha256, short_side, top1 in _TORCHVISION:
        eps, momentum = (1e-5, 0.1) if network == "mobilenet_v2" else (1e-3, 0.01)
        name = f"{network}-{sha256}.pth"
        url = f"https://download.pytorch.org/models/{name}"
        yield Published(
            source="torchvision", model=network, tag=tag, network=network, width=1.0,
            resolution=224, files=(WeightsFile(url, name, f"sha256:{sha256}"),),
            short_side=short_side, interpolation="bilinear", mean=IMAGENET[0], std=IMAGENET[1],
            bn_eps=eps, bn_momentum=momentum, padding="symmetric", top1=top1,
        )  # fmt: skip


# keras.applications. V1 and V2 are TF-slim's checkpoints and have its accuracies, and no published
# checksum; V3's MD5 and accuracies are Keras' own. Images are resized as TF-slim evaluated them,
# 87.5 % of the short side kept.
_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
_V1, _V2 = "mobilenet_v1", "mobilenet_v2"
_V3L, _V3S = "mobilenet_v3_large", "mobilenet_v3_small"
_KERAS_V1_ALPHA = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
# fmt: off
_KERAS_V3 = (
    # network                 width  file                                top-1  MD5
    (_V3L,                    1.0,  "large_224_1.0_float",               75.6,
     "59e551e166be033d707958cf9e29a6a7"),
    (_V3L,                    0.75, "large_224_0.75_float",              73.3,
     "765b44a33ad4005b3ac83185abf1d0eb"),
    (f"{_V3L}_minimalistic",  1.0,  "large_minimalistic_224_1.0_float",  72.3,
     "675e7b876c45c57e9e63e6d90a36599c"),
    (_V3S,                    1.0,  "small_224_1.0_float",               68.1,
     "8768d4c2e7dee89b9d02b2d03d65d862"),
    (_V3S,                    0.75, "small_224_0.75_float",              65.4,
     "cb65d4e5be93758266aa0a7f2c6708b7"),
    (f"{_V3S}_minimalistic",  1.0,  "small_minimalistic_224_1.0_float",  61.9,
     "99cd97fb2fcdad2bf028eb838de69e37"),
)
# fmt: on


def _keras() -> Iterator[Published]:
    for (width, side), top1 in PUBLISHED_TOP1[_V1].items():
        name = f"mobilenet_{_KERAS_V1_ALPHA[width]}_{side}_tf.h5"
        file = WeightsFile(f"{_KERAS_URL}/mobilenet/{name}", name)
        yield _keras_checkpoint(_V1, width, side, file, top1)
    for (width, side), top1 in PUBLISHED_TOP1[_V2].items():
        name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_{side}.h5"
        file = WeightsFile(f"{_KERAS_URL}/mobilenet_v2/{name}", name)
        yield _keras_checkpoint(_V2, width, side, file, top1)
    for network, width, stem, top1, md5 in _KERAS_V3:
        name = f"weights_mobilenet_v3_{stem}.h5"
        file = WeightsFile(f"{_KERAS_URL}/mobilenet_v3/{name}", name, f"md5:{md5}")
        yield _keras_checkpoint(network, width, 224, file, top1)


def _keras_checkpoint(
    network: str, width: float, side: int, file: WeightsFile, top1: float
) -> Published:
    return Published(
        source="keras", model=network, tag=f"{width}_{side}", network=network, width=width,
        resolution=side, files=(file,), short_side=round(side / 0.875),
        interpolation="bilinear", mean=INCEPTION[0], std=INCEPTION[1], bn_eps=1e-3,
        bn_momentum=0.01 if network == _V1 else 0.001, padding="same", top1=top1,
    )  # fmt: skip


PUBLISHED_WEIGHTS: tuple[Published, ...] = (*_torchvision(), *timm(), *packages(), *_keras())

# torchvision.models.detection.SSDLite320_MobileNet_V3_Large_Weights: 21.3 mAP on COCO val2017.
_SSDLITE = "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
PUBLISHED_DETECTORS: tuple[Published, ...] = (
    Published(
        source="torchvision", model="ssdlite320_mobilenet_v3_large", tag="COCO_V1", network=_V3L,
        width=1.0, resolution=320,
        files=(
            WeightsFile(
                f"https://download.pytorch.org/models/{_SSDLITE}", _SSDLITE, "sha256:a79551df"
            ),
        ),
        short_side=320, interpolation="bilinear", mean=INCEPTION[0], std=INCEPTION[1],
        bn_eps=1e-3, bn_momentum=0.03, padding="symmetric", top1=None, classes=91,
        head="ssdlite_reduced",
    ),
)  # fmt: skip


def find_weights(
    words: str,
    network: str | Arch | None = None,
    *,
    width: float | None = None,
    resolution: Resolution | None = None,
) -> Published:
    """The checkpoint that `words` mean: a source (`timm`), a source and a tag (`timm:lamb_in1k`),
    or a checkpoint's whole name (`timm:mobilenetv2_110d.ra_in1k`), which needs no `network`.

    Of several, the one trained nearest to `resolution` (default: the network's own), then the one
    of the best published accuracy. A detector's are meant by their name, or by a `network` of the
    same layers. Raises `ArchError` where nothing such is published.
    """
    found = _detectors(words, network) or published_as(words)
    if found[0] in PUBLISHED_DETECTORS:
        wanted = Size.of(resolution or 320).side
    elif network is None:
        if len({(one.network, one.width) for one in found}) > 1:
            names = ", ".join(one.name for one in found[:5])
            raise ArchError(
                f"{words} is published for several networks ({names}, ...): name the network"
            )
        wanted = Size.of(resolution or 224).side
    else:
        found, wanted = _of_network(found, words, network, width, resolution)
    return min(found, key=lambda one: (abs(one.resolution - wanted), -(one.top1 or 0)))


def _detectors(words: str, network: str | Arch | None) -> list[Published]:
    """The detectors that `words` mean, for that arch or by that name."""
    source, _, tag = words.strip().lower().partition(":")
    found = [
        one
        for one in PUBLISHED_DETECTORS
        if source == one.source and (not tag or _is_called(one, tag))
    ]
    if isinstance(network, Arch):
        return [one for one in found if _has_layers(one.arch, network)]
    return [one for one in found if network == one.model or tag.startswith(one.model)]


def _has_layers(arch: Arch, network: Arch) -> bool:
    """Whether a network is `arch` but for its resolution, conventions and number of classes."""
    head = network.head
    if head is None or network.outputs.keys() != arch.outputs.keys():
        return False
    return (arch.rows, arch.head) == (network.rows, head.with_classes(arch.classes))


def published_as(words: str) -> list[Published]:
    """All checkpoints that `words` may mean, of whatever network; raises `ArchError` for none."""
    source, _, tag = words.strip().partition(":")
    if source.lower() not in SOURCES:
        raise ArchError(
            f"weights come from {', '.join(SOURCES)}, hf:OWNER/NAME or a file, got {words!r}"
        )
    found = [one for one in PUBLISHED_WEIGHTS if one.source == source.lower()]
    return _those(found, lambda one: not tag or _is_called(one, tag.lower()), words)


def _of_network(
    found: list[Published],
    words: str,
    network: str | Arch,
    width: float | None,
    resolution: Resolution | None,
) -> tuple[list[Published], int]:
    """Those of one network, in our words or its publisher's; and the resolution it will see."""
    if isinstance(network, str):
        word = network.strip().lower()
        named = [one for one in found if word in (one.model, one.network) and word not in ARCHS]
        if named and width in (None, named[0].width):
            return named, Size.of(resolution or named[0].resolution).side
        network = get_arch(network, width=width, resolution=resolution)
    name, asked = network.name, network.width if width is None else width
    found = _those(found, lambda one: one.network == name, f"{words} for {name}")
    found = _those(found, lambda one: one.width == asked, f"{words} for {name} of width {asked:g}")
    # First strides of 1 keep the feature maps as large as a larger image would have them.
    size = network.size if resolution is None else Size.of(resolution)
    return found, size.side * 32 // network.output_stride


def _is_called(one: Published, tag: str) -> bool:
    return tag in (one.tag.lower(), one.model.lower(), f"{one.model}.{one.tag}".lower())


def _those(
    among: Iterable[Published], test: Callable[[Published], bool], what: str
) -> list[Published]:
    among = list(among)
    found = [one for one in among if test(one)]
    if not found:
        near = sorted({f"{one.network} {one.width:g}" for one in among})
        raise ArchError(
            f"no weights are published as {what}, only for {', '.join(near[:8])}"
            f"{', ...' if len(near) > 8 else ''}; `mobilenets list --weights` shows all"
        )
    return found
