"""Run as a program: keras.applications' networks with random weights, saved as Keras 2 saved its
published files (the legacy HDF5 layout), with the logits that Keras gives; and, in addresses.json,
where Keras would download the published weights from, with the hash it would ask of them.

In a process of its own: Keras picks its back end when it is imported.
    KERAS_BACKEND=torch python tests/keras_peer.py FOLDER NETWORK-WIDTH-SIDE...
"""

import json
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import applications
from keras.src.applications.mobilenet import file_utils
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group


def build(network: str, width: float, side: int) -> tuple[keras.Model, list[str | None]]:
    """The network as Keras builds it for its published weights, which are asked for and not read;
    and the address and hash of their file."""
    asked: list[str | None] = []
    file_utils.get_file = lambda _, url, file_hash=None, **__: asked.extend([url, file_hash])
    keras.Model.load_weights = lambda *_, **__: None
    common = {"input_shape": (side, side, 3), "alpha": width, "classifier_activation": None}
    if network == "mobilenet_v1":
        return applications.MobileNet(**common), asked
    if network == "mobilenet_v2":
        return applications.MobileNetV2(**common), asked
    size = applications.MobileNetV3Large if "large" in network else applications.MobileNetV3Small
    return size(minimalistic="minimalistic" in network, **common), asked


def prepared(network: str, pixels: np.ndarray) -> np.ndarray:
    """As Keras documents for each: V3 rescales inside."""
    modules = {"mobilenet_v1": applications.mobilenet, "mobilenet_v2": applications.mobilenet_v2}
    module = modules.get(network, applications.mobilenet_v3)
    return module.preprocess_input(pixels.astype("float32"))


def randomise(model: keras.Model, random: np.random.Generator) -> None:
    """Batch norm and biases as after training: fresh ones hide a wrong eps or order. Filters
    that neither fade nor grow the signal: with Keras' own, a V1 forgets its image."""
    for variable in model.weights:
        if len(variable.shape) == 1:
            low = 0.5 if variable.name in ("gamma", "moving_variance") else -0.5
            variable.assign(random.uniform(low, low + 1, variable.shape))
        else:
            depthwise = variable.shape[-1] == 1
            fan_in = np.prod(variable.shape[:2] if depthwise else variable.shape[:-1])
            variable.assign(random.normal(0, (2 / fan_in) ** 0.5, variable.shape))


def name_as_keras_2_(file: h5py.File, model: keras.Model) -> None:
    """The names in the published files, which Keras 2 wrote: conv1/kernel:0 and, of a depthwise
    convolution, conv_dw_1/depthwise_kernel:0, as bytes."""
    for layer in model.layers:
        group = file[layer.name]
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        names = []
        for old in group.attrs["weight_names"]:
            new = old.replace("/kernel", "/depthwise_kernel") if depthwise else old
            group.move(old, f"{new}:0")
            names.append(f"{new}:0".encode())
        group.attrs["weight_names"] = np.array(names, dtype="S")
    file.attrs["layer_names"] = np.array([layer.name.encode() for layer in model.layers])
    del file["top_level_model_weights"]  # Keras 2 had none


def main(folder: Path, names: list[str]) -> None:
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    addresses = {}
    for name in names:
        network, width, side = name.split("-")
        model, addresses[name] = build(network, float(width), int(side))
        randomise(model, random)
        pixels = random.integers(0, 256, (2, int(side), int(side), 3), dtype=np.uint8)
        logits = model(prepared(network, pixels), training=False)
        with h5py.File(folder / f"{name}.h5", "w") as file:
            save_weights_to_hdf5_group(file, model)
            name_as_keras_2_(file, model)
        numbers = keras.ops.convert_to_numpy(logits)
        np.savez(folder / f"{name}.npz", pixels=pixels, logits=numbers)
        keras.utils.clear_session()
    (folder / "addresses.json").write_text(json.dumps(addresses))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
