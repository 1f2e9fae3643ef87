"""The model card: README.md beside the artefact."""

from __future__ import annotations

from typing import Any

from mobilenets.archs.budget import describe
from mobilenets.deliver.record import Record

# The artefact's own rule: PIL's bilinear is antialiased; sizes are rounded as torchvision's are.
SNIPPET = """import json, numpy, onnxruntime
from PIL import Image, ImageOps

photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
size = [SIDE * side // min(photo.size) for side in photo.size]
left, top = (round((side - SIDE) / 2) for side in size)
photo = photo.resize(size, Image.Resampling.BILINEAR)
photo = photo.crop((left, top, left + SIDE, top + SIDE))
pixels = numpy.asarray(photo, numpy.float32).transpose(2, 0, 1)[None] / 255
session = onnxruntime.InferenceSession("model.onnx")
about = json.loads(session.get_modelmeta().custom_metadata_map["mobilenets"])
logits = session.run(None, {"image": pixels})[0]
print(about["labels"][logits.argmax()])"""


def card(record: Record) -> str:
    """The card of a finished run, as Markdown."""
    arch, verdict, latency = record.arch, record.verdict, record.verdict["latency"]
    side = arch.resolution
    noisy = "; the machine was too noisy to be sure" if latency["noisy"] else ""
    labels = ", ".join(plain(label) for label in record.images["classes"])
    counts = ", ".join(f"{count:,} {split}" for split, count in record.images["counts"].items())
    return f"""---
library_name: onnx
pipeline_tag: image-classification
tags: [mobilenet, onnx]
---

# {plain(record.images["name"])}: {arch.full_name}

Verified: {_yes(verdict["verified"])}. Within budget: {_yes(verdict["within_budget"])}.
{"".join(f"{plain(one)}. " for one in verdict["complaints"])}

| figure | value |
|---|---|
{_rows(_figures(verdict))}

Latency: {latency["runtime"]} {latency["runtime_version"]}, {latency["threads"]} thread(s),
{latency["precision"]}, batch {latency["batch"]}, {latency["runs"]:,} runs, spread
{100 * latency["spread"]:.1f} %, on {latency["device"]}{noisy}.

## Use

`model.onnx` takes `image`, float32 RGB in [0, 1], 1 x 3 x {side} x {side}, and gives `logits`,
one a class; normalisation is inside the graph. Resize the short side to {side} pixels (bilinear,
antialiased) and cut the centre square. Labels, preprocessing and architecture are in the
metadata.

    mobilenets predict model.onnx photo.jpg
    mobilenets eval model.onnx DATA

or, without this package:

```python
{SNIPPET.replace("SIDE", str(side))}
```

## Labels

{labels}

## Training

Images: {counts}; {len(record.images["skipped"])} files could not be read. Recipe
{record.training["recipe"]["name"]}, {len(record.metrics)} epochs, seed {record.training["seed"]}.

## Limits

The accuracy holds for images like the validation images; the latency for the device, runtime and
threads named above. Nothing was checked on other devices, or for fairness across groups of people.
"""


def _figures(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    latency = verdict["latency"]
    return [
        ("top-1, artefact", f"{verdict['top1_artefact']:.2f} % of {verdict['images']:,} images"),
        ("top-1, checkpoint", f"{verdict['top1_checkpoint']:.2f} %"),
        ("top-5, artefact", f"{verdict['top5_artefact']:.2f} %"),
        ("latency, p50 / p90", f"{latency['p50_ms']:.3f} / {latency['p90_ms']:.3f} ms"),
        ("file", describe("size_bytes", verdict["size_bytes"])),
        ("MACs", describe("macs", verdict["macs"])),
        ("parameters", describe("params", verdict["params"])),
    ]


def _rows(figures: list[tuple[str, str]]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in figures)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    for sign in "\\`*_<>|[]#&~":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
