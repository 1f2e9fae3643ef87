"""NetAdapt against the width multiplier, at equal price and equal total training time.

    python experiments/netadapt.py --price macs --out runs/netadapt
    python experiments/netadapt.py --price latency --out runs/netadapt

Each network and seed is trained at width 1.0, then adapted to 35 % of its price. Against its
members at 70, 50 and 35 %, trained long, stand networks of the same family whose width multiplier
makes them as dear, trained from scratch for as many core-seconds as everything before took together
(the start, the steps up to the member, the long training). Trainings have a core and a thread each;
a step's seconds count once for each worker. `top1` is of the 10,000 test images. A JSON line a
network in OUT/PRICE.jsonl, means and ranges on stdout. Killed and started again, it goes on.

With --price latency (p50 in onnxruntime, one thread) it needs this machine's table (`mobilenets
table`), and nothing else running: a width's price is measured in one session with the member's.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

from side_by_side import side_by_side

from mobilenets.adaptation import Adaptation, adapt, trained_long
from mobilenets.archs import Arch, Budget, at_width, cost
from mobilenets.child import usable_cores
from mobilenets.data import load_images
from mobilenets.files import read_json, write_json, write_text
from mobilenets.measurement.choose import measured_whole
from mobilenets.measurement.device import device_name
from mobilenets.nn import Checkpoint
from mobilenets.shrink import Settings, Step, Workers
from mobilenets.shrink.family import member, records, run_price
from mobilenets.train import Limits, Training, train_named
from mobilenets.train.job import save_trained
from mobilenets.train.named import score, seconds_in

DATA = "fashion-mnist"
POINTS = (0.7, 0.5, 0.35)
# Widths that promise a price so near to the member's are measured beside it.
NEAR, TOO_DEAR = 0.25, 1.01


@dataclass(frozen=True)
class Plan:
    """What is compared, for how long."""

    out: Path
    price: str
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    start_epochs: int
    long_epochs: int
    workers: int
    jobs: int
    settings: Settings


@dataclass(frozen=True)
class Family:
    """A network and a seed: the start, and what comes of it."""

    plan: Plan
    name: str
    seed: int

    @property
    def start(self) -> Path:
        return self.plan.out / "starts" / f"{self.name}-{self.seed}"

    @property
    def run(self) -> Path:
        return self.plan.out / self.plan.price / f"{self.name}-{self.seed}"

    @property
    def settings(self) -> Settings:
        return replace(self.plan.settings, seed=self.seed)

    def train_start(self) -> None:
        limits = Limits(epochs=self.plan.start_epochs)
        train_named(Training(self.name, DATA, limits=limits, seed=self.seed, out=self.start))

    def adapt(self) -> None:
        """Down to the last point, which is measured on the artefact."""
        adapt(
            Adaptation(
                self.start, DATA, self._budget(), settings=self.settings, long_epochs=0,
                workers=Workers(self.plan.workers), out=self.run,
            )
        )  # fmt: skip

    def _budget(self) -> Budget:
        arch, kept = Checkpoint.load(self.start / "trained.safetensors").arch, "budget.json"
        if self.plan.price == "macs":
            return Budget(macs=POINTS[-1] * cost(arch).macs)
        if not (self.start / kept).exists():
            (latency,) = measured_whole(1)([arch], "onnxruntime")
            write_json(self.start / kept, {"latency_ms": POINTS[-1] * latency.p50_ms})
        return Budget(**read_json(self.start / kept))


@dataclass(frozen=True)
class Duel:
    """A member of a family, and the width that is as dear."""

    family: Family
    point: float
    index: int
    width: float
    prices: dict[str, float]

    @property
    def folder(self) -> Path:
        return self.family.run / f"at {self.point:g}"

    def __call__(self) -> list[dict[str, Any]]:
        """A record of each."""
        adapted = self._adapted()
        limits = Limits(minutes=adapted["seconds"] / 60)
        training = Training(
            self.family.name, DATA, width=self.width, limits=limits, seed=self.family.seed,
            out=self.folder / "width",
        )  # fmt: skip
        scaled = train_named(training)
        return [self._record("adapted", adapted), self._record("width multiplier", scaled)]

    def _adapted(self) -> dict[str, Any]:
        folder, settings = self.folder / "adapted", self.family.settings
        images = load_images(DATA, seed=self.family.seed)
        step = member(self.family.run, self.index)
        if not (folder / "trained.safetensors").exists():
            start = Checkpoint.load(self.family.start / "trained.safetensors")
            epochs = self.family.plan.long_epochs
            trained = trained_long(
                step.checkpoint, start, images, settings, epochs=epochs, folder=folder
            )
            save_trained(trained, folder)
        trained = Checkpoint.load(folder / "trained.safetensors")
        parts = {
            "start_seconds": seconds_in(self.family.start / "metrics.csv"),
            "steps_seconds": _core_seconds(self.family, self.index),
            "long_seconds": seconds_in(folder / "metrics.csv"),
        }
        costs = cost(trained.arch)
        return parts | {
            "seconds": sum(parts.values()), "epochs": self.family.plan.long_epochs,
            "macs": costs.macs, "params": costs.params,
            "top1": score(trained, images).value, "before_long": step.accuracy,
        }  # fmt: skip

    def _record(self, method: str, found: dict[str, Any]) -> dict[str, Any]:
        return {
            "network": self.family.name, "seed": self.family.seed, "point": self.point,
            "method": method, "width": self.width, "price": self.prices[method], "step": self.index,
            **found, "device": device_name(),
        }  # fmt: skip


def main() -> None:
    """Run what is left of the plan."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = _arguments()
    families = [Family(plan, name, seed) for name in plan.networks for seed in plan.seeds]
    list(side_by_side([one.train_start for one in families], plan.jobs))
    for family in families:
        family.adapt()
    duels = [_duel(family, point) for point in POINTS for family in families]
    found: list[dict[str, Any]] = []
    for pair in side_by_side(duels, plan.jobs):
        found += pair
        print(json.dumps(pair), flush=True)
        _write(plan.out / f"{plan.price}.jsonl", found)
    print(_summary(found), flush=True)


def _core_seconds(family: Family, index: int) -> float:
    steps = records(family.run)[1 : index + 1]
    return max(family.plan.workers, 1) * sum(one["seconds"] for one in steps)


def _duel(family: Family, point: float) -> Duel:
    """The member that the steps come to at `point`, and the widest network that is as dear."""
    path = family.run / f"at {point:g}" / "duel.json"
    if not path.exists():
        first, *steps = records(family.run)
        # the last was measured to be within; what it promised may have been a little more
        under = (one["index"] for one in steps if one["price"] <= point * first["price"])
        step = member(family.run, next(under, steps[-1]["index"]))
        choose = _measured if family.plan.price == "latency" else _counted
        width, prices = choose(family, member(family.run, 0).arch, step)
        write_json(path, {"index": step.index, "width": width, "prices": prices})
    return Duel(family, point, **read_json(path))


def _counted(family: Family, start: Arch, step: Step) -> tuple[float, dict[str, float]]:
    wide = _widths(start)
    arch = next(one for one in wide if cost(one).macs <= step.price)
    return arch.width, {"adapted": step.price, "width multiplier": cost(arch).macs}


def _measured(family: Family, start: Arch, step: Step) -> tuple[float, dict[str, float]]:
    """In one session: the widest that is no more than 1 % slower than the member; where none is
    so fast, the narrowest."""
    price = run_price(family.run)
    assert price is not None
    wide = _widths(start)
    promised = price(step.arch)
    near = [one for one in wide if abs(price(one) / promised - 1) <= NEAR] or [wide[-1]]
    ours, *theirs = measured_whole(1)([step.arch, *near], "onnxruntime")
    measured = [(one.width, latency.p50_ms) for one, latency in zip(near, theirs, strict=True)]
    fast = (one for one in measured if one[1] <= TOO_DEAR * ours.p50_ms)
    width, spent = next(fast, measured[-1])
    return width, {"adapted": ours.p50_ms, "width multiplier": spent}


def _widths(start: Arch) -> list[Arch]:
    """The family's networks by hundredths of width, each once, the widest first."""
    by_rows = {one.rows: one for one in (at_width(start, at / 100) for at in range(5, 101))}
    return sorted(by_rows.values(), key=lambda one: one.width, reverse=True)


def _write(path: Path, found: list[dict[str, Any]]) -> None:
    ordered = sorted(found, key=_key)
    write_text(path, "".join(json.dumps(one) + "\n" for one in ordered))


def _key(record: dict[str, Any]) -> tuple[str, float, str, int]:
    return record["network"], -record["point"], record["method"], record["seed"]


def _summary(found: list[dict[str, Any]]) -> str:
    """A line of Markdown for each network, point and method."""
    lines = ["| network | of the price | method | price | MACs | core-minutes | epochs | top1 |"]
    ordered = sorted(found, key=_key)
    for (name, point, method), group in groupby(ordered, key=lambda one: _key(one)[:3]):
        some = list(group)
        average = partial(_mean, some)
        top1 = [one["top1"] for one in some]
        lines.append(
            f"| {name} | {-100 * point:.0f} % | {method} | {average('price'):.4g} "
            f"| {average('macs') / 1e6:.2f} M | {average('seconds') / 60:.1f} "
            f"| {average('epochs'):.0f} "
            f"| {mean(top1):.2f} ({min(top1):.2f} to {max(top1):.2f}) |"
        )
    return "\n".join(lines)


def _mean(records: list[dict[str, Any]], key: str) -> float:
    return mean(one[key] for one in records)


def _arguments() -> Plan:
    plain = Settings()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/netadapt"))
    parser.add_argument("--price", choices=("macs", "latency"), default="macs")
    parser.add_argument(
        "--networks", nargs="+",
        default=["mobilenet_v3_small_1.0_28_os8", "mobilenet_v2_1.0_28"],
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--start-epochs", type=int, default=10)
    parser.add_argument("--long-epochs", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=len(usable_cores()))
    parser.add_argument("--step", type=float, default=plain.step)
    parser.add_argument("--kinds", nargs="+", default=plain.kinds)
    parser.add_argument("--short-steps", type=int, default=plain.short_steps)
    parser.add_argument("--screen", type=int, default=plain.screen, help="0: train all")
    parser.add_argument("--held-out", type=int, default=plain.held_out)
    parser.add_argument("--statistics", type=int, default=plain.statistics)
    parser.add_argument("--decay", type=float, default=plain.decay)
    parser.add_argument("--distil", action="store_true")
    asked = vars(parser.parse_args())
    asked |= {"kinds": tuple(asked["kinds"]), "screen": asked["screen"] or None}
    settings = Settings(**{one: asked.pop(one) for one in asdict(plain) if one in asked})
    names, seeds = tuple(asked.pop("networks")), tuple(asked.pop("seeds"))
    return Plan(**asked, networks=names, seeds=seeds, settings=settings)


if __name__ == "__main__":
    main()
