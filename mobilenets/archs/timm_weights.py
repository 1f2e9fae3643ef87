"""timm's published checkpoints: `timm.models.efficientnet` and `timm.models.mobilenetv3`."""

from __future__ import annotations

from collections.abc import Iterator

from mobilenets.archs.published_record import IMAGENET, INCEPTION, RAW, Published, WeightsFile

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
    "efficientnet_lite0": ("efficientnet_lite0", 1.0),
    **{f"tf_efficientnet_lite{number}": (f"efficientnet_lite{number}", 1.0) for number in range(5)},
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
    # model.tag                                         size side interpolation normalized top-1
    ("mobilenetv1_100.ra4_e3600_r224_in1k",             224, 256, "bicubic",  INCEPTION, 75.388),
    ("mobilenetv1_100h.ra4_e3600_r224_in1k",            224, 256, "bicubic",  INCEPTION, 75.664),
    ("mobilenetv1_125.ra4_e3600_r224_in1k",             224, 248, "bicubic",  INCEPTION, 76.920),
    ("mobilenetv2_050.lamb_in1k",                       224, 256, "bicubic",  IMAGENET,  65.928),
    ("mobilenetv2_100.ra_in1k",                         224, 256, "bicubic",  IMAGENET,  72.910),
    ("mobilenetv2_110d.ra_in1k",                        224, 256, "bicubic",  IMAGENET,  75.056),
    ("mobilenetv2_120d.ra_in1k",                        224, 256, "bicubic",  IMAGENET,  77.300),
    ("mobilenetv2_140.ra_in1k",                         224, 256, "bicubic",  IMAGENET,  76.528),
    ("mobilenetv3_large_100.miil_in21k",                224, 256, "bilinear", RAW,       None),
    ("mobilenetv3_large_100.miil_in21k_ft_in1k",        224, 256, "bilinear", RAW,       77.920),
    ("mobilenetv3_large_100.ra4_e3600_r224_in1k",       224, 235, "bicubic",  INCEPTION, 76.310),
    ("mobilenetv3_large_100.ra_in1k",                   224, 256, "bicubic",  IMAGENET,  75.784),
    ("mobilenetv3_large_150d.ra4_e3600_r256_in1k",      256, 269, "bilinear", INCEPTION, 80.994),
    ("mobilenetv3_rw.rmsp_in1k",                        224, 256, "bicubic",  IMAGENET,  75.616),
    ("mobilenetv3_small_050.lamb_in1k",                 224, 256, "bicubic",  IMAGENET,  57.918),
    ("mobilenetv3_small_075.lamb_in1k",                 224, 256, "bicubic",  IMAGENET,  65.284),
    ("mobilenetv3_small_100.lamb_in1k",                 224, 256, "bicubic",  IMAGENET,  67.636),
    ("mobilenetv4_conv_small.e1200_r224_in1k",          224, 256, "bicubic",  IMAGENET,  73.450),
    ("mobilenetv4_conv_small.e2400_r224_in1k",          224, 256, "bicubic",  IMAGENET,  73.756),
    ("mobilenetv4_conv_small.e3600_r256_in1k",          256, 269, "bicubic",  INCEPTION, 74.534),
    ("mobilenetv4_conv_small_050.e3000_r224_in1k",      224, 256, "bicubic",  INCEPTION, 64.778),
    ("mobilenetv4_conv_medium.e500_r224_in1k",          224, 235, "bicubic",  IMAGENET,  79.092),
    ("mobilenetv4_conv_medium.e500_r256_in1k",          256, 269, "bicubic",  IMAGENET,  79.916),
    ("mobilenetv4_conv_medium.e180_ad_r384_in12k",      384, 384, "bicubic",  IMAGENET,  None),
    ("mobilenetv4_conv_medium.e180_r384_in12k",         384, 384, "bicubic",  IMAGENET,  None),
    ("mobilenetv4_conv_medium.e250_r384_in12k",         384, 384, "bicubic",  IMAGENET,  None),
    ("mobilenetv4_conv_medium.e250_r384_in12k_ft_in1k", 384, 404, "bicubic",  IMAGENET,  82.776),
    ("mobilenetv4_conv_large.e500_r256_in1k",           256, 269, "bicubic",  IMAGENET,  81.864),
    ("mobilenetv4_conv_large.e600_r384_in1k",           384, 404, "bicubic",  IMAGENET,  82.974),
    ("efficientnet_lite0.ra_in1k",                      224, 256, "bicubic",  IMAGENET,  75.488),
    ("tf_efficientnet_lite0.in1k",                      224, 256, "bicubic",  INCEPTION, 74.846),
    ("tf_efficientnet_lite1.in1k",                      240, 272, "bicubic",  INCEPTION, 76.674),
    ("tf_efficientnet_lite2.in1k",                      260, 292, "bicubic",  INCEPTION, 77.470),
    ("tf_efficientnet_lite3.in1k",                      300, 331, "bilinear", INCEPTION, 79.808),
    ("tf_efficientnet_lite4.in1k",                      380, 413, "bilinear", INCEPTION, 81.540),
    ("tf_mobilenetv3_large_075.in1k",                   224, 256, "bilinear", INCEPTION, 73.442),
    ("tf_mobilenetv3_large_100.in1k",                   224, 256, "bilinear", INCEPTION, 75.510),
    ("tf_mobilenetv3_large_minimal_100.in1k",           224, 256, "bilinear", INCEPTION, 72.270),
    ("tf_mobilenetv3_small_075.in1k",                   224, 256, "bilinear", INCEPTION, 65.706),
    ("tf_mobilenetv3_small_100.in1k",                   224, 256, "bilinear", INCEPTION, 67.922),
    ("tf_mobilenetv3_small_minimal_100.in1k",           224, 256, "bilinear", INCEPTION, 62.892),
)
# fmt: on

# All are on the Hub, which tells a file's SHA-256 with the file. The older ones are also release
# files on GitHub, with the first eight digits of their SHA-256 in the name.
_HUB = "https://huggingface.co"
_GITHUB = "https://github.com/rwightman/pytorch-image-models/releases/download"
_TIMM_RELEASES = {
    "efficientnet_lite0.ra_in1k": "v0.1-weights/efficientnet_lite0_ra-37913777.pth",
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
    "tf_efficientnet_lite0.in1k": "v0.1-weights/tf_efficientnet_lite0-0aa007d2.pth",
    "tf_efficientnet_lite1.in1k": "v0.1-weights/tf_efficientnet_lite1-bde8b488.pth",
    "tf_efficientnet_lite2.in1k": "v0.1-weights/tf_efficientnet_lite2-dcccb7df.pth",
    "tf_efficientnet_lite3.in1k": "v0.1-weights/tf_efficientnet_lite3-b733e338.pth",
    "tf_efficientnet_lite4.in1k": "v0.1-weights/tf_efficientnet_lite4-741542c3.pth",
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


def timm() -> Iterator[Published]:
    """Its classifiers of V1 to V4 and of EfficientNet-Lite."""
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
