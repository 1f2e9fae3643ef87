"""Published file formats give the publisher's logits: files written here by the publishers' own
code, with random weights and batch norm statistics, read by ours.

The weights differ from the published ones, the layout does not. Logits are compared relatively to
the largest: those of a fresh V3 are near 1e-5, and an absolute tolerance would pass anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import timm
import timm.models
import torch
import torchvision
from torch import Tensor

from mobilenets.archs.published_weights import PUBLISHED_WEIGHTS, Published, find_weights
from mobilenets.data import Preprocess
from mobilenets.errors import FileError
from mobilenets.nn import Checkpoint
from mobilenets.nn.pretrained.keras import read_layers
from mobilenets.nn.pretrained.load import imagenet_labels, read_published
from tests.randomised import difference, randomise_

RELATIVE = 2e-5  # of the largest logit; float32 against another library's float32


def pixels_of(side: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, side, side), generator=generator).float() / 255


def normalized(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (images - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def logits(checkpoint: Checkpoint, images: Tensor) -> Tensor:
    """What our network makes of RGB in [0, 1], with the checkpoint's own mean and deviation."""
    with torch.no_grad():
        network = checkpoint.network()
        return network(normalized(images, checkpoint.mean, checkpoint.std))["logits"]


# -------------------------------------------------------------------------------------------- Keras

# Each published network once, at sizes of which every one is published somewhere.
KERAS = [
    "mobilenet_v1-0.25-128", "mobilenet_v1-0.5-160", "mobilenet_v1-0.75-192",
    "mobilenet_v1-1.0-224", "mobilenet_v2-0.35-96", "mobilenet_v2-0.5-128",
    "mobilenet_v2-0.75-160", "mobilenet_v2-1.0-192", "mobilenet_v2-1.3-224",
    "mobilenet_v2-1.4-224", "mobilenet_v3_large-0.75-64", "mobilenet_v3_large-1.0-64",
    "mobilenet_v3_large_minimalistic-1.0-64", "mobilenet_v3_small-0.75-64",
    "mobilenet_v3_small-1.0-64", "mobilenet_v3_small_minimalistic-1.0-64",
]  # fmt: skip
# The smallest of each family.
FEW = {
    "mobilenet_v1-0.25-128", "mobilenet_v2-0.35-96", "mobilenet_v3_large-0.75-64",
    "mobilenet_v3_small-1.0-64", "mobilenet_v3_small_minimalistic-1.0-64",
}  # fmt: skip
every_keras = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FEW else pytest.mark.full) for name in KERAS],
)


def keras_checkpoint(name: str) -> Published:
    network, width, side = name.split("-")
    return find_weights("keras", network, width=float(width), resolution=int(side))


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """Keras' files, logits and addresses, made by Keras in a process of its own."""
    folder = tmp_path_factory.mktemp("keras")
    program = Path(__file__).with_name("keras_peer.py")
    names = KERAS if pytestconfig.getoption("full") else sorted(FEW)
    settings = {"KERAS_BACKEND": "torch", "KERAS_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, program, folder, *names],
        env=os.environ | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def keras_images_and_logits(folder: Path, name: str) -> tuple[Tensor, Tensor]:
    saved = np.load(folder / f"{name}.npz")
    images = torch.from_numpy(saved["pixels"]).permute(0, 3, 1, 2).float() / 255
    return images, torch.from_numpy(saved["logits"])


@every_keras
def test_keras_files_give_keras_logits(keras_files: Path, name: str):
    checkpoint = read_published(keras_checkpoint(name), keras_files / f"{name}.h5")
    images, theirs = keras_images_and_logits(keras_files, name)

    assert difference(logits(checkpoint, images), theirs) < RELATIVE


@every_keras
def test_keras_files_are_where_keras_looks_for_them(keras_files: Path, name: str):
    url, md5 = json.loads((keras_files / "addresses.json").read_text())[name]
    (file,) = keras_checkpoint(name).files

    assert file.url == url
    assert file.checksum == (f"md5:{md5}" if md5 else "")


def test_every_network_that_keras_publishes_is_compared():
    compared = {tuple(name.split("-")[:2]) for name in KERAS}

    published = {
        (one.network, str(one.width)) for one in PUBLISHED_WEIGHTS if one.source == "keras"
    }
    assert compared == published


@pytest.mark.parametrize("change", [{"bn_eps": 1e-5}, {"padding": "symmetric"}])
@pytest.mark.parametrize("name", ["mobilenet_v1-0.25-128", "mobilenet_v3_small-1.0-64"])
def test_other_conventions_give_other_logits(keras_files: Path, name: str, change: dict):
    published = replace(keras_checkpoint(name), **change)
    images, theirs = keras_images_and_logits(keras_files, name)

    ours = logits(read_published(published, keras_files / f"{name}.h5"), images)
    assert difference(ours, theirs) > 50 * RELATIVE


def test_layers_are_read_in_the_order_they_run(keras_files: Path, tmp_path: Path):
    published = keras_checkpoint("mobilenet_v3_small-1.0-64")
    path = tmp_path / "swapped.h5"
    path.write_bytes((keras_files / "mobilenet_v3_small-1.0-64.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        names = list(file.attrs["layer_names"])
        one, two = (names.index(f"expanded_conv_{block}_depthwise".encode()) for block in (5, 6))
        names[one], names[two] = names[two], names[one]
        file.attrs["layer_names"] = names

    with pytest.raises(FileError, match="these weights are not Keras's mobilenet_v3_small"):
        read_published(published, path)


def test_a_list_of_names_that_keras_cut_into_parts_is_read(keras_files: Path, tmp_path: Path):
    path = tmp_path / "parts.h5"
    path.write_bytes((keras_files / "mobilenet_v1-0.25-128.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:50], names[50:]

    assert len(read_layers(path)) == 55  # 27 convolutions, 27 batch norms, the classifier


def test_a_model_saved_with_its_weights_is_read(keras_files: Path, tmp_path: Path):
    name = "mobilenet_v1-0.25-128"
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as whole, h5py.File(keras_files / f"{name}.h5") as weights:
        weights.copy(weights, whole, "model_weights")

    assert len(read_layers(path)) == len(read_layers(keras_files / f"{name}.h5"))


@pytest.mark.parametrize("content", [b"", b"not HDF5"])
def test_a_file_that_is_not_keras_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)

    with pytest.raises(FileError, match=r"weights\.h5 is not a weights file of Keras .*; give one"):
        read_layers(path)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["table"] = [1, 2]

    with pytest.raises(FileError, match=r"is not a weights file of Keras .*no layer_names"):
        read_layers(tmp_path / "weights.h5")


# --------------------------------------------------------------------------------------------- timm

TIMM = {one.model: one for one in PUBLISHED_WEIGHTS if one.source == "timm" and one.classes == 1000}


# Other depths of EfficientNet-Lite0's blocks, and large.
DEAR = ("efficientnet_lite1", "efficientnet_lite2", "efficientnet_lite3", "efficientnet_lite4")


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, marks=pytest.mark.full if number or network in DEAR else ())
        for network in dict.fromkeys(one.network for one in TIMM.values())
        for number, model in enumerate(
            model for model, one in TIMM.items() if one.network == network
        )
    ],
)
def test_timms_files_give_timms_logits(tmp_path: Path, model: str):
    theirs = randomise_(timm.create_model(model))
    timm.models.save_for_hf(theirs, str(tmp_path), safe_serialization=True)
    published, images = TIMM[model], pixels_of(64)

    checkpoint = read_published(published, tmp_path / "model.safetensors")

    config = timm.get_pretrained_cfg(f"{model}.{published.tag}")
    with torch.no_grad():
        expected = theirs(normalized(images, config.mean, config.std))
    assert difference(logits(checkpoint, images), expected) < RELATIVE


@pytest.mark.parametrize(
    ("model", "change"),
    [
        ("mobilenetv3_small_075", {"bn_eps": 1e-3}),
        ("tf_mobilenetv3_small_075", {"bn_eps": 1e-5}),
        ("tf_mobilenetv3_small_075", {"padding": "symmetric"}),
        ("mobilenetv3_rw", {"network": "mobilenet_v3_large"}),
    ],
)
def test_other_conventions_than_timms_give_other_logits(tmp_path: Path, model: str, change: dict):
    theirs = randomise_(timm.create_model(model))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    published, images = TIMM[model], pixels_of(64)

    checkpoint = read_published(replace(published, **change), tmp_path / "weights.pth")

    with torch.no_grad():
        expected = theirs(normalized(images, published.mean, published.std))
    assert difference(logits(checkpoint, images), expected) > 50 * RELATIVE


def test_the_weights_of_imagenet_21k_have_11221_classes(tmp_path: Path):
    published = find_weights("timm:mobilenetv3_large_100.miil_in21k")
    theirs = randomise_(timm.create_model("mobilenetv3_large_100", num_classes=11221))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "weights.pth")
    images = pixels_of(32)

    checkpoint = read_published(published, tmp_path / "weights.pth")

    with torch.no_grad():
        assert difference(logits(checkpoint, images), theirs(images)) < RELATIVE
    assert checkpoint.labels == tuple(str(index) for index in range(11221))


# -------------------------------------------------------------------------------------- torchvision

TORCHVISION = [one for one in PUBLISHED_WEIGHTS if one.source == "torchvision"]


@pytest.mark.parametrize("published", TORCHVISION, ids=lambda one: one.name)
def test_torchvisions_files_give_torchvisions_logits(tmp_path: Path, published: Published):
    theirs = randomise_(torchvision.models.get_model(published.model))
    torch.save(theirs.state_dict(), tmp_path / published.files[0].name)
    transform = torchvision.models.get_weight(_weights_name(published)).transforms()
    images = pixels_of(64)

    checkpoint = read_published(published, tmp_path / published.files[0].name)

    with torch.no_grad():
        expected = theirs(normalized(images, transform.mean, transform.std))
    assert difference(logits(checkpoint, images), expected) < RELATIVE


def _weights_name(published: Published) -> str:
    model = published.model.replace("mobilenet_v", "MobileNet_V").replace("_large", "_Large")
    return f"{model.replace('_small', '_Small')}_Weights.{published.tag}"


def test_a_checkpoint_brings_its_labels_preprocessing_and_origin(tmp_path: Path):
    published = find_weights("torchvision:mobilenet_v2.IMAGENET1K_V2")
    torch.save(torchvision.models.mobilenet_v2().state_dict(), tmp_path / "weights.pth")

    checkpoint = read_published(published, tmp_path / "weights.pth")

    rule = Preprocess.from_json(checkpoint.preprocess)
    assert rule == Preprocess(224, 224 / 232)
    assert rule.short_side == 232
    assert checkpoint.preprocess == rule.to_json()
    assert checkpoint.labels[0] == "tench"
    assert checkpoint.labels[999] == "toilet tissue"
    assert checkpoint.training["weights"] == "torchvision:mobilenet_v2.IMAGENET1K_V2"
    assert checkpoint.training["imagenet_top1"] == 72.154
    Checkpoint.load(_saved(checkpoint, tmp_path)).network()


def _saved(checkpoint: Checkpoint, folder: Path) -> Path:
    checkpoint.save(folder / "ours.safetensors")
    return folder / "ours.safetensors"


@pytest.mark.parametrize("one", PUBLISHED_WEIGHTS, ids=lambda one: one.name)
def test_every_checkpoints_short_side_survives_the_crop(one: Published):
    rule = Preprocess(one.resolution, one.resolution / one.short_side, one.interpolation)

    assert rule.short_side == one.short_side


def test_imagenets_labels_are_a_thousand_names():
    assert len(set(imagenet_labels())) == 1000
