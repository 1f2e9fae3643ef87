"""The options that several commands share, the sections of `--help`, and what a shell completes.

No future import of annotations here and in the files of verbs: typer would evaluate each again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

# The sections of `--help`.
DATA, BUDGET, DEVICE, TRAINING, SEARCH, OUTPUT = (
    "Data", "Budget", "Device", "Training", "Search", "Output",
)  # fmt: skip
BUILT_IN = ("digits", "fashion-mnist")
_KERAS = ("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small")


def network_names(incomplete: str) -> list[str]:
    """For the shell: our names, which torchvision has too, and once a word is begun timm's and
    Keras'."""
    from mobilenets.archs import ARCHS
    from mobilenets.archs.published_weights import PUBLISHED_WEIGHTS

    timm = [one.model for one in PUBLISHED_WEIGHTS if one.source == "timm" and one.network in ARCHS]
    names = dict.fromkeys([*ARCHS, *timm, *_KERAS] if incomplete else ARCHS)
    return [name for name in names if name.startswith(incomplete)]


def runtime_names(incomplete: str) -> list[str]:
    """For the shell: runtimes, the last of several after a comma."""
    from mobilenets.runtimes import RUNTIMES

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in (*RUNTIMES, "auto") if name.startswith(last)]


def device_names(incomplete: str) -> list[str]:
    """For the shell: this machine, and the devices that have a name."""
    from mobilenets.devices.registry import devices

    return [name for name in ("local", *devices()) if name.startswith(incomplete)]


def one_of(*words: str) -> Callable[[str], list[str]]:
    """For the shell: what of these begins so."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def option(*names: str, panel: str, **more: Any) -> Any:
    """An option in a section of `--help`."""
    return typer.Option(*names, rich_help_panel=panel, **more)


Json = Annotated[
    bool, option("--json", panel=OUTPUT, help="Print one JSON value on stdout instead of text.")
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        autocompletion=network_names,
        help="A network by our name, torchvision's, timm's or Keras': mobilenet_v3_small, "
        "mobilenetv3_small_100, MobileNetV3Small.",
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Images with labels: a folder with a folder for each class, a .csv file, WebDataset "
        "shards, boxes (COCO, Pascal VOC, YOLO, .csv), or a built-in set (digits, fashion-mnist).",
        autocompletion=one_of(*BUILT_IN),
    ),
]
TrainedOn = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="The images that the network was trained on.",
        autocompletion=one_of(*BUILT_IN),
    ),
]
Trained = Annotated[
    Path, typer.Argument(metavar="RUN|CHECKPOINT", help="A run folder, or its checkpoint file.")
]
Network = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|RUN", help="An artifact or checkpoint, or the run folder that has one."
    ),
]

Latency = Annotated[
    str | None,
    option(
        "--latency",
        panel=BUDGET,
        metavar="MS",
        help="Limit on the p50 latency of one image on --device, in ms: 5ms.",
    ),
]
Macs = Annotated[
    str | None,
    option("--macs", panel=BUDGET, metavar="N", help="Limit on the multiply-adds: 100M."),
]
Params = Annotated[
    str | None,
    option("--params", panel=BUDGET, metavar="N", help="Limit on the parameters: 2M."),
]
Size = Annotated[
    str | None,
    option("--size", panel=BUDGET, metavar="BYTES", help="Limit on the artifact's file: 4MB."),
]
Memory = Annotated[
    str | None,
    option(
        "--memory",
        panel=BUDGET,
        metavar="BYTES",
        help="Limit on the peak memory of the activations in fp32: 1.5MB.",
    ),
]

Runtimes = Annotated[
    str,
    option(
        "--runtime",
        panel=DEVICE,
        metavar="NAMES",
        autocompletion=runtime_names,
        help="One runtime or several (onnxruntime,openvino-int8: the second quantized to int8); "
        "auto: all that are installed.",
    ),
]
Runtime = Annotated[
    str,
    option(
        "--runtime",
        panel=DEVICE,
        metavar="NAME",
        autocompletion=runtime_names,
        help="The runtime that the network is for; mobilenets runtimes lists them.",
    ),
]
Int8 = Annotated[
    bool, option("--int8", panel=DEVICE, help="Consider each network quantized to int8, too.")
]
Threads = Annotated[
    int, option("--threads", panel=DEVICE, metavar="N", help="Threads that the network runs on.")
]
Device = Annotated[
    str,
    option(
        "--device",
        panel=DEVICE,
        metavar="NAME",
        autocompletion=device_names,
        help="Where latency is measured: local, this machine, or a device that mobilenets device "
        "add has named.",
    ),
]
ImageSize = Annotated[
    int | None,
    option(
        "--image-size",
        panel=DATA,
        metavar="PIXELS",
        help="Short side of your images, if below 224 pixels.  [default: large images]",
    ),
]
Classes = Annotated[
    int, option("--classes", panel=DATA, metavar="N", help="Number of classes of the network.")
]

Width = Annotated[
    float | None,
    option("--width", panel="Network", metavar="FACTOR", help="Channel multiplier.  [default: 1]"),
]
Resolution = Annotated[
    str | None,
    option(
        "--resolution",
        panel="Network",
        metavar="PIXELS",
        help="Side of the input in pixels, or height x width: 512x1024.  [default: 224]",
    ),
]

Weights = Annotated[
    str,
    option(
        "--weights",
        panel=TRAINING,
        metavar="SOURCE",
        autocompletion=one_of("auto", "none", "torchvision", "timm", "keras", "package"),
        help="Starting checkpoint: torchvision, timm, keras, package (each also with :TAG), "
        "hf:OWNER/NAME, or a file. none: random weights. auto: for photographs the best published "
        "weights that are in the cache, an installed package or can be downloaded; for other "
        "images none.",
    ),
]
RecipeName = Annotated[
    str | None,
    option(
        "--recipe",
        panel=TRAINING,
        metavar="NAME",
        help="Training recipe: from_scratch, small_images, fine_tune, few_images, modern, "
        "paper_v1, paper_v2, paper_v3.  [default: with weights fine_tune, or few_images for "
        "fewer than 40 images a class; without weights small_images for images of at most 32 "
        "pixels, else from_scratch]",
    ),
]
TeacherFile = Annotated[
    Path | None,
    option(
        "--teacher",
        panel=TRAINING,
        metavar="FILE",
        help="A checkpoint to distill from.  [default: no distillation]",
    ),
]
Epochs = Annotated[
    int | None,
    option(
        "--epochs",
        panel=TRAINING,
        metavar="N",
        help="Train for exactly this many epochs.  [default: the recipe's]",
    ),
]
Flip = Annotated[
    bool | None,
    option(
        "--flip/--no-flip",
        panel=TRAINING,
        help="Mirror training images at random, or never.  [default: by the data]",
    ),
]
Mixed = Annotated[
    bool | None,
    option("--mixed/--no-mixed", panel=TRAINING, help="Mixed precision on a GPU.  [default: on]"),
]
ClassWeights = Annotated[
    str | None,
    option(
        "--class-weights",
        panel=TRAINING,
        metavar="balanced|none",
        autocompletion=one_of("balanced", "none"),
        help="balanced: weigh the loss of each class by one over its training images.  "
        "[default: none]",
    ),
]
Seed = Annotated[
    int,
    option(
        "--seed", panel=TRAINING, metavar="N", help="Seed of the random split and the training."
    ),
]

Task = Annotated[
    str | None,
    option(
        "--task",
        panel=DATA,
        metavar="NAME",
        autocompletion=one_of("classification", "attributes", "detection"),
        help="classification: one class an image; attributes: several labels an image, each "
        "present or absent; detection: boxes, each of a class.  [default: by the data]",
    ),
]
GreyRange = Annotated[
    str | None,
    option(
        "--range",
        panel=DATA,
        metavar="LOW:HIGH",
        help="Pixel values of black and white in 16-bit and float grey images: 0:4095.  "
        "[default: by the training images]",
    ),
]
Resize = Annotated[
    str | None,
    option(
        "--resize",
        panel=DATA,
        metavar="crop|stretch",
        autocompletion=one_of("crop", "stretch"),
        help="Images that are not square: crop cuts the centre, stretch resizes the whole image.  "
        "[default: by the training images]",
    ),
]
Restart = Annotated[
    bool,
    option(
        "--restart",
        panel=OUTPUT,
        help="Start from the beginning; what the run folder holds is moved to its earlier/.",
    ),
]


def out(default: str, *, metavar: str = "FOLDER", what: str = "Run folder.") -> Any:
    """--out, with its default in words."""
    return option("--out", panel=OUTPUT, metavar=metavar, help=f"{what}  [default: {default}]")
