"""NetAdapt against the width multiplier, at equal price and equal total training time.

    python experiments/netadapt.py fashion-mnist --out runs/netadapt --price macs

For each network and seed: one is trained at width 1.0 and adapted to 35 % of its price; the members
at 70, 50 and 35 % are trained long. Against each stands a network of the same family whose width
multiplier makes it as cheap, trained from scratch for as long as everything before took together
(the start, the steps up to the member, the long training). Validation accuracy, a JSON line a
network in OUT/results.jsonl. Killed and started again, it goes on.

With --price latency (the artefact's p50 in onnxruntime, one thread) it needs this machine's table
(`mobilenets table`) and a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mobilenets.adaptation import Adaptation, adapt, adapt_member
from mobilenets.archs import Arch, Budget, at_width, cost, from_json
from mobilenets.files import read_json, write_json, write_text
from mobilenets.measurement.choose import measured_whole
from mobilenets.nn import Checkpoint
from mobilenets.shrink import Price, Settings, Workers
from mobilenets.shrink.family import records, run_price
from mobilenets.train import Limits, Training, train_named
from mobilenets.train.named import seconds_in

POINTS = (0.7, 0.5, 0.35)


@dataclass(frozen=True)
class Plan:
    """What is compared, for how long."""

    data: str
    out: Path
    price: str
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    start_epochs: int
    long_epochs: int
    short_steps: int
    screen: int | None
    workers: int


def main() -> None:
    """Run what is left of the plan."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = _arguments()
    for name in plan.networks:
        for seed in plan.seeds:
            _run(plan, name, seed)


def _run(plan: Plan, name: str, seed: int) -> None:
    folder = plan.out / f"{name}-{seed}"
    start = _train(plan, name, seed, folder / "start", Limits(epochs=plan.start_epochs))
    run = folder / f"adapted-{plan.price}"
    first, *steps = _adapted(plan, run, seed, Path(start["checkpoint"]))
    price = run_price(run)
    assert price is not None
    for point in POINTS:
        place = next(at for at, one in enumerate(steps) if one["price"] <= point * first["price"])
        member = steps[place]
        done = adapt_member(run, member["index"], plan.data, long_epochs=plan.long_epochs)
        long = _seconds(Path(done["checkpoint"]).parent / "metrics.csv")
        spent = start["seconds"] + sum(one["seconds"] for one in steps[: place + 1]) + long
        tell = partial(_tell, plan, name, seed, point)
        tell(from_json(member["arch"]), done["top1_final"], spent, "adapted")

        arch = _as_cheap(from_json(first["arch"]), price, member["price"])
        out = folder / f"width-{plan.price}-{point:g}"
        scaled = _train(plan, name, seed, out, Limits(minutes=spent / 60), arch.width)
        tell(arch, scaled["top1"], scaled["seconds"], f"width {arch.width:g}")


def _train(
    plan: Plan, name: str, seed: int, out: Path, limits: Limits, width: float | None = None
) -> dict[str, Any]:
    return train_named(Training(name, plan.data, width=width, limits=limits, seed=seed, out=out))


def _adapted(plan: Plan, run: Path, seed: int, start: Path) -> list[dict[str, Any]]:
    """The steps of the run that comes down to the last point."""
    settings = Settings(short_steps=plan.short_steps, screen=plan.screen, seed=seed)
    adapt(
        Adaptation(
            start, plan.data, _budget(plan, start), settings=settings, long_epochs=0,
            workers=Workers(plan.workers), out=run,
        )
    )  # fmt: skip
    return records(run)


def _budget(plan: Plan, start: Path) -> Budget:
    """The last point's part of what the start costs, measured once."""
    arch, kept = Checkpoint.load(start).arch, start.with_name("budget.json")
    if plan.price == "macs":
        return Budget(macs=POINTS[-1] * cost(arch).macs)
    if not kept.exists():
        (latency,) = measured_whole(1)([arch], "onnxruntime")
        write_json(kept, {"latency_ms": POINTS[-1] * latency.p50_ms})
    return Budget(**read_json(kept))


def _as_cheap(start: Arch, price: Price, target: float) -> Arch:
    """The widest of the start's family, in hundredths, that costs no more than `target`."""
    wide = (at_width(start, hundredths / 100) for hundredths in range(100, 4, -1))
    return next(one for one in wide if price(one) <= target)


def _seconds(metrics: Path) -> float:
    """Of all epochs, with their evaluations; none where nothing was trained."""
    if not metrics.exists():
        return 0.0
    return seconds_in(metrics)


def _tell(
    plan: Plan, name: str, seed: int, point: float, arch: Arch, top1: float, seconds: float,
    method: str,
) -> None:  # fmt: skip
    """Add a line to the results, unless it is there."""
    path = plan.out / "results.jsonl"
    key = {"network": name, "seed": seed, "priced_by": plan.price, "point": point, "method": method}
    lines = path.read_text().splitlines() if path.exists() else []
    if any(json.loads(line).items() >= key.items() for line in lines):
        return
    costs = cost(arch)
    record = key | {"top1": top1, "seconds": seconds, "macs": costs.macs, "params": costs.params}
    if plan.price == "latency":
        (latency,) = measured_whole(1)([arch], "onnxruntime")
        record |= {"p50_ms": latency.p50_ms, "noisy": latency.noisy}
    write_text(path, "\n".join([*lines, json.dumps(record)]) + "\n")


def _arguments() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, default=Path("runs/netadapt"))
    parser.add_argument("--price", choices=("macs", "latency"), default="macs")
    parser.add_argument(
        "--networks", nargs="+",
        default=["mobilenet_v3_small_1.0_32_os16", "mobilenet_v2_1.0_32_os16"],
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--start-epochs", type=int, default=10)
    parser.add_argument("--long-epochs", type=int, default=10)
    parser.add_argument("--short-steps", type=int, default=Settings().short_steps)
    parser.add_argument("--screen", type=int, default=Settings().screen, help="0: train all")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    return Plan(
        **vars(asked)
        | {
            "networks": tuple(asked.networks),
            "seeds": tuple(asked.seeds),
            "screen": asked.screen or None,
        }
    )


if __name__ == "__main__":
    main()
