"""The data sets that need no folder: digits and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mobilenets.data.formats.idx import holds_idx, list_idx
from mobilenets.data.formats.listing import Listing, list_arrays
from mobilenets.data.source import Arrays
from mobilenets.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist
CACHE = Path("~/.cache/mobilenets")

# arXiv:1708.07747, Table 2; its "T-Shirt/Top" and "Ankle boots" as file names can hold them
FASHION = (
    "T-shirt-top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle-boot",
)


def digits() -> Listing:
    """1,797 handwritten digits of 8x8 pixels, grey 0..16 spread over 0..255 (scikit-learn)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    source = Arrays(np.rint(data.images * (255 / 16)).astype(np.uint8), "digits")
    return list_arrays(
        source,
        data.target.astype(np.int64),
        classes=tuple(str(number) for number in data.target_names),
        given=np.full(len(source), "", dtype=np.str_),
        flip=False,
    )


def fashion_mnist() -> Listing:
    """60,000 + 10,000 articles of clothing of 28x28 pixels (arXiv:1708.07747).

    From Debian's package, else from the cache, else downloaded into the cache.
    """
    cached = CACHE.expanduser() / "FashionMNIST" / "raw"  # where torchvision puts them
    if not holds_idx(DEBIAN) and not holds_idx(cached):
        _download(cached)
    folder = DEBIAN if holds_idx(DEBIAN) else cached
    return list_idx(folder, name="fashion-mnist", classes=FASHION, flip=True)


def _download(folder: Path) -> None:
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(CACHE.expanduser()), download=True)
    except Exception as error:  # urllib, ssl, a wrong checksum, a full disk
        raise DataError(
            f"Fashion-MNIST is neither in {DEBIAN} nor could it be downloaded ({error}); "
            f"put its four idx files into {folder}"
        ) from error


BUILT_IN = {"digits": digits, "fashion-mnist": fashion_mnist}
