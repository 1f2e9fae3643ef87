"""`report`: a finished run folder -> one self-contained page, and a model card."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mobilenets.archs import Cost, cost, digest
from mobilenets.archs.budget import describe
from mobilenets.deliver import plots
from mobilenets.deliver.architecture import architecture_section, costs_section
from mobilenets.deliver.html_page import (
    badge,
    card,
    code,
    details,
    heading,
    limit_bar,
    page,
    paragraph,
    section,
    steps,
    subtitle,
    table,
)
from mobilenets.deliver.judged import not_yet_measured
from mobilenets.deliver.model_card import card as model_card
from mobilenets.deliver.model_card import (
    conditions,
    describe_network,
    or_else,
    outcome,
)
from mobilenets.deliver.next_steps import Step, next_steps
from mobilenets.deliver.record import Record, read_run
from mobilenets.deliver.summary import limit_text
from mobilenets.deliver.usage import commands, contract, snippet
from mobilenets.files import write_text
from mobilenets.measuring.device import device_in, place
from mobilenets.runs.layout import CARD, REPORT
from mobilenets.runtimes import RUNTIMES, Engine
from mobilenets.tasks import Task, figure
from mobilenets.text import counted

_SKIPPED_SHOWN = 50
_PACKAGES = ("mobilenets", "torch", "torchvision", "lightning")


def report(folder: str | Path) -> Path:
    """The path of report.html, written anew with README.md from the run in `folder`.

    Raises `FileError` where a file of the run is missing or broken.
    """
    folder = Path(folder)
    record = read_run(folder)
    title = f"{record.images['name']}: {record.arch.full_name}"
    text = page(title, _body(record, next_steps(record, folder)))
    write_text(folder / CARD, model_card(record))
    write_text(folder / REPORT, text)
    return folder / REPORT


def _body(record: Record, following: Sequence[Step]) -> list[str]:
    costs = cost(record.arch)
    return [
        heading(record.images["name"], f"{record.arch.full_name}: {describe_network(record)}"),
        paragraph(outcome(record).replace(" %", "\N{NO-BREAK SPACE}%"), kind="lead"),
        _verdict(record),
        *_next(following),
        _figures(record, costs),
        _tradeoff(record),
        *_trials(record),
        _training(record),
        *record.presenter.sections(record.verdict, record.predictions),
        costs_section(record.arch, costs),
        architecture_section(record.arch, costs),
        _data(record.images, record.task),
        _use(record),
        _provenance(record),
    ]


def _verdict(record: Record) -> str:
    verdict, images = record.verdict, record.verdict["images"]
    verified = badge(
        verdict["verified"],
        "Verified",
        "Not verified",
        f"{record.artifact} and the trained network agree on {verdict['agreement']:.4g} % of "
        f"{record.presenter.agreed_on}{images:,} validation images. Largest relative difference "
        f"of outputs: {verdict['max_relative_error']:.1e}",
    )
    limits = "; ".join(limit_text(limit) for limit in verdict["limits"]) or "no limit was set"
    missed = "Budget undecided" if verdict.get("undecided") else "Misses the budget"
    if not_yet_measured(verdict):
        missed = "Not yet measured"
    budget = badge(verdict["within_budget"], "Within budget", missed, limits)
    told = [*filter(None, [verdict.get("unclear")]), *verdict["complaints"]]
    complaints = [paragraph(f"{one}.", kind="complaint") for one in told]
    bars = [
        limit_bar(limit_text(limit), limit["spent"] / limit["allowed"])
        for limit in verdict["limits"]
    ]
    return f'<div class="verdict">{verified}{budget}</div>{"".join(complaints + bars)}'


def _next(following: Sequence[Step]) -> list[str]:
    """What to try next, where anything follows from the run."""
    if not following:
        return []
    note = _note("DATA is the folder of your images.")
    return [section("What to try next", note, steps(following))]


def _figures(record: Record, costs: Cost) -> str:
    verdict, latency = record.verdict, record.verdict["latency"]
    title, ours = figure(verdict, "_artifact")
    size, peak = verdict["size_bytes"], costs.peak_activation_bytes.fp32
    cards = [
        card(ours, f"{title} of {record.artifact}"),
        card(figure(verdict, "_checkpoint")[1], f"{title} of the trained network"),
        *_latency_cards(latency),
        card(describe("size_bytes", size), " and ".join(record.sha256)),
        card(describe("macs", verdict["macs"]), "MACs (FLOPs are twice that)"),
        card(describe("params", verdict["params"]), "parameters"),
        card(describe("memory_bytes", peak), "peak activations, fp32, computed"),
    ]
    text = record.presenter.how_sure(verdict, record.artifact) + conditions(verdict)
    return section("Figures", f'<div class="cards">{"".join(cards)}</div>', _note(text))


def _latency_cards(latency: dict[str, Any]) -> list[str]:
    p50, p90 = (f"{latency[key]:.3f} ms" for key in ("p50_ms", "p90_ms"))
    if "predicted" in latency:
        return [card(p50, f"latency predicted for {latency['predicted']}")]
    return [card(p50, "latency, p50"), card(p90, "latency, p90")]


def _note(text: str) -> str:
    return paragraph(text, kind="note")


def _tradeoff(record: Record) -> str:
    measured = [one for one in record.candidates if one["latency"]]
    counts = Counter(one["runtime"] for one in measured)
    where = ", ".join(f"{count} in {runtime}" for runtime, count in counts.items()) or "none"
    by_latency = plots.priced_by(record.budget) == "latency_ms"
    device = place(device_in(record.verdict))
    drawn = "dashed line: the limit; " if record.budget.limits() else ""
    text = (
        f"The cost of {counted(record.chosen['considered'], 'network')} was computed; the latency "
        f"of {where} was measured on {device}. Limit that decides: "
        f"{record.chosen['binding_limit'] or 'none'}. The expected accuracy is a prior from the "
        "papers' ImageNet results. It ranks the candidates; it is not the accuracy on your images."
    )
    if any(Engine.parse(one).is_int8 for one in counts):
        text += " For int8 the loss published for the family is subtracted."
    how = f"Star: chosen; {drawn}solid marks: latency measured; faint dots: "
    how += "latency predicted." if by_latency else "not measured."
    chosen = record.arch.full_name, str(record.engine)
    plot = plots.tradeoff(record.candidates, chosen, record.budget)
    listed = details(f"Measured candidates ({len(measured)})", _measured(measured))
    return section("Why this network", _note(text), plot, _note(how), listed)


def _measured(candidates: list[dict[str, Any]]) -> str:
    """The measured candidates, the best expected first, the faster first among equals."""
    rows = [
        (one["full_name"], one["runtime"], one["latency"]["p50_ms"], one["expected_imagenet_top1"])
        for one in candidates
    ]
    rows.sort(key=lambda row: (-row[3], row[2]))
    header = ["network", "runtime", "p50 in ms", "expected top-1, %"]
    return table(header, [[*row[:2], round(row[2], 3), row[3]] for row in rows], tight=True)


def _trials(record: Record) -> list[str]:
    """The trials of several candidates, where they chose the network."""
    trials = record.chosen.get("trials", [])
    if not trials:
        return []
    text = (
        "The expected accuracy is ImageNet's, so candidates were tried on these images. All trials "
        "of a round train for the same time. The half with the lowest loss on the held-out images "
        "(a part of the training images) trains anew and longer in the next round. "
        f"{record.arch.full_name} won."
    )
    if len(trials) == 1:
        text = (
            "The candidate with the best expected accuracy was tried first, to see whether the "
            "minutes suffice for it. They do, so no cheaper one was tried."
        )
    title = f"held-out {record.task.title}, %"
    header = ["round", "network", "held-out loss", title, "epochs", "seconds"]
    rows = [
        [
            one["round"], one["name"], Decimal(f"{one['loss']:.3f}"),
            Decimal(f"{one['score']:.2f}"), one["epochs"], round(one["seconds"]),
        ]
        for one in trials
    ]  # fmt: skip
    return [section("Successive halving", _note(text), table(header, rows, tight=True))]


def _training(record: Record) -> str:
    """Losses and metric by epoch, and which epoch was kept."""
    kept = min(record.metrics, key=lambda row: row["holdout_loss"], default=None)
    minutes = sum(row["seconds"] for row in record.metrics) / 60
    which = f" Epoch {kept['epoch'] + 1:.0f} (dotted) had the lowest and was kept." if kept else ""
    text = (
        f"{_epochs(record)} in {minutes:.3g} minutes, from {record.start or 'random weights'}. The "
        "held-out images are a part of the training images; the loss on them chooses the epoch."
        f"{which} The training loss is of augmented images and smoothed labels, so it may be "
        "higher."
    )
    plot = plots.training(record.metrics, record.task)
    epochs = details(f"Every epoch ({len(record.metrics)})", _by_epoch(record))
    return section("Training", _note(text), plot, epochs)


def _by_epoch(record: Record) -> str:
    column = f"holdout_{record.task.metric}"
    header = [
        "epoch",
        "training loss",
        "held-out loss",
        f"held-out {record.task.title}, %",
        "seconds",
    ]
    rows = [
        [
            int(row["epoch"]) + 1, Decimal(f"{row['train_loss']:.3f}"),
            Decimal(f"{row['holdout_loss']:.3f}"), Decimal(f"{row[column]:.2f}"),
            Decimal(f"{row['seconds']:.1f}"),
        ]
        for row in record.metrics
    ]  # fmt: skip
    return table(header, rows, tight=True)


def _epochs(record: Record) -> str:
    """How many were trained, and of how many where the minutes were limited."""
    recipe, trained = record.training["recipe"], record.epochs
    cut = recipe.get("minutes") is not None and trained < recipe.get("epochs", 0)
    return f"{trained:g} of the recipe's {recipe['epochs']} epochs" if cut else _whole(trained)


def _whole(epochs: float) -> str:
    """2 epochs, 0.35 epochs."""
    return counted(int(epochs) if epochs == int(epochs) else epochs, "epoch")


def _data(images: dict[str, Any], task: Task) -> str:
    counts, skipped = images["counts"], images["skipped"]
    text = (
        f"{len(images['classes']):,} {task.kinds}; {sum(counts.values()):,} images used, "
        f"{len(skipped):,} skipped because they cannot be read; {images['ignored']:,} other files. "
        f"{_split(images['split'])}"
    )
    per_class = [
        [name, *(images["class_counts"][split][name] for split in counts)]
        for name in images["classes"]
    ]
    header = [task.kind, *counts]
    parts = [_note(text), table(["", *counts], [["all", *counts.values()]])]
    parts.append(details(f"Images of each {task.kind}", table(header, per_class)))
    if skipped:
        rows = [[item["name"], item["reason"]] for item in skipped[:_SKIPPED_SHOWN]]
        parts += [subtitle("Skipped"), table(["file", "reason"], rows)]
    if len(skipped) > _SKIPPED_SHOWN:
        parts.append(_note(f"and {len(skipped) - _SKIPPED_SHOWN:,} more"))
    return section("Images", *parts)


def _split(split: dict[str, Any]) -> str:
    """Where the parts come from, in a sentence."""
    cut = split.get("val_fraction")
    val = "as given" if cut is None else f"{100 * cut:g} % of each class"
    holdout = f"{100 * split['holdout_fraction']:g} % of each class of the rest"
    return (
        f"Split: validation {val}, held out {holdout}, test {split['test']}; seed {split['seed']}."
    )


def _use(record: Record) -> str:
    return section(
        f"Using {record.artifact}",
        paragraph(contract(record.arch, record.preprocess, record.runtime)),
        code(commands(record.runtime)),
        paragraph(or_else(record.runtime).capitalize()),
        code(
            snippet(record.preprocess, record.runtime, record.presenter, list(record.arch.outputs))
        ),
    )


def _provenance(record: Record) -> str:
    latency = record.verdict["latency"]
    run = {
        **{f"SHA-256 of {name}": sha256 for name, sha256 in record.sha256.items()},
        "architecture": digest(record.arch),
        "images": record.images["fingerprint"],
        "seed": str(record.training["seed"]),
        "device": latency["device"],
        "runtime": f"{latency['runtime']} {latency['runtime_version']}",
    }
    versions = {"Python": platform.python_version()}
    versions |= {package: version(package) for package in _PACKAGES}
    known = RUNTIMES[record.runtime]
    versions |= {} if known.missing else {known.distribution: known.version()}
    recipe = [[name, _setting(value)] for name, value in _flat(record.training["recipe"])]
    return section(
        "Provenance",
        table(["run", ""], _rows(run)),
        details("Recipe", table(["setting", "value"], recipe)),
        details(
            "Package versions when this page was written",
            table(["package", "version"], _rows(versions)),
        ),
    )


def _rows(mapping: dict[str, str]) -> list[list[str]]:
    return [[name, value] for name, value in mapping.items()]


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
