"""The model card: README.md beside the artifact; and the words that the page shares with it."""

from __future__ import annotations

from typing import Any

from mobilenets.archs import cost
from mobilenets.archs.budget import describe
from mobilenets.archs.published import family_name
from mobilenets.deliver.judged import not_yet_measured
from mobilenets.deliver.record import Record
from mobilenets.deliver.summary import limit_text, summary
from mobilenets.deliver.usage import commands, contract, library, needs_package, snippet
from mobilenets.tasks import figure
from mobilenets.text import counted

_LABELS_SHOWN = 100


def card(record: Record) -> str:
    """The card of a finished run, as Markdown."""
    verdict, images, training = record.verdict, record.images, record.training
    counts = ", ".join(f"{count:,} {split}" for split, count in images["counts"].items())
    told = [*filter(None, [verdict.get("unclear")]), *verdict["complaints"]]
    complaints = "".join(f"- {plain(one)}\n" for one in told)
    labels = [f"{index}: {plain(name)}" for index, name in enumerate(images["classes"])]
    more = len(labels) - _LABELS_SHOWN
    if more > 0:
        labels = [*labels[:_LABELS_SHOWN], f"and {more:,} more, all in the file's metadata"]
    return f"""---
library_name: {library(record.runtime)}
pipeline_tag: image-classification
tags: [mobilenet, {library(record.runtime)}, image-classification]
---

# {plain(images["name"])}: {record.arch.full_name}

{plain(outcome(record))}

{describe_network(record)}: {record.task.does}, chosen
for a budget, trained and verified by `mobilenets fit`. Plots and details: `report.html`.

**Verified: {_yes(verdict["verified"])}. Within budget: {_within(verdict)}.**

{complaints}
| figure | value |
|---|---|
{_rows([*_figures(record), *_limits(verdict)])}

{conditions(verdict)}

## Use

{contract(record.arch, record.preprocess, record.runtime)}

```
{commands(record.runtime)}
```

{or_else(record.runtime)}

```python
{snippet(record.preprocess, record.runtime, record.presenter, list(record.arch.outputs))}
```

## Labels

In the order of the outputs: {"; ".join(labels)}.

## Training

Images: {counts}; {len(images["skipped"]):,} files could not be read.
Recipe: {plain(training["recipe"].get("name", "unnamed"))}, {counted(record.epochs, "epoch")}.
Started from: {plain(record.start or "random weights")}.
Seed: {training["seed"]}. The held-out images (a part of the training images) chose the epoch; the
validation images are for this report only.

## Limits

- The accuracy holds for images like the validation images.
- {record.presenter.any_image}; the probabilities are not calibrated.
- The latency holds for the device, runtime and threads named above; no other device was measured.
- Fairness across groups of people was not measured.
"""


def _figures(record: Record) -> list[tuple[str, str]]:
    verdict, latency = record.verdict, record.verdict["latency"]
    title, ours = figure(verdict, "_artifact")
    peak = cost(record.arch).peak_activation_bytes.fp32
    return [
        (f"{title}, artifact", f"{ours} of {counted(verdict['images'], 'image')}"),
        (f"{title}, checkpoint", figure(verdict, "_checkpoint")[1]),
        *((plain(name), plain(value)) for name, value in record.presenter.figures(verdict)),
        latency_figure(latency),
        ("file", describe("size_bytes", verdict["size_bytes"])),
        ("MACs", describe("macs", verdict["macs"])),
        ("parameters", describe("params", verdict["params"])),
        ("peak activations, fp32", describe("memory_bytes", peak)),
        *((f"SHA-256 of {name}", digest) for name, digest in record.sha256.items()),
    ]


def _limits(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"limit: {limit['limit']}", f"{limit_text(limit)}, {'met' if limit['met'] else 'missed'}")
        for limit in verdict["limits"]
    ]


def latency_figure(latency: dict[str, Any]) -> tuple[str, str]:
    """Its name and value."""
    if "predicted" in latency:
        return "latency, predicted", f"{latency['p50_ms']:.3f} ms"
    return "latency, p50 / p90", f"{latency['p50_ms']:.3f} / {latency['p90_ms']:.3f} ms"


def conditions(verdict: dict[str, Any]) -> str:
    """What the accuracy and the latency were measured on."""
    latency = verdict["latency"]
    if "predicted" in latency:
        return _predicted(verdict, latency)
    part = latency.get("slowed", 0)  # older verdicts do not tell
    disturbed = f" ({100 * part:.0f} % of the bursts disturbed and left out)" if part else ""
    noisy = " The machine was too noisy for a sure latency." if latency["noisy"] else ""
    return (
        f"Accuracy: {verdict['images']:,} validation images, which neither trained the network nor "
        f"chose its epoch. Latency: {latency['runtime']} {latency['runtime_version']}, "
        f"{counted(latency['threads'], 'thread')}, {latency['precision']}, batch "
        f"{latency['batch']}, {latency['runs']:,} runs{disturbed}, spread "
        f"{100 * latency['spread']:.1f} % (interquartile range over p50), on "
        f"{latency['device']}.{noisy}"
    )


def _predicted(verdict: dict[str, Any], latency: dict[str, Any]) -> str:
    return (
        f"Accuracy: {verdict['images']:,} validation images, which neither trained the network nor "
        f"chose its epoch. Latency: predicted by the latency table of {latency['device']}, "
        f"{latency['runtime']} {latency['runtime_version']}, "
        f"{counted(latency['threads'], 'thread')}; not yet measured there."
    )


def outcome(record: Record) -> str:
    """The run's summary in words."""
    return summary(
        record.arch.name,
        record.verdict,
        limit_ms=record.budget.latency_ms,
        presenter=record.presenter,
    )


def or_else(runtime: str) -> str:
    """What stands above the program."""
    return "or, in Python:" if needs_package(runtime) else "or, without this package:"


def describe_network(record: Record) -> str:
    """The network in words: family, width, input, and its output stride where it is not 32."""
    arch = record.arch
    side = f"{arch.size.height} x {arch.size.width}"
    stride = "" if arch.output_stride == 32 else f", output stride {arch.output_stride}"
    int8 = ", int8" if record.engine.is_int8 else ""
    return f"{family_name(arch.name)}, width {arch.width:g}, {side} pixels{stride}{int8}"


def _rows(figures: list[tuple[str, str]]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in figures)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _within(verdict: dict[str, Any]) -> str:
    if not_yet_measured(verdict):
        return "not yet measured"
    return "undecided" if verdict.get("undecided") else _yes(verdict["within_budget"])


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    for sign in "\\`*_<>|[]#&~$!":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
