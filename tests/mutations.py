"""Files of our own that parse and say something else, by a seed: for tests, and by hand

    python -m tests.mutations 2000

which makes small runs, mutates their files and calls the verbs that read them."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import signal
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from mobilenets.cli.app import app
from mobilenets.errors import MobileNetsError
from mobilenets.measuring import latency
from mobilenets.measuring.latency import Latency
from mobilenets.nn import Checkpoint
from mobilenets.runtimes import Engine, get_runtime
from mobilenets.runtimes.artifact import export, precision_of
from mobilenets.runtimes.isolated import Job
from tests.three import three_digits

BUDGET = ["--macs", "300k"]
FAST = ["--trials", "1", "--epochs", "1"]
SHORT = ["--step", "0.2", "--screen", "1", "--kinds", "width", "--short-steps", "1",
         "--long-epochs", "1"]  # fmt: skip
# Words that stand for paths: the run whose file is mutated, that file, another run, a new folder.
VERBS: dict[str, tuple[str, list[str]]] = {
    "report": ("fit", ["report", "RUN"]),
    "eval": ("fit", ["eval", "FILE", "DATA"]),
    "predict": ("fit", ["predict", "FILE", "DATA/0/0.png"]),
    "latency": ("fit", ["latency", "FILE"]),
    "fit again": ("fit", ["fit", "DATA", *BUDGET, *FAST, "--out", "RUN"]),
    "adapt": ("fit", ["adapt", "RUN", "DATA", "--macs", "280k", *SHORT, "--out", "NEW"]),
    "quantize": ("fit", ["quantize", "RUN", "DATA", "--out", "NEW"]),
    "adapt again": ("adapt", ["adapt", "FIT", "DATA", "--macs", "280k", *SHORT, "--out", "RUN"]),
    "member": ("adapt", ["adapt", "RUN", "DATA", "--member", "0", "--long-epochs", "0"]),
    "tradeoff": ("adapt", ["tradeoff", "RUN", "--out", "RUN/page.html"]),
    "quantize again": ("quantize", ["quantize", "FIT", "DATA", "--out", "RUN"]),
    "train again": ("train", ["train", "mobilenet_v1", "DATA", "--width", "0.25",
                              "--resolution", "8", "--epochs", "1", "--out", "RUN"]),
}  # fmt: skip
# Of each verb, the files of the run that it reads.
READ = {
    "report": ["trained.safetensors", "images.json", "budget.json", "arch.json", "metrics.csv",
               "candidates.jsonl", "training.json", "verdict.json", "predictions.json"],
    "eval": ["trained.safetensors", "model.onnx"],
    "predict": ["trained.safetensors", "model.onnx"],
    "latency": ["model.onnx", "model.onnx"],
    "fit again": ["stages.json", "images.json", "arch.json", "training.json", "verdict.json",
                  "metrics.csv", "trained.safetensors", "latency.jsonl", "summary.json"],
    "adapt": ["trained.safetensors"],
    "quantize": ["trained.safetensors", "budget.json"],
    "adapt again": ["adapt.json", "steps.jsonl", "steps/001.safetensors", "verdict.json",
                    "stages.json"],
    "member": ["adapt.json", "steps.jsonl", "steps/000.safetensors"],
    "tradeoff": ["adapt.json", "steps.jsonl", "trained.safetensors", "metrics.csv"],
    "quantize again": ["stages.json", "schemes.json", "kept.json", "verdict.json"],
    "train again": ["stages.json", "score.json", "metrics.csv", "trained.safetensors"],
}  # fmt: skip
_VALUES = [
    None, 0, 1, -1, 3.5, 1e308, -1e308, 10**30, float("nan"), float("inf"), "", "x", "\udce9",
    True, False, [], {}, [1], [None], ["a"], {"a": 1}, "9" * 400, "deep",
]  # fmt: skip
# Written for "deep": as a value it could be neither copied nor written with little stack left.
_DEEP = "[" * 900 + "]" * 900
_TEXTS = ["null", "1", '"x"', "[]", "{}", "", "{", "[" * 100_000, "[1]", "1" * 5000, "[[[]]]"]
_CELLS = ["", "x", "nan", "inf", "-1", "1e400", '"', "a,b", "\0"]


def make_runs(folder: Path) -> None:
    """The runs of all verbs in `folder`, beside `three`, their images; nothing is measured, and
    what is converted is so in this process."""
    three_digits(folder)
    for name in ("fit", "adapt", "quantize", "train"):
        verb = name if name in ("adapt", "quantize") else f"{name} again"
        call(verb, folder, folder / name, folder / name)


def call(verb: str, folder: Path, run: Path, new: Path, file: str = "") -> None:
    """A verb of the command line, in this process."""
    places = {"RUN": run, "FILE": run / file, "DATA": folder / "three", "FIT": folder / "fit",
              "NEW": new}  # fmt: skip
    words = []
    for word in VERBS[verb][1]:
        first, slash, rest = word.partition("/")
        words.append(f"{places[first]}{slash}{rest}" if first in places else word)
    if verb in ("adapt", "quantize"):
        words[1] = str(run if run != new else folder / "fit")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        app(words, standalone_mode=False)


@contextlib.contextmanager
def no_children() -> Iterator[None]:
    """Files are loaded and run as in measuring, and converted, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("deliver.verdict", "commands.quantize", "measuring.target", "choosing.choice"):
            patch.setattr(f"mobilenets.{name}.measure", _measured, raising=False)
        for name in ("commands.fit", "commands.adapt_member", "quantize.precisions",
                     "measuring.target"):  # fmt: skip
            patch.setattr(f"mobilenets.{name}.export_isolated", _exported)
        patch.setattr(
            "mobilenets.runtimes.isolated.Exporter.export", lambda _, *job: _exported(*job)
        )
        yield


def _measured(paths: Sequence[Path], *, runtime: Any = None, **_: Any) -> list[Latency]:
    found = []
    for path, engine in zip(paths, latency.engines_of(list(paths), runtime), strict=True):
        session = get_runtime(engine.runtime).load(Path(path), 1)
        session.run(np.zeros(session.input_shape, np.float32))
        precision = precision_of(session.metadata)
        found.append(Latency((1.0,) * 60, 1, engine.runtime, "1", 1, precision, 1, "a device"))
    return found


def _exported(jobs: Sequence[Job], runtime: str | Engine) -> None:
    for network, path in jobs:
        made = Checkpoint.load(network) if isinstance(network, Path) else Checkpoint.fresh(network)
        export(made, Engine.parse(runtime).runtime, path)


def mutate_file(path: Path, rng: random.Random) -> str:
    """Change something in the file; what, in a few words."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        size = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + size])
        text, said = _mutated(header["__metadata__"]["mobilenets"], rng)
        header["__metadata__"]["mobilenets"] = text
        head = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(head)) + head + content[8 + size :])
    elif path.suffix == ".onnx":
        model = onnx.load(path)
        model.metadata_props[0].value, said = _mutated(model.metadata_props[0].value, rng)
        onnx.save(model, path)
    elif path.suffix == ".csv":
        lines = content.decode().splitlines()
        at = rng.randrange(len(lines))
        cells = lines[at].split(",")
        cells[rng.randrange(len(cells))] = said = rng.choice(_CELLS)
        lines[at] = ",".join(cells)
        path.write_text("\n".join(lines[: rng.randint(1, 9)]))
    else:
        lines = content.decode().splitlines() if path.suffix == ".jsonl" else [content.decode()]
        at = rng.randrange(len(lines))
        lines[at], said = _mutated(lines[at], rng)
        path.write_text("\n".join(lines))
    return said


def _mutated(text: str, rng: random.Random) -> tuple[str, str]:
    """JSON with one place changed, or something else."""
    if rng.random() < 0.2:
        other = rng.choice(_TEXTS)
        return other, other[:9]
    value = json.loads(text)
    deepest = rng.choice([1, 2, 9])
    places = [place for place in _places(value) if 0 < len(place) <= deepest]
    if not places:
        return _written(rng.choice(_VALUES)), "whole"
    *above, last = rng.choice(places)
    at = value
    for key in above:
        at = at[key]
    before = at[last]
    if rng.random() < 0.2:
        del at[last]
        return _written(value), f"without {above} {last}"
    at[last] = _changed(before, rng)
    return _written(value), f"{above} {last}: {str(at[last])[:40]}"


def _written(value: Any) -> str:
    return json.dumps(value).replace('"deep"', _DEEP)


def _changed(before: Any, rng: random.Random) -> Any:
    if type(before) in (int, float) and rng.random() < 0.5:
        return rng.choice([before + 1, before * 10**9 or 7, -before])
    if isinstance(before, list) and rng.random() < 0.5:
        return [*before, rng.choice(_VALUES)]
    return rng.choice(_VALUES)


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:3])
        if isinstance(value, list)
        else ()
    )
    for key, part in parts:
        yield from _places(part, (*above, key))


def trial(folder: Path, verb: str, seed: int) -> str:
    """ "works", "sentence", or what else came of a mutation, with all that says where."""
    rng = random.Random(f"{verb} {seed}")
    file = rng.choice(READ[verb])
    with tempfile.TemporaryDirectory() as name:
        run = Path(name, "run")
        shutil.copytree(folder / VERBS[verb][0], run)
        said = mutate_file(run / file, rng)
        try:
            call(verb, folder, run, Path(name, "new"), file)
        except MobileNetsError as error:
            return "sentence" if "\n" not in str(error) else f"{verb}, {file}, {said}: {error}"
        except Exception as error:
            if type(error).__name__ == "Exit":
                return "works"
            frames = traceback.extract_tb(error.__traceback__)
            where = [one for one in frames if "mobilenets/" in one.filename][-1]
            return (
                f"{verb} {seed}, {file}, {said}: {type(error).__name__} {str(error)[:80]!r} at "
                f"{where.filename}:{where.lineno}"
            )
    return "works"


def trials(
    folder: Path, verb: str, seeds: range, *, done: Callable[[str], object] = print
) -> Counter[str]:
    """How they ended."""
    ends: Counter[str] = Counter()
    for seed in seeds:
        end = trial(folder, verb, seed)
        ends[end if end in ("works", "sentence") else "traceback"] += 1
        if end not in ("works", "sentence"):
            done(end)
    return ends


def main(count: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, no_children():
        make_runs(Path(name))
        each, ends = count // len(VERBS), Counter[str]()
        for verb in VERBS:
            signal.alarm(max(600, 5 * each))  # a verb that hangs
            found = trials(Path(name), verb, range(each))
            print(verb, dict(found), flush=True)
            ends += found
        print(dict(ends))


if __name__ == "__main__":
    main(int(sys.argv[1]))
