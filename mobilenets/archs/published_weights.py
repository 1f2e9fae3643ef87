"""The published ImageNet checkpoints of torchvision, timm and Keras, as data. No torch here.

Each brings the conventions that its numbers need (width rule, batch norm's eps, padding) and the
preprocessing it was evaluated with. `nn.pretrained` downloads and reads them.

Covered: every V1, V2, V3 and convolutional V4 classifier of the three libraries (facts: the
packages' own metadata, held together by tests/test_weights_registry.py). Not covered, and why:

- torchvision's quantised V2 and V3-Large: their files hold int8 modules of torch.ao, not weights.
- torchvision's detection and segmentation weights: other heads.
- Keras' V2 1.3 and 1.4 below 224 pixels: Keras makes up an address, and there is no file at it
  (keras-team/keras#16452). The 224 weights run at any resolution.
- Keras' "no top" files: the same weights without the classifier.
- MobileNetV4 with attention or anti-aliasing, MnasNet and EdgeTPU: no rows here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from mobilenets.archs import ARCHS, at_resolution, get_arch
from mobilenets.archs.arch import Arch
from mobilenets.archs.op import Resolution, Size
from mobilenets.archs.published import PUBLISHED_TOP1
from mobilenets.archs.scale import widen
from mobilenets.archs.variants import VARIANTS
from mobilenets.errors import ArchError

SOURCES = ("torchvision", "timm", "keras")


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """Where a checkpoint lies, and its name in our cache.

    `checksum` is what its publisher says of it: "sha256:" or "md5:" and hexadecimal digits, of
    which there may be only the first; "" where nothing is published.
    """

    url: str
    name: str
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """One published checkpoint.

    `model` and `tag` are its publisher's names, `network` is ours. An image's short side is resized
    to `short_side` and the centre cut; `mean` and `std` normalise RGB in [0, 1]. `top1` is the
    publisher's, in percent at this resolution (None: trained on other classes); `files` hold the
    same weights, the first is preferred.
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

    @property
    def name(self) -> str:
        """The words that mean this checkpoint and no other."""
        return f"{self.source}:{self.model}.{self.tag}"

    @property
    def arch(self) -> Arch:
        """The network these weights are of."""
        known = VARIANTS.get(self.network)
        arch = widen(ARCHS[self.network], self.width, self.source) if known is None else known
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
    "keras mobilenet_v1": f"{_SLIM}/mobilenet_v1.md, whose checkpoints Keras converted",
    "keras mobilenet_v2": f"{_SLIM}/mobilenet/README.md, whose checkpoints Keras converted",
}

# Mean and standard deviation of RGB in [0, 1].
_Norm = tuple[tuple[float, float, float], tuple[float, float, float]]
_IMAGENET: _Norm = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_INCEPTION: _Norm = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_RAW: _Norm = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

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
            short_side=short_side, interpolation="bilinear", mean=_IMAGENET[0], std=_IMAGENET[1],
            bn_eps=eps, bn_momentum=momentum, padding="symmetric", top1=top1,
        )  # fmt: skip


# timm.models.efficientnet and mobilenetv3: model -> our network, width.
_V1, _V2 = "mobilenet_v1", "mobilenet_v2"
_V3L, _V3S, _V4 = "mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v4_conv"
_TIMM_NETWORKS = {
    "mobilenetv1_100": (_V1, 1.0),
    "mobilenetv1_100h": (f"{_V1}_100h", 1.0),
    "mobilenetv1_125": (_V1, 1.25),
    "mobilenetv2_050": (_V2, 0.5),
    "mobilenetv2_100": (_V2, 1.0),
    "mobilenetv2_110d": (f"{_V2}_110d", 1.1),
    "mobilenetv2_120d": (f"{_V2}_120d", 1.2),
    "mobilenetv2_140": (_V2, 1.4),
    "mobilenetv3_large_100": (_V3L, 1.0),
    "mobilenetv3_large_150d": (f"{_V3L}_150d", 1.5),
    "mobilenetv3_rw": (f"{_V3L}_rw", 1.0),
    "mobilenetv3_small_050": (_V3S, 0.5),
    "mobilenetv3_small_075": (_V3S, 0.75),
    "mobilenetv3_small_100": (_V3S, 1.0),
    "mobilenetv4_conv_small_050": (f"{_V4}_small", 0.5),
    "mobilenetv4_conv_small": (f"{_V4}_small", 1.0),
    "mobilenetv4_conv_medium": (f"{_V4}_medium", 1.0),
    "mobilenetv4_conv_large": (f"{_V4}_large", 1.0),
    "tf_mobilenetv3_large_075": (_V3L, 0.75),
    "tf_mobilenetv3_large_100": (_V3L, 1.0),
    "tf_mobilenetv3_large_minimal_100": (f"{_V3L}_minimalistic", 1.0),
    "tf_mobilenetv3_small_075": (_V3S, 0.75),
    "tf_mobilenetv3_small_100": (_V3S, 1.0),
    "tf_mobilenetv3_small_minimal_100": (f"{_V3S}_minimalistic", 1.0),
}

# timm's pretrained configurations; the short side is floor(size / crop_pct).
# Top-1 at the resolution of training: huggingface/pytorch-image-models, results-imagenet.csv.
# fmt: off
_TIMM = (
    # model.tag                                         size side interpolation normalised top-1
    ("mobilenetv1_100.ra4_e3600_r224_in1k",             224, 256, "bicubic",  _INCEPTION, 75.388),
    ("mobilenetv1_100h.ra4_e3600_r224_in1k",            224, 256, "bicubic",  _INCEPTION, 75.664),
    ("mobilenetv1_125.ra4_e3600_r224_in1k",             224, 248, "bicubic",  _INCEPTION, 76.920),
    ("mobilenetv2_050.lamb_in1k",                       224, 256, "bicubic",  _IMAGENET,  65.928),
    ("mobilenetv2_100.ra_in1k",                         224, 256, "bicubic",  _IMAGENET,  72.910),
    ("mobilenetv2_110d.ra_in1k",                        224, 256, "bicubic",  _IMAGENET,  75.056),
    ("mobilenetv2_120d.ra_in1k",                        224, 256, "bicubic",  _IMAGENET,  77.300),
    ("mobilenetv2_140.ra_in1k",                         224, 256, "bicubic",  _IMAGENET,  76.528),
    ("mobilenetv3_large_100.miil_in21k",                224, 256, "bilinear", _RAW,       None),
    ("mobilenetv3_large_100.miil_in21k_ft_in1k",        224, 256, "bilinear", _RAW,       77.920),
    ("mobilenetv3_large_100.ra4_e3600_r224_in1k",       224, 235, "bicubic",  _INCEPTION, 76.310),
    ("mobilenetv3_large_100.ra_in1k",                   224, 256, "bicubic",  _IMAGENET,  75.784),
    ("mobilenetv3_large_150d.ra4_e3600_r256_in1k",      256, 269, "bilinear", _INCEPTION, 80.994),
    ("mobilenetv3_rw.rmsp_in1k",                        224, 256, "bicubic",  _IMAGENET,  75.616),
    ("mobilenetv3_small_050.lamb_in1k",                 224, 256, "bicubic",  _IMAGENET,  57.918),
    ("mobilenetv3_small_075.lamb_in1k",                 224, 256, "bicubic",  _IMAGENET,  65.284),
    ("mobilenetv3_small_100.lamb_in1k",                 224, 256, "bicubic",  _IMAGENET,  67.636),
    ("mobilenetv4_conv_small.e1200_r224_in1k",          224, 256, "bicubic",  _IMAGENET,  73.450),
    ("mobilenetv4_conv_small.e2400_r224_in1k",          224, 256, "bicubic",  _IMAGENET,  73.756),
    ("mobilenetv4_conv_small.e3600_r256_in1k",          256, 269, "bicubic",  _INCEPTION, 74.534),
    ("mobilenetv4_conv_small_050.e3000_r224_in1k",      224, 256, "bicubic",  _INCEPTION, 64.778),
    ("mobilenetv4_conv_medium.e500_r224_in1k",          224, 235, "bicubic",  _IMAGENET,  79.092),
    ("mobilenetv4_conv_medium.e500_r256_in1k",          256, 269, "bicubic",  _IMAGENET,  79.916),
    ("mobilenetv4_conv_medium.e180_ad_r384_in12k",      384, 384, "bicubic",  _IMAGENET,  None),
    ("mobilenetv4_conv_medium.e180_r384_in12k",         384, 384, "bicubic",  _IMAGENET,  None),
    ("mobilenetv4_conv_medium.e250_r384_in12k",         384, 384, "bicubic",  _IMAGENET,  None),
    ("mobilenetv4_conv_medium.e250_r384_in12k_ft_in1k", 384, 404, "bicubic",  _IMAGENET,  82.776),
    ("mobilenetv4_conv_large.e500_r256_in1k",           256, 269, "bicubic",  _IMAGENET,  81.864),
    ("mobilenetv4_conv_large.e600_r384_in1k",           384, 404, "bicubic",  _IMAGENET,  82.974),
    ("tf_mobilenetv3_large_075.in1k",                   224, 256, "bilinear", _INCEPTION, 73.442),
    ("tf_mobilenetv3_large_100.in1k",                   224, 256, "bilinear", _INCEPTION, 75.510),
    ("tf_mobilenetv3_large_minimal_100.in1k",           224, 256, "bilinear", _INCEPTION, 72.270),
    ("tf_mobilenetv3_small_075.in1k",                   224, 256, "bilinear", _INCEPTION, 65.706),
    ("tf_mobilenetv3_small_100.in1k",                   224, 256, "bilinear", _INCEPTION, 67.922),
    ("tf_mobilenetv3_small_minimal_100.in1k",           224, 256, "bilinear", _INCEPTION, 62.892),
)
# fmt: on

# All are on the Hub, which tells a file's SHA-256 with the file. The older ones are also release
# files on GitHub, with the first eight digits of their SHA-256 in the name.
_HUB = "https://huggingface.co"
_GITHUB = "https://github.com/rwightman/pytorch-image-models/releases/download"
_TIMM_RELEASES = {
    "mobilenetv2_050.lamb_in1k": "v0.1-weights/mobilenetv2_050-3d30d450.pth",
    "mobilenetv2_100.ra_in1k": "v0.1-weights/mobilenetv2_100_ra-b33bc2c4.pth",
    "mobilenetv2_110d.ra_in1k": "v0.1-weights/mobilenetv2_110d_ra-77090ade.pth",
    "mobilenetv2_120d.ra_in1k": "v0.1-weights/mobilenetv2_120d_ra-5987e2ed.pth",
    "mobilenetv2_140.ra_in1k": "v0.1-weights/mobilenetv2_140_ra-21a4e913.pth",
    "mobilenetv3_large_100.miil_in21k": (
        "v0.1-tresnet/mobilenetv3_large_100_in21k_miil-d71cc17b.pth"
    ),
    "mobilenetv3_large_100.miil_in21k_ft_in1k": (
        "v0.1-tresnet/mobilenetv3_large_100_1k_miil_78_0-66471c13.pth"
    ),
    "mobilenetv3_large_100.ra_in1k": "v0.1-weights/mobilenetv3_large_100_ra-f55367f5.pth",
    "mobilenetv3_rw.rmsp_in1k": "v0.1-weights/mobilenetv3_100-35495452.pth",
    "mobilenetv3_small_050.lamb_in1k": "v0.1-weights/mobilenetv3_small_050_lambc-4b7bbe87.pth",
    "mobilenetv3_small_075.lamb_in1k": "v0.1-weights/mobilenetv3_small_075_lambc-384766db.pth",
    "mobilenetv3_small_100.lamb_in1k": "v0.1-weights/mobilenetv3_small_100_lamb-266a294c.pth",
    "tf_mobilenetv3_large_075.in1k": "v0.1-weights/tf_mobilenetv3_large_075-150ee8b0.pth",
    "tf_mobilenetv3_large_100.in1k": "v0.1-weights/tf_mobilenetv3_large_100-427764d5.pth",
    "tf_mobilenetv3_large_minimal_100.in1k": (
        "v0.1-weights/tf_mobilenetv3_large_minimal_100-8596ae28.pth"
    ),
    "tf_mobilenetv3_small_075.in1k": "v0.1-weights/tf_mobilenetv3_small_075-da427f52.pth",
    "tf_mobilenetv3_small_100.in1k": "v0.1-weights/tf_mobilenetv3_small_100-37f49e2b.pth",
    "tf_mobilenetv3_small_minimal_100.in1k": (
        "v0.1-weights/tf_mobilenetv3_small_minimal_100-922a7843.pth"
    ),
}


def _timm() -> Iterator[Published]:
    for name, size, short_side, interpolation, norm, top1 in _TIMM:
        model, tag = name.split(".")
        network, width = _TIMM_NETWORKS[model]
        tensorflow = model.startswith("tf_")
        yield Published(
            source="timm", model=model, tag=tag, network=network, width=width,
            resolution=size, short_side=short_side, interpolation=interpolation,
            files=tuple(_timm_files(name)), mean=norm[0], std=norm[1], top1=top1,
            bn_eps=1e-3 if tensorflow or model == "mobilenetv3_rw" else 1e-5, bn_momentum=0.1,
            padding="same" if tensorflow else "symmetric",
            classes={"in12k": 11821, "in21k": 11221}.get(tag.rpartition("_")[2], 1000),
        )  # fmt: skip


def _timm_files(name: str) -> Iterator[WeightsFile]:
    yield WeightsFile(f"{_HUB}/timm/{name}/resolve/main/model.safetensors", f"{name}.safetensors")
    if name in _TIMM_RELEASES:
        path = _TIMM_RELEASES[name]
        file = path.partition("/")[2]
        yield WeightsFile(f"{_GITHUB}/{path}", file, f"sha256:{file[-12:-4]}")


# keras.applications. V1 and V2 are TF-slim's checkpoints and have its accuracies, and no published
# checksum; V3's MD5 and accuracies are Keras' own. Images are resized as TF-slim evaluated them,
# 87.5 % of the short side kept.
_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
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
        interpolation="bilinear", mean=_INCEPTION[0], std=_INCEPTION[1], bn_eps=1e-3,
        bn_momentum=0.01 if network == _V1 else 0.001, padding="same", top1=top1,
    )  # fmt: skip


PUBLISHED_WEIGHTS: tuple[Published, ...] = (*_torchvision(), *_timm(), *_keras())


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
    of the best published accuracy. Raises `ArchError` where nothing such is published.
    """
    found = published_as(words)
    if network is None:
        if len({(one.network, one.width) for one in found}) > 1:
            names = ", ".join(one.name for one in found[:5])
            raise ArchError(
                f"{words} is published for several networks ({names}, ...): name the network"
            )
        wanted = Size.of(resolution or 224).side
    else:
        found, wanted = _of_network(found, words, network, width, resolution)
    return min(found, key=lambda one: (abs(one.resolution - wanted), -(one.top1 or 0)))


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
