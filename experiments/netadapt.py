"""NetAdapt against the width multiplier, at equal price and equal total training time.

    python experiments/netadapt.py --price macs --out runs/netadapt
    python experiments/netadapt.py --price latency --out runs/netadapt

Each network and seed is trained at width 1.0, then adapted to 35 % of its price. Against its
members at 70, 50 and 35 %, trained long, stand networks of the same family whose width multiplier
makes them as dear, trained from scratch for as many core-seconds as all this took together: the
start, the steps up to the member, the long training. With --whole the start's own network is
trained from scratch for that long too. Steps are timed as they run, a second counting once for each
worker. An epoch is priced at what it takes on one core of this machine: of the start as it was
trained, of the others by their training steps, timed in turns with the start's.

So the long trainings can run elsewhere: copy OUT to a machine with a GPU, and give --trainings
there; they run as `replayed` says. `top1` and `val_loss` are of the 10,000 test images. A JSON line
a network in OUT/PRICE.jsonl, means and ranges on stdout. Killed and started again, it goes on.

With --price latency (p50 in onnxruntime, one thread) it needs this machine's table (`mobilenets
table`), and nothing else running: all members are measured in one session, to find those at 70, 50
and 35 %, and a width in one with its member.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from replayed import train_replayed, validated
from side_by_side import side_by_side

from mobilenets.archs import Arch, Budget, at_width, cost, from_json
from mobilenets.commands.adapt import Adaptation, adapt
from mobilenets.commands.train import Training, train_named
from mobilenets.data import Images, load_images
from mobilenets.data.trained_on import learned_from
from mobilenets.files import read_json, write_json, write_text
from mobilenets.measuring.latency import Latency
from mobilenets.measuring.machine import device_name
from mobilenets.measuring.target import measure_networks
from mobilenets.nn import Checkpoint, MobileNet
from mobilenets.processes.child import usable_cores
from mobilenets.prune import Settings, Step, Workers
from mobilenets.prune.members import member, records, run_price
from mobilenets.runtimes import DEFAULT
from mobilenets.train import Limits, Recipe, train
from mobilenets.train.job import Trained, save_trained
from mobilenets.train.module import Learner

DATA = "fashion-mnist"
POINTS = (0.7, 0.5, 0.35)
# Widths that promise a price so near to the member's are measured beside it.
NEAR, FEW, TOO_DEAR = 0.25, 6, 1.01
PACED_STEPS = 25
# A network is measured for so long at most.
SECONDS = 2.0


@dataclass(frozen=True)
class Plan:
    """What is compared, for how long."""

    out: Path
    price: str
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    points: tuple[float, ...]
    start_epochs: int
    long_epochs: int
    whole: bool
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
        """Down to the last point, which is measured on the artifact."""
        adapt(
            Adaptation(
                self.start, DATA, self._budget(), settings=self.settings, long_epochs=0,
                workers=Workers(self.plan.workers), out=self.run,
            )
        )  # fmt: skip

    def _budget(self) -> Budget:
        arch, kept = self.trained().arch, "budget.json"
        if self.plan.price == "macs":
            return Budget(macs=POINTS[-1] * cost(arch).macs)
        if not (self.start / kept).exists():
            (latency,) = _measured_together([arch])
            write_json(self.start / kept, {"latency_ms": POINTS[-1] * latency.p50_ms})
        return Budget(**read_json(self.start / kept))

    def trained(self) -> Checkpoint:
        return Checkpoint.load(self.start / "trained.safetensors")

    def epoch_seconds(self) -> float:
        """Of the start, as it was trained."""
        return Trained.read(self.start).seconds / self.plan.start_epochs


@dataclass(frozen=True)
class Duel:
    """A member of a family, and the width that is as dear. `paces` are the training steps' times
    of the member and of the width, the start's being 1."""

    family: Family
    point: float
    index: int
    width: float
    prices: dict[str, float]
    paces: dict[str, float]

    @property
    def folder(self) -> Path:
        return self.family.run / f"at {self.point:g}"

    @property
    def seconds(self) -> dict[str, float]:
        """Core-seconds: `seconds` of everything, and its parts."""
        plan, epoch = self.family.plan, self.family.epoch_seconds()
        steps = records(self.family.run)[1 : self.index + 1]
        parts = {
            "start_seconds": plan.start_epochs * epoch,
            "steps_seconds": max(plan.workers, 1) * sum(one["seconds"] for one in steps),
            "long_seconds": plan.long_epochs * epoch * self.paces["adapted"],
        }
        return {"seconds": sum(parts.values())} | parts

    @property
    def epochs(self) -> dict[str, int]:
        """The long training's; and the others', in as many core-seconds as all took."""
        plan, of_whole = self.family.plan, self.seconds["seconds"] / self.family.epoch_seconds()
        others = {"width multiplier": round(of_whole / self.paces["width multiplier"])}
        if plan.whole:
            others["whole"] = round(of_whole)
        return {"adapted": plan.long_epochs} | others

    def network(self, method: str) -> tuple[Arch, Checkpoint | None]:
        """What is trained, and the weights it starts from, unless from scratch."""
        if method == "adapted":
            cut = member(self.family.run, self.index).checkpoint
            return cut.arch, cut
        whole = member(self.family.run, 0).arch
        return (whole if method == "whole" else at_width(whole, self.width)), None

    def price(self, method: str) -> float:
        """In MACs or milliseconds; the whole network's as the steps began."""
        if method in self.prices:
            return self.prices[method]
        start: float = records(self.family.run)[0]["price"]
        return start


@dataclass(frozen=True)
class Long:
    """One training of a duel."""

    duel: Duel
    method: str

    @property
    def epochs(self) -> int:
        return self.duel.epochs[self.method]

    @property
    def folder(self) -> Path:
        return self.duel.folder / f"{self.method}-{self.epochs}"

    def done(self) -> bool:
        return (self.folder / "found.json").exists()

    def __call__(self) -> None:
        family, begin = self.duel.family, time.monotonic()
        images, (arch, start) = _images(family.seed), self.duel.network(self.method)
        recipe = family.settings.recipe(family.trained(), images)
        recipe = recipe.limited(Limits(epochs=self.epochs))
        if torch.cuda.is_available():
            trained = train_replayed(arch, images, recipe, seed=family.seed, start=start)
        else:
            trained = train(
                arch, images, recipe, folder=self.folder, seed=family.seed, start=start
            )  # fmt: skip
        save_trained(trained, self.folder, learned_from(images))
        costs = cost(arch)
        found = {
            "macs": costs.macs, "params": costs.params, **validated(trained, images),
            "holdout_loss": trained.training["holdout_loss"], "trained_on": _where(),
            "took_seconds": round(time.monotonic() - begin, 1),
        }  # fmt: skip
        write_json(self.folder / "found.json", found)

    def record(self) -> dict[str, Any]:
        duel, family, plan = self.duel, self.duel.family, self.duel.family.plan
        return {
            "priced_in": plan.price, "start_epochs": plan.start_epochs,
            "long_epochs": plan.long_epochs, "network": family.name, "seed": family.seed,
            "point": duel.point, "method": self.method, "width": duel.width,
            "price": duel.price(self.method), "step": duel.index,
            "epochs": self.epochs, **duel.seconds,
            **read_json(self.folder / "found.json"), "device": device_name(),
        }  # fmt: skip


def main() -> None:
    """Run what is left of the plan."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan, trainings_only = _arguments()
    families = [Family(plan, name, seed) for name in plan.networks for seed in plan.seeds]
    if not trainings_only:
        list(side_by_side([one.train_start for one in families], plan.jobs))
        for family in families:
            family.adapt()
    duels = [_duel(family, point) for point in plan.points for family in families]
    trainings = [Long(duel, method) for duel in duels for method in duel.epochs]
    left = [one for one in trainings if not one.done()]
    logging.info(f"{len(left)} trainings of {sum(one.epochs for one in left)} epochs are left")
    for _ in side_by_side(left, plan.jobs):
        done = sum(one.done() for one in trainings)
        logging.info(f"{done} of {len(trainings)} trained")
    found = sorted((one.record() for one in trainings if one.done()), key=_key)
    write_text(plan.out / f"{plan.price}.jsonl", "".join(json.dumps(one) + "\n" for one in found))
    print(_summary(found), flush=True)


@cache
def _images(seed: int) -> Images:
    return load_images(DATA, seed=seed)


def _where() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else device_name()


def _duel(family: Family, point: float) -> Duel:
    """The member that the steps come to at `point`, and the widest network that is as dear."""
    path = family.run / f"at {point:g}" / "duel.json"
    if not path.exists():
        first, *members = _prices(family)
        # the last was measured to be within; what it promised may have been a little more
        under = (at for at, price in enumerate(members, 1) if price <= point * first)
        step = member(family.run, next(under, len(members)))
        choose = _measured if family.plan.price == "latency" else _counted
        width, prices = choose(family, member(family.run, 0).arch, step)
        paces = _paces(family, step.arch, width)
        found = {"index": step.index, "width": width, "prices": prices, "paces": paces}
        write_json(path, found)
    return Duel(family, point, **read_json(path))


def _prices(family: Family) -> list[float]:
    """Of all members; latencies as measured in one session."""
    known = records(family.run)
    if family.plan.price == "macs":
        return [one["price"] for one in known]
    path = family.run / "measured.json"
    if not path.exists():
        archs = [from_json(one["arch"]) for one in known]
        write_json(path, {"p50_ms": [one.p50_ms for one in _measured_together(archs)]})
    prices: list[float] = read_json(path)["p50_ms"]
    return prices


def _counted(family: Family, start: Arch, step: Step) -> tuple[float, dict[str, float]]:
    arch = min(_widths(start), key=lambda one: abs(cost(one).macs - step.price))
    return arch.width, {"adapted": step.price, "width multiplier": cost(arch).macs}


def _measured(family: Family, start: Arch, step: Step) -> tuple[float, dict[str, float]]:
    """The widest that is no more than 1 % slower than the member, measured beside it; where none is
    so fast, the narrowest. First a few widths are measured, then all between two of them."""
    price = run_price(family.run)
    assert price is not None
    wide = _widths(start)
    promised = price(step.arch)
    near = [one for one in wide if abs(price(one) / promised - 1) <= NEAR] or [wide[-1]]
    few = near[:: max(len(near) // FEW, 1)]
    times, _ = _slower(step.arch, few)
    dear = [arch for arch, one in zip(few, times, strict=True) if one > TOO_DEAR]
    first = near.index(dear[-1]) if dear else 0
    between = near[first : first + len(near) // FEW + 1]
    times, ours = _slower(step.arch, between)
    measured = list(zip(between, times, strict=True))
    arch, slower = next((one for one in measured if one[1] <= TOO_DEAR), measured[-1])
    return arch.width, {"adapted": ours, "width multiplier": slower * ours}


def _slower(than: Arch, archs: list[Arch]) -> tuple[list[float], float]:
    """How many times slower each is, in one session; and the p50 of `than`, in ms."""
    ours, *theirs = _measured_together([than, *archs])
    return [one.p50_ms / ours.p50_ms for one in theirs], ours.p50_ms


def _measured_together(archs: list[Arch]) -> list[Latency]:
    """In turns, so that what others do to the machine's caches meets all alike."""
    networks = [(arch, DEFAULT) for arch in archs]
    return measure_networks(networks, threads=1, seconds=SECONDS)


def _widths(start: Arch) -> list[Arch]:
    """The family's networks by hundredths of width, each once, the widest first."""
    by_rows = {one.rows: one for one in (at_width(start, at / 100) for at in range(5, 101))}
    return sorted(by_rows.values(), key=lambda one: one.width, reverse=True)


def _paces(family: Family, adapted: Arch, width: float) -> dict[str, float]:
    """The training steps' times on one thread, in turns, the start's being 1."""
    start = family.trained()
    archs = (start.arch, adapted, at_width(start.arch, width))
    recipe = family.settings.recipe(start, _images(family.seed))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    timers = [_timed_steps(arch, recipe) for arch in archs]
    rounds = [[next(timer) for timer in timers] for _ in range(3 + PACED_STEPS)][3:]
    torch.set_num_threads(threads)
    first, *others = (statistics.median(times) for times in zip(*rounds, strict=True))
    return dict(zip(("adapted", "width multiplier"), (one / first for one in others), strict=True))


def _timed_steps(arch: Arch, recipe: Recipe) -> Iterator[float]:
    learner = Learner(MobileNet(arch), recipe, seed=0, total_steps=1000).train()
    optimizer = learner.configure_optimizers()["optimizer"]
    size = (recipe.batch_size, 3, arch.resolution, arch.resolution)
    images = torch.randint(256, size, dtype=torch.uint8)
    labels = torch.randint(arch.classes, size[:1])
    while True:
        begin = time.perf_counter()
        optimizer.zero_grad()
        learner.loss(images, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield time.perf_counter() - begin


def _key(record: dict[str, Any]) -> tuple[str, float, str, int]:
    return record["network"], -record["point"], record["method"], record["seed"]


def _summary(found: list[dict[str, Any]]) -> str:
    """A line of Markdown for each network, point and method."""
    lines = ["| network | of the price | method | price | MACs | core-minutes | epochs | top1 |"]
    for (name, point, method), group in groupby(found, key=lambda one: _key(one)[:3]):
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


def _arguments() -> tuple[Plan, bool]:
    plain = Settings(step=0.05, decay=1.0, screen=2, statistics=256)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/netadapt"))
    parser.add_argument("--price", choices=("macs", "latency"), default="macs")
    parser.add_argument(
        "--networks", nargs="+",
        default=["mobilenet_v3_small_1.0_28", "mobilenet_v2_1.0_28"],
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--points", nargs="+", type=float, default=POINTS)
    parser.add_argument("--start-epochs", type=int, default=6)
    parser.add_argument("--long-epochs", type=int, default=20)
    parser.add_argument("--whole", action="store_true", help="train the whole network as well")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=len(usable_cores()))
    parser.add_argument(
        "--trainings", action="store_true",
        help="only the long trainings, of members that were adapted and paired elsewhere",
    )  # fmt: skip
    parser.add_argument("--screen", type=int, default=plain.screen, help="0: train all")
    parser.add_argument("--kinds", nargs="+", default=plain.kinds)
    for name in ("step", "decay", "importance", "short_steps", "held_out", "statistics"):
        default = getattr(plain, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    asked = vars(parser.parse_args())
    asked |= {"kinds": tuple(asked["kinds"]), "screen": asked["screen"] or None}
    asked |= {name: tuple(asked[name]) for name in ("networks", "seeds", "points")}
    trainings_only = asked.pop("trainings")
    settings = Settings(**{one: asked.pop(one) for one in asdict(plain) if one in asked})
    return Plan(**asked, settings=settings), trainings_only


if __name__ == "__main__":
    main()
