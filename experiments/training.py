"""The accuracies in docs/howto/{small-data,train}.md and docs/explanation/choice.md, again.

    python experiments/training.py best families --out runs/experiments
    python experiments/training.py transfer distill surgery sizes --out runs/experiments

- best: one network of at most 1.0 M parameters, for `--best-minutes`.
- families: V1, V2, V3-Large and V3-Small at two widths, each for `--minutes`.
- transfer: a network trained on 8 classes, fine-tuned on the other two with 20 images each, against
  the same network from scratch for as many epochs.
- distill: a wide teacher's student of width 0.25 against the student alone, equal epochs; the
  teacher is trained first, or a checkpoint of yours (`--teacher`).
- surgery: part of the teacher's channels (`--narrow`), trained on, against a random start, equal
  epochs; the teacher as in distill.
- sizes: resolutions and first strides, each for `--minutes`.

Every training has a core and a thread to itself; `--jobs` of them go on side by side. What chooses
(the epoch) sees a tenth of the training images; `top1` is of the 10,000 test images (of the two
classes' 2,000 in transfer). A JSON line a training in OUT/EXPERIMENT.jsonl, means and ranges on
stdout. Killed and started again, it goes on.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image
from side_by_side import side_by_side

from mobilenets.commands.train import Training, train_named
from mobilenets.data import Images, load_images
from mobilenets.files import write_text
from mobilenets.measuring.machine import device_name
from mobilenets.processes.child import usable_cores
from mobilenets.train import Limits

DATA = "fashion-mnist"
FAMILIES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
WIDTHS = (0.25, 0.5)
SIZES = ("28", "28_os16", "28_os8", "32_os8", "64_os16", "96")
# Two pairs of classes that look alike: the eight others must teach what tells them apart.
PAIRS = (("Coat", "Shirt"), ("Ankle-boot", "Sneaker"))
EACH, FEW_EPOCHS, FEW_SEEDS = 20, 60, range(5)


@dataclass(frozen=True)
class Plan:
    """Where, how many side by side, how long, how often."""

    out: Path
    jobs: int
    seeds: tuple[int, ...]
    minutes: float
    size: str
    best: str
    best_minutes: float
    epochs: int
    teacher: Path | None
    narrow: str


@dataclass(frozen=True)
class Trial:
    """One training; those of one `method` differ by their seed only."""

    method: str
    training: Training

    def __call__(self) -> dict[str, Any]:
        found = train_named(self.training)
        return {"method": self.method, "seed": self.training.seed, **found, "device": device_name()}


# Each phase needs what the phases before it left in the folder.
Phases = Iterator[list[Trial]]


def _trial(folder: Path, method: str, name: str, seed: int, limits: Limits, **more: Any) -> Trial:
    """`more`: what else `Training` takes."""
    out = folder / f"{method.replace(' ', '_')}-{seed}"
    data = more.pop("data", DATA)
    return Trial(method, Training(name, data, limits=limits, seed=seed, out=out, **more))


def best(plan: Plan, folder: Path) -> Phases:
    """One network, for long."""
    yield [_trial(folder, plan.best, plan.best, 0, Limits(minutes=plan.best_minutes))]


def families(plan: Plan, folder: Path) -> Phases:
    """The papers' networks at equal time."""
    names = [f"{family}_{width}_{plan.size}" for family in FAMILIES for width in WIDTHS]
    yield _each(plan, folder, names)


def sizes(plan: Plan, folder: Path) -> Phases:
    """One network, looked at in several sizes."""
    yield _each(plan, folder, [f"mobilenet_v2_0.5_{size}" for size in SIZES])


def _each(plan: Plan, folder: Path, names: list[str]) -> list[Trial]:
    limits = Limits(minutes=plan.minutes)
    return [_trial(folder, name, name, seed, limits) for seed in plan.seeds for name in names]


def transfer(plan: Plan, folder: Path) -> Phases:
    """Classes that are new, few images each."""
    images = load_images(DATA)
    write_images(images, folder)
    name, few = _v2(0.5), Limits(epochs=FEW_EPOCHS)
    eights, twos = [], []
    for pair in PAIRS:
        words = " and ".join(pair)
        others = tuple(one for one in images.task.labels if one not in pair)
        data = write_list(images, folder / f"without {words}.csv", others)
        eight = _trial(folder, f"without {words}", name, 0, Limits(epochs=plan.epochs), data=data)
        eights.append(eight)
        for seed in FEW_SEEDS:
            data = write_list(images, folder / f"{words} {seed}.csv", pair, each=EACH, seed=seed)
            trial = partial(_trial, folder, name=name, seed=seed, limits=few, data=data)
            start = str(_trained(eight))
            twos.append(trial(f"{words} from_scratch"))
            for recipe in ("fine_tune", "few_images"):
                twos.append(trial(f"{words} {recipe}", recipe=recipe, weights=start))
    yield eights
    yield twos


def distill(plan: Plan, folder: Path) -> Phases:
    """Small students, taught and alone."""
    teacher, first = _teacher(plan)
    yield first
    trial = partial(_trial, folder, name=_v2(0.25), limits=Limits(epochs=plan.epochs))
    yield [
        one
        for seed in plan.seeds
        for one in (trial("alone", seed=seed), trial("taught", seed=seed, teacher=teacher))
    ]


def surgery(plan: Plan, folder: Path) -> Phases:
    """Channels of a wider network against a random start."""
    teacher, first = _teacher(plan)
    yield first
    trial = partial(_trial, folder, name=plan.narrow, limits=Limits(epochs=plan.epochs))
    yield [
        one
        for seed in plan.seeds
        for one in (
            trial("random", seed=seed),
            trial("cut, fine_tune", seed=seed, weights=str(teacher)),
            trial("cut", seed=seed, weights=str(teacher), recipe="small_images"),
        )
    ]


def _teacher(plan: Plan) -> tuple[Path, list[Trial]]:
    """The teacher's checkpoint, and what must be trained first for it."""
    if plan.teacher is not None:
        return plan.teacher, []
    folder, limits = plan.out / "teacher", Limits(epochs=plan.epochs)
    trial = _trial(folder, "teacher", _v2(1.0), 0, limits)
    return _trained(trial), [trial]


def _trained(trial: Trial) -> Path:
    return trial.training.folder / "trained.safetensors"


def _v2(width: float) -> str:
    return f"mobilenet_v2_{width}_28_os16"


def write_images(images: Images, folder: Path) -> None:
    """A PNG for each, unless that was done."""
    if (folder / "written").exists():
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for index in range(len(images.targets)):
        pixels = images.source.read(index).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / "images" / f"{index:05}.png")
    write_text(folder / "written", "")


def write_list(
    images: Images, path: Path, classes: tuple[str, ...], *, each: int | None = None, seed: int = 0
) -> Path:
    """A table of the images of these classes: all test images, of the others `each` a class."""
    rng, rows = np.random.default_rng(seed), io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["path", "label", "split"])
    parts = {"train": np.concatenate([images.train, images.holdout]), "val": images.val}
    for split, part in parts.items():
        for name in classes:
            those = part[images.targets.values[part] == images.task.labels.index(name)]
            some = rng.permutation(those)[: each if split == "train" else None]
            writer.writerows((f"images/{at:05}.png", name, split) for at in np.sort(some))
    write_text(path, rows.getvalue())
    return path


EXPERIMENTS: dict[str, Callable[[Plan, Path], Phases]] = {
    one.__name__: one for one in (best, families, transfer, distill, surgery, sizes)
}


def main() -> None:
    """Run what is left of the experiments that are named."""
    names, plan = _arguments()
    for name in names:
        done: list[dict[str, Any]] = []
        for trials in EXPERIMENTS[name](plan, plan.out / name):
            for record in side_by_side(trials, plan.jobs):
                done.append(record)
                print(f"{name} {record['method']} {record['seed']}: {record['top1']}", flush=True)
                _write(plan.out / f"{name}.jsonl", done)
        print(_summary(name, done), flush=True)


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    ordered = sorted(records, key=lambda one: (one["method"], one["seed"]))
    write_text(path, "".join(json.dumps(one) + "\n" for one in ordered))


def _summary(name: str, records: list[dict[str, Any]]) -> str:
    """A line of Markdown a method."""
    ordered = sorted(records, key=lambda one: str(one["method"]))
    lines = [f"{name}: | method | params | MACs | epochs | seconds | top1 | least to most |"]
    for method, group in groupby(ordered, key=lambda one: str(one["method"])):
        found = list(group)
        top1 = [one["top1"] for one in found]
        first, seconds = found[0], mean(one["seconds"] for one in found)
        epochs = mean(one["epochs"] for one in found)
        lines.append(
            f"| {method} | {first['params'] / 1e6:.2f} M | {first['macs'] / 1e6:.1f} M "
            f"| {epochs:.0f} | {seconds:.0f} "
            f"| {mean(top1):.2f} | {min(top1):.2f} to {max(top1):.2f} |"
        )
    return "\n".join(lines)


def _arguments() -> tuple[list[str], Plan]:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=EXPERIMENTS)
    parser.add_argument("--out", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--jobs", type=int, default=len(usable_cores()))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--size", default="28_os8", choices=SIZES, help="of families")
    parser.add_argument("--best", default="mobilenet_v2_0.5_28_os8")
    parser.add_argument("--best-minutes", type=float, default=60.0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--teacher", type=Path, help="of distill, surgery")
    parser.add_argument("--narrow", default=_v2(0.5), help="what surgery cuts the teacher to")
    asked = vars(parser.parse_args())
    names, seeds = asked.pop("names"), tuple(asked.pop("seeds"))
    return names, Plan(**asked, seeds=seeds)


if __name__ == "__main__":
    main()
