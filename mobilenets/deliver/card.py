"""The model card: README.md beside the artefact; and the words that the page shares with it."""

from __future__ import annotations

from math import sqrt
from typing import Any

from mobilenets.archs import Arch, cost
from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.data import Preprocess
from mobilenets.deliver.record import Record

_LABELS_SHOWN = 100

# The artefact's own rule: PIL's resizing is antialiased; sizes are rounded as torchvision's are.
_SNIPPET = """import json, numpy, onnxruntime
from PIL import Image, ImageOps

photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
size = [SHORT * side // min(photo.size) for side in photo.size]
left, top = (round((side - SIDE) / 2) for side in size)
photo = photo.resize(size, Image.Resampling.MODE)
photo = photo.crop((left, top, left + SIDE, top + SIDE))
pixels = numpy.asarray(photo, numpy.float32).transpose(2, 0, 1)[None] / 255

session = onnxruntime.InferenceSession("model.onnx")
about = json.loads(session.get_modelmeta().custom_metadata_map["mobilenets"])
logits = session.run(None, {"image": pixels})[0]
print(about["labels"][logits.argmax()])"""

COMMANDS = """mobilenets predict model.onnx photo.jpg
mobilenets eval model.onnx DATA
mobilenets latency model.onnx"""


def card(record: Record) -> str:
    """The card of a finished run, as Markdown."""
    verdict, images, training = record.verdict, record.images, record.training
    counts = ", ".join(f"{count:,} {split}" for split, count in images["counts"].items())
    complaints = "".join(f"- {plain(one)}\n" for one in verdict["complaints"])
    labels = [f"{index}: {plain(name)}" for index, name in enumerate(images["classes"])]
    more = len(labels) - _LABELS_SHOWN
    if more > 0:
        labels = [*labels[:_LABELS_SHOWN], f"and {more:,} more, all in the file's metadata"]
    return f"""---
library_name: onnx
pipeline_tag: image-classification
tags: [mobilenet, onnx, image-classification]
---

# {plain(images["name"])}: {record.arch.full_name}

{describe_network(record.arch)}: an image classifier of {len(images["classes"]):,} classes, chosen
for a budget, trained and checked by `mobilenets fit`. How, with plots: `report.html`.

**Verified: {_yes(verdict["verified"])}. Within budget: {_yes(verdict["within_budget"])}.**

{complaints}
| figure | value |
|---|---|
{_rows([*_figures(record), *_limits(verdict)])}

{conditions(verdict)}

## Use

{contract(record)}

```
{COMMANDS}
```

or, without this package:

```python
{snippet(record.preprocess)}
```

## Labels

In the order of the logits: {"; ".join(labels)}.

## Training

Images: {counts}; {len(images["skipped"]):,} files could not be read.
Recipe: {plain(training["recipe"].get("name", "unnamed"))}, {len(record.metrics)} epochs.
Seed: {training["seed"]}. The epoch was chosen on the holdout images; validation images only report.

## Limits

- The accuracy holds for images like the validation images. Any image, also one that shows none of
  the classes, gets one of the labels; the probabilities are not calibrated.
- The latency holds for the device, runtime and threads named above; nothing was timed elsewhere.
- Nothing was checked for fairness across groups of people.
"""


def _figures(record: Record) -> list[tuple[str, str]]:
    verdict, latency = record.verdict, record.verdict["latency"]
    low, high = interval(verdict["top1_artefact"], verdict["images"])
    peak = cost(record.arch).peak_activation_bytes.fp32
    return [
        ("top-1, artefact", f"{verdict['top1_artefact']:.2f} % of {verdict['images']:,} images"),
        ("its 95 % interval", f"{low:.1f} to {high:.1f} %"),
        ("top-1, checkpoint", f"{verdict['top1_checkpoint']:.2f} %"),
        ("top-5, artefact", f"{verdict['top5_artefact']:.2f} %"),
        ("latency, p50 / p90", f"{latency['p50_ms']:.3f} / {latency['p90_ms']:.3f} ms"),
        ("file", describe("size_bytes", verdict["size_bytes"])),
        ("MACs", describe("macs", verdict["macs"])),
        ("parameters", describe("params", verdict["params"])),
        ("peak activations, fp32", describe("memory_bytes", peak)),
        ("SHA-256 of model.onnx", record.sha256),
    ]


def _limits(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"limit: {limit['limit']}", f"{limit_text(limit)}, {'met' if limit['met'] else 'missed'}")
        for limit in verdict["limits"]
    ]


def limit_text(limit: dict[str, Any]) -> str:
    """What is spent of one of the verdict's limits: "latency 0.8 ms of 1 ms"."""
    field = {option: field for field, option in LIMIT_NAMES.items()}[limit["limit"]]
    spent, allowed = describe(field, limit["spent"]), describe(field, limit["allowed"])
    return f"{limit['limit']} {spent} of {allowed}"


def conditions(verdict: dict[str, Any]) -> str:
    """What the accuracy and the latency were measured on."""
    latency = verdict["latency"]
    noisy = "; the machine was too noisy to be sure" if latency["noisy"] else ""
    threads = f"{latency['threads']} thread{'s' if latency['threads'] != 1 else ''}"
    return (
        f"Accuracy on {verdict['images']:,} validation images, which trained and chose nothing. "
        f"Latency: {latency['runtime']} {latency['runtime_version']}, {threads}, "
        f"{latency['precision']}, batch {latency['batch']}, {latency['runs']:,} runs, spread "
        f"{100 * latency['spread']:.1f} % (interquartile range over p50), on "
        f"{latency['device']}{noisy}."
    )


def contract(record: Record) -> str:
    """What the artefact takes and gives."""
    side, short = record.preprocess.resolution, record.preprocess.short_side
    mode = record.preprocess.interpolation
    return (
        f"model.onnx takes image, float32 RGB in [0, 1], 1 x 3 x {side} x {side} (NCHW), and "
        f"gives logits, 1 x {record.arch.classes}; normalisation is inside the graph. Resize the "
        f"short side to {short} pixels ({mode}, antialiased) and cut the centre square of "
        f"{side}. Labels, this rule and the architecture are in the file's metadata."
    )


def snippet(preprocess: Preprocess) -> str:
    """A Python program that uses the artefact without this package."""
    words = {
        "SHORT": preprocess.short_side,
        "SIDE": preprocess.resolution,
        "MODE": preprocess.interpolation.upper(),
    }
    program = _SNIPPET
    for name, word in words.items():
        program = program.replace(name, str(word))
    return program


def describe_network(arch: Arch) -> str:
    """A network in words: family, width, input, and its output stride where it is not 32."""
    family = arch.name.removeprefix("mobilenet_").replace("_", "-").title()
    side = arch.resolution
    stride = "" if arch.output_stride == 32 else f", output stride {arch.output_stride}"
    return f"MobileNet{family}, width {arch.width:g}, {side} x {side} pixels{stride}"


def interval(percent: float, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a percentage of `count` images."""
    share = percent / 100
    middle = share + z**2 / (2 * count)
    half = z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 100 / (1 + z**2 / count)
    return scale * (middle - half), scale * (middle + half)


def _rows(figures: list[tuple[str, str]]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in figures)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    for sign in "\\`*_<>|[]#&~$!":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
