"""What to try next, by the evidence of one run: the command, and what it costs or gains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, floor, log10
from pathlib import Path
from shlex import join, quote
from typing import Any, NamedTuple

from mobilenets.archs import Budget, cost
from mobilenets.archs.budget import LIMIT_NAMES, describe
from mobilenets.archs.published import INT8_LOSS
from mobilenets.choosing.candidate import file_bytes
from mobilenets.choosing.choice import HEADROOM
from mobilenets.data import BUILT_IN
from mobilenets.deliver.advice import few_for_random_weights, uneven
from mobilenets.deliver.judged import not_yet_measured
from mobilenets.deliver.plots import price_of, priced_by
from mobilenets.deliver.record import Record
from mobilenets.measuring.device import device_in, option
from mobilenets.runtimes import RUNTIMES, Engine
from mobilenets.text import counted

_SHOWN = 3
_LENGTHS = {"--epochs", "--minutes"}
# A class is weak so many points below the metric; a larger network is worth so many on ImageNet.
_WEAK, _WORTH = 5.0, 1.0
# NetAdapt keeps most of the accuracy down to such a part of the latency (p50 over the limit).
_ADAPTABLE = 2.0


class Step(NamedTuple):
    """What to try and why, in a sentence or two, and the command for it."""

    what: str
    command: str


def next_steps(record: Record, folder: Path) -> list[Step]:
    """The most promising first, at most three; `folder` is the run's."""
    words = _Words(record, folder)
    found = (
        *_mend(record, words), *_weights(record, words), *_longer(record, words),
        *_weakest(record, words), *_larger(record, words), *_int8(record, words),
    )  # fmt: skip
    return list(found[:_SHOWN])


class _Words(NamedTuple):
    """The commands of this run."""

    record: Record
    folder: Path

    @property
    def data(self) -> str:
        name = self.record.images["name"]
        return name if name in BUILT_IN else "DATA"

    def fit(self, more: str = "", *, budget: Budget | None = None, here: bool = False) -> str:
        """The run's `fit` with other options: in the run's own folder where it is to go on, which
        takes the same options as before only."""
        limits = (budget or self.record.budget).limits()
        options = [f"--{LIMIT_NAMES[name]} {_typed(name, value)}" for name, value in limits.items()]
        out = [f"--out {quote(str(self.folder))}"] if here else []
        before = self._options_but(more)
        return " ".join(filter(None, ["mobilenets fit", self.data, *options, *before, more, *out]))

    def _options_but(self, more: str) -> list[str]:
        """The run's other options, without those that `more` replaces."""
        replaced = {word for word in more.split() if word.startswith("--")}
        if replaced & _LENGTHS:
            replaced |= _LENGTHS
        typed = self.record.typed
        runtime = str(self.record.engine)
        if not typed and runtime != "onnxruntime":
            typed = [["--runtime", runtime]]
        return [join(words) for words in typed if not {*words} & replaced]

    def of_run(self, verb: str, more: str = "") -> str:
        words = [f"mobilenets {verb} {self.folder} {self.data}", more]
        return " ".join(filter(None, words)) + self.device

    @property
    def device(self) -> str:
        return option(device_in(self.record.verdict))


def _typed(limit: str, value: float) -> str:
    """A limit as an option takes it: 0.3ms, 2.5M."""
    return describe(limit, value).replace(" ", "")


def _mend(record: Record, words: _Words) -> Iterator[Step]:
    """What is wrong with the artifact comes first."""
    verdict, limit = record.verdict, record.budget.latency_ms
    latency = verdict["latency"]["p50_ms"]
    if not verdict["verified"]:
        yield Step(
            "The exported file does not match the trained network: export and verify it again, "
            "or for another runtime.",
            words.of_run("export", "--runtime auto"),
        )
    if not_yet_measured(verdict):
        yield Step(
            f"Measure it on {verdict['latency']['predicted']}: copy the run's kit there, run "
            "sh run.sh, and give its results to this command.",
            f"mobilenets verify {words.folder} --results results.json",
        )
    elif verdict.get("undecided"):
        yield Step(
            "The latency limit is undecided: repeat the command of this run when the machine is "
            "quiet. It measures again; nothing is trained again.",
            words.fit(here=True),
        )
    elif limit is not None and latency > limit:
        if latency <= _ADAPTABLE * limit and record.task.adapts:
            yield Step(
                f"Prune this network to the limit by NetAdapt: {_less(latency, limit)} of its "
                "latency has to go. It trains in every step: often longer than this run.",
                words.of_run("adapt", f"--latency {_typed('latency_ms', limit)}"),
            )
        yield Step(
            f"Raise the limit to {describe('latency_ms', _room(latency))}: this network meets it.",
            words.fit(budget=replace(record.budget, latency_ms=_room(latency))),
        )


def _less(spent: float, allowed: float) -> str:
    return f"{100 * (1 - allowed / spent):.0f} %"


def _weights(record: Record, words: _Words) -> Iterator[Step]:
    """Published weights, and weights of classes, for what learned little."""
    facts = _facts(record)
    fewest, most = facts["class_images"]
    if few_for_random_weights(facts):
        yield Step(
            f"Fine-tune from published weights: {counted(fewest, 'training image')} of a class are "
            "few for random weights. pip install 'mobilenets[imagenet]' has some.",
            words.fit("--weights auto"),
        )
    if uneven(facts):
        yield Step(
            f"Weight the classes equally: they have {fewest:,} to {most:,} training images. Recall "
            "of the rare ones rises, top-1 may fall.",
            words.fit("--class-weights balanced"),
        )


def _facts(record: Record) -> dict[str, Any]:
    """What `advice` reads, of a run's record."""
    counts = record.images["class_counts"].get("train", {}).values()
    return record.verdict | {
        "start": record.start,
        "class_images": [min(counts, default=0), max(counts, default=0)],
        "native_size": record.images.get("native_size", 0),
        "class_weights": record.training["recipe"].get("class_weights", "none"),
    }


def _longer(record: Record, words: _Words) -> Iterator[Step]:
    """More minutes where they cut the training short, more epochs where the last was the best."""
    rows, recipe = record.metrics, record.training["recipe"]
    minutes = sum(row["seconds"] for row in rows) / 60
    whole, limited = recipe.get("epochs", 0), recipe.get("minutes")
    if limited is not None and record.epochs < whole:
        needed = ceil(limited + minutes * (whole / max(record.epochs, 0.01) - 1))
        yield Step(
            f"Train longer: {record.epochs:g} of the recipe's {whole} epochs fitted in "
            f"{limited:g} minutes; all of them take about {counted(needed, 'minute')}.",
            words.fit(f"--minutes {needed}", here=True),
        )
    elif len(rows) > 1 and min(rows, key=lambda row: row["holdout_loss"]) is rows[-1]:
        yield Step(
            f"Train longer: the held-out loss still fell in the last epoch. {2 * len(rows)} epochs "
            f"take about {_minutes(2 * minutes)}.",
            words.fit(f"--epochs {2 * len(rows)}", here=True),
        )


def _minutes(minutes: float) -> str:
    return counted(ceil(minutes), "minute") if minutes > 1 else "a minute"


def _weakest(record: Record, words: _Words) -> Iterator[Step]:
    """More images of the weakest label, where it is weak."""
    found = record.presenter.weakest(record.verdict)
    if found is None or found[1] > found[2] - _WEAK or words.data in BUILT_IN:
        return
    label, percent, mean = found
    count = record.images["class_counts"].get("train", {}).get(label)
    if count is not None:
        yield Step(
            f"Add images of {label!r}, then train anew. It has {percent:.3g} % (mean of all: "
            f"{mean:.3g} %) and {counted(count, 'training image')}.",
            words.fit(),
        )


def _larger(record: Record, words: _Words) -> Iterator[Step]:
    """The cheapest candidate that is expected to be better by a point, and its limit."""
    limit = priced_by(record.budget)
    if limit not in record.budget.limits():
        return
    found = _next_candidate(record, limit)
    if found is None:
        return
    candidate, price, gain = found
    spent = _spent(record, limit)
    how = "" if limit != "latency_ms" or candidate["latency"] else ", predicted"
    costs = (
        f"{LIMIT_NAMES[limit]} {describe(limit, price)} instead of {describe(limit, spent)}{how}"
    )
    raised = _room(price) if limit == "latency_ms" else _rounded_up(price)
    yield Step(
        f"Choose a larger network, {candidate['full_name']}: {costs}. Its expected top-1 on "
        f"ImageNet is {gain:.1f} points higher; the gain on your images is known after training.",
        words.fit(budget=replace(record.budget, **{limit: raised})),
    )


def _spent(record: Record, limit: str) -> float:
    """What the network spends on a limit of the run, by the verdict."""
    name = LIMIT_NAMES[limit]
    return next(float(one["spent"]) for one in record.verdict["limits"] if one["limit"] == name)


def _next_candidate(record: Record, limit: str) -> tuple[dict[str, Any], float, float] | None:
    """It, its price by `limit`, and the expected gain; all other limits are met."""
    ours = _expected(record)
    if ours is None:
        return None
    others = {name: most for name, most in record.budget.limits().items() if name != limit}
    better = [
        (price, one)
        for one in record.candidates
        if one["runtime"] == str(record.engine)
        and one["expected_imagenet_top1"] >= ours + _WORTH
        and (price := price_of(one, limit)) is not None
        and price > record.budget.limits()[limit]
        and all((price_of(one, name) or 0) <= most for name, most in others.items())
    ]
    price, one = min(better, key=lambda pair: pair[0], default=(0, None))
    return None if one is None else (one, price, one["expected_imagenet_top1"] - ours)


def _expected(record: Record) -> float | None:
    """The run's own network's; None where it was none of the candidates."""
    names = record.arch.full_name, str(record.engine)
    for one in record.candidates:
        if (one["full_name"], one["runtime"]) == names:
            return float(one["expected_imagenet_top1"])
    return None


def _room(latency_ms: float) -> float:
    """A limit that leaves the choice its headroom."""
    return _rounded_up(latency_ms / (1 - HEADROOM))


def _rounded_up(value: float) -> float:
    """To two digits."""
    unit = 10.0 ** (floor(log10(value)) - 1)
    return round(ceil(value / unit) * unit, 9)


def _int8(record: Record, words: _Words) -> Iterator[Step]:
    engine = record.engine
    if engine.is_int8 or "int8" not in RUNTIMES[engine.runtime].precisions:
        return
    if not record.arch.classifies:
        return
    size = describe("size_bytes", file_bytes(cost(record.arch), Engine(engine.runtime, "int8")))
    lost = INT8_LOSS.get(record.arch.name)
    costs = f" On ImageNet it costs {lost:g} points of top-1." if lost is not None else ""
    options = "" if engine.runtime == "onnxruntime" else f"--runtime {engine.runtime}"
    yield Step(
        f"Quantize it to int8: a file of about {size} instead of "
        f"{describe('size_bytes', record.verdict['size_bytes'])}, and often faster.{costs} The "
        "command measures both and keeps the better.",
        words.of_run("quantize", options),
    )
