"""`report`: a finished run folder -> one self-contained page, and a model card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plotly.offline

from mobilenets.archs import Arch, cost
from mobilenets.archs.budget import describe
from mobilenets.archs.rows import Bottleneck
from mobilenets.deliver import plots
from mobilenets.deliver.card import SNIPPET
from mobilenets.deliver.card import card as model_card
from mobilenets.deliver.page import (
    badge,
    card,
    limit_bar,
    page,
    paragraph,
    picture,
    section,
    table,
)
from mobilenets.deliver.record import Record, read_run
from mobilenets.files import write_text

_LIMIT_FIELDS = {
    "latency": "latency_ms",
    "macs": "macs",
    "params": "params",
    "size": "size_bytes",
    "memory": "memory_bytes",
}
_HEAT_MAP = 30
_SKIPPED_SHOWN = 50


def report(folder: str | Path) -> Path:
    """The path of report.html, written anew with README.md from the run in `folder`.

    Raises `FileError` where a file of the run is missing or broken.
    """
    folder = Path(folder)
    record = read_run(folder)
    script = plotly.offline.get_plotlyjs()
    title = f"{record.images['name']}: {record.arch.full_name}"
    write_text(folder / "README.md", model_card(record))
    write_text(folder / "report.html", page(title, _body(record, title), script))
    return folder / "report.html"


def _body(record: Record, title: str) -> list[str]:
    return [
        f"<h1>{section_title(title)}</h1>",
        _verdict(record.verdict),
        _limits(record.verdict),
        _figures(record),
        _tradeoff(record),
        section(
            "Training",
            paragraph(
                "The holdout images are a part of the training images; the epoch with the lowest "
                "holdout loss was kept. Validation images only report.",
                soft=True,
            ),
            plots.training(record.metrics),
        ),
        _confusion(record.predictions),
        _examples(record.predictions),
        _network(record.arch),
        _data(record.images),
        _use(record),
        _provenance(record),
    ]


def section_title(text: str) -> str:
    """Escaped, breakable after the underscores of long names."""
    return paragraph(text).removeprefix("<p>").removesuffix("</p>").replace("_", "_<wbr>")


def _verdict(verdict: dict[str, Any]) -> str:
    verified = badge(
        verdict["verified"],
        "Verified",
        "Not verified",
        f"top-1 {verdict['top1_artefact']:.2f} % on {verdict['images']:,} validation images, "
        f"checkpoint {verdict['top1_checkpoint']:.2f} %",
    )
    limits = "; ".join(_limit_text(limit) for limit in verdict["limits"]) or "no limit was set"
    budget = badge(verdict["within_budget"], "Within budget", "Misses the budget", limits)
    complaints = "".join(paragraph(f"{one}.") for one in verdict["complaints"])
    return f'<div class="verdict">{verified}{budget}</div>{complaints}'


def _limit_text(limit: dict[str, Any]) -> str:
    field = _LIMIT_FIELDS[limit["limit"]]
    spent, allowed = describe(field, limit["spent"]), describe(field, limit["allowed"])
    return f"{limit['limit']} {spent} of {allowed}"


def _limits(verdict: dict[str, Any]) -> str:
    return "".join(
        limit_bar(_limit_text(limit), limit["spent"] / limit["allowed"])
        for limit in verdict["limits"]
    )


def _figures(record: Record) -> str:
    verdict, latency = record.verdict, record.verdict["latency"]
    peak = cost(record.arch).peak_activation_bytes.fp32
    cards = [
        card(
            f"{verdict['top1_artefact']:.2f} %",
            f"top-1, artefact (checkpoint {verdict['top1_checkpoint']:.2f} %)",
        ),
        card(f"{verdict['top5_artefact']:.2f} %", "top-5, artefact"),
        card(f"{latency['p50_ms']:.3f} ms", f"latency, p50 (p90 {latency['p90_ms']:.3f} ms)"),
        card(describe("size_bytes", verdict["size_bytes"]), "the artefact's file"),
        card(describe("macs", verdict["macs"]), "MACs (FLOPs are twice that)"),
        card(describe("params", verdict["params"]), "parameters"),
        card(describe("memory_bytes", peak), "peak activations, fp32, by arithmetic"),
        card(f"{verdict['max_relative_error']:.1e}", "largest logit error of the artefact"),
    ]
    noisy = "; the machine was too noisy to be sure" if latency["noisy"] else ""
    conditions = (
        f"Accuracy on {verdict['images']:,} validation images that trained nothing. "
        f"Latency: {latency['runtime']} {latency['runtime_version']}, {latency['threads']} "
        f"thread(s), {latency['precision']}, batch {latency['batch']}, {latency['runs']:,} runs, "
        f"spread {100 * latency['spread']:.1f} %, on {latency['device']}{noisy}."
    )
    return section(
        "Figures", f'<div class="cards">{"".join(cards)}</div>', paragraph(conditions, soft=True)
    )


def _tradeoff(record: Record) -> str:
    chosen = record.chosen
    text = (
        f"{chosen['considered']:,} networks were priced, "
        f"{sum(one['latency'] is not None for one in record.candidates)} of them measured; "
        f"{chosen['binding_limit']} binds. The accuracy is what the papers' ImageNet results lead "
        "one to expect, the same for every user: it ranks the candidates and is not the accuracy "
        "on these images. The star is the network that was chosen, a dashed line the limit; "
        "outlined dots were measured on this machine, faint ones were not."
    )
    plot = plots.tradeoff(record.candidates, record.arch.full_name, record.budget)
    return section("Why this network", paragraph(text, soft=True), plot)


def _confusion(predictions: dict[str, Any]) -> str:
    classes, matrix = predictions["classes"], predictions["confusion"]
    if len(classes) <= _HEAT_MAP:
        rows = [
            [name, sum(row), f"{100 * row[at] / max(sum(row), 1):.1f} %"]
            for at, (name, row) in enumerate(zip(classes, matrix, strict=True))
        ]
        accuracy = table(["class", "images", "found"], rows)
        return section("What is taken for what", plots.confusion(classes, matrix), accuracy)
    pairs = [
        (count, classes[true], classes[said])
        for true, row in enumerate(matrix)
        for said, count in enumerate(row)
        if true != said and count
    ]
    pairs.sort(reverse=True)
    rows = [[true, said, count] for count, true, said in pairs[:40]]
    return section("What is taken for what", table(["is", "said", "images"], rows))


def _examples(predictions: dict[str, Any]) -> str:
    parts = []
    for key, text in (
        ("wrong", "Wrong, the surest first"),
        ("right", "Right, a random few"),
    ):
        figures = [picture(one["png"], one["name"], _caption(one)) for one in predictions[key]]
        if figures:
            parts += [paragraph(text), f'<div class="gallery">{"".join(figures)}</div>']
    return section("Examples from the validation images", *parts)


def _caption(one: dict[str, Any]) -> str:
    said = f"{one['predicted']} {100 * one['probability']:.0f} %"
    return said if one["predicted"] == one["label"] else f"{said}, is {one['label']}"


def _network(arch: Arch) -> str:
    costs = cost(arch)
    count = len(arch.rows)
    macs, params = [0] * count, [0] * count
    for layer in costs.layers[1:]:
        macs[layer.op.row] += layer.macs
        params[layer.op.row] += layer.params
    names = [f"{index} {type(row).__name__}" for index, row in enumerate(arch.rows)]
    rows = [
        [index, *_row_columns(arch, index), macs[index], params[index]] for index in range(count)
    ]
    header = ["#", "input", "operator", "exp", "out", "SE", "NL", "s", "MACs", "params"]
    return section(
        "The network, row by row", plots.layers(names, macs, params), table(header, rows)
    )


def _row_columns(arch: Arch, index: int) -> list[str]:
    """The paper's columns of one row: input, operator, exp, out, SE, NL, s."""
    row = arch.rows[index]
    first = next(layer.op for layer in cost(arch).layers if layer.op.row == index)
    kernel = getattr(row, "kernel", None)
    operator = type(row).__name__ + (f" {kernel}x{kernel}" if kernel else "")
    expand = str(row.expand) if isinstance(row, Bottleneck) else "-"
    squeeze = "yes" if getattr(row, "se", False) else "-"
    return [
        f"{first.in_size}x{first.in_size}x{first.in_channels}",
        operator,
        expand,
        str(getattr(row, "out", "-")),
        squeeze,
        getattr(row, "act", "-"),
        str(getattr(row, "stride", "-")),
    ]


def _data(images: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in images["counts"].items())
    skipped = images["skipped"]
    text = (
        f"{images['name']}: {len(images['classes'])} classes; {counts}; {len(skipped)} files "
        f"could not be read; seed {images['split']['seed']}."
    )
    rows = [[item["name"], item["reason"]] for item in skipped[:_SKIPPED_SHOWN]]
    more = len(skipped) - len(rows)
    parts = [table(["skipped", "why"], rows)] if rows else []
    parts += [paragraph(f"and {more:,} more")] if more else []
    return section("The images", paragraph(text), *parts)


def _use(record: Record) -> str:
    side = record.arch.resolution
    text = (
        f"The artefact takes float32 RGB in [0, 1], 1 x 3 x {side} x {side}, and gives one logit a "
        f"class; normalisation is inside. Resize the short side to {side} (bilinear, antialiased) "
        "and cut the centre. Labels, this rule and the architecture are in its metadata."
    )
    commands = "mobilenets predict model.onnx photo.jpg\nmobilenets eval model.onnx DATA"
    code = SNIPPET.replace("SIDE", str(side))
    return section(
        "Using model.onnx", paragraph(text), f"<pre>{commands}</pre>", f"<pre>{code}</pre>"
    )


def _provenance(record: Record) -> str:
    run = {**record.training["recipe"], "seed": record.training["seed"]}
    rows = [[name, _setting(value)] for name, value in _flat(run)]
    return section("How it was trained", table(["setting", "value"], rows))


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its full name, such as augment.scale."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_setting(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
