"""What limits are, for who gave none: what each means, what usual networks cost, what to type."""

from __future__ import annotations

from mobilenets.archs import Budget
from mobilenets.archs.budget import describe
from mobilenets.choosing.typical import Typical, typical
from mobilenets.errors import BudgetError
from mobilenets.measuring.device import current, option, place
from mobilenets.runtimes import Engine
from mobilenets.text import counted

_HEAD = """give at least one limit; the most accurate network within it is chosen:
  --latency 5ms    p50 of one image on {place}
  --macs 100M      multiply-adds
  --params 2M      parameters
  --size 4MB       the artifact's file
  --memory 1.5MB   peak activations in fp32"""


def check_limits(budget: Budget, command: str, engine: Engine, threads: int) -> None:
    """Raise `BudgetError` with the explanation where there is none."""
    if not budget.limits():
        raise BudgetError(explained(command, engine, threads))


def explained(command: str, engine: Engine, threads: int) -> str:
    """The whole message, for the current device; `command` is what was typed, and is to be typed
    with a limit."""
    rows = typical(engine, threads)
    known = all(one.latency_ms is not None for one in rows)
    here = place(current().name)
    where = f"{engine}, {counted(threads, 'thread')}, predicted from {here}'s latency table"
    said = where if known else f"no latency table of {here} yet"
    title = f"Usual networks, with ImageNet's 1000 classes and top-1 ({said}):"
    told = _next(command, engine, threads, rows, known=known)
    return "\n".join([_HEAD.format(place=here), title, *map(_line, rows), *told])


def _line(one: Typical) -> str:
    latency = "" if one.latency_ms is None else f"{describe('latency_ms', one.latency_ms):>9}"
    costs = f"{describe('macs', one.macs):>7} MACs {describe('params', one.params):>7} parameters"
    size = describe("size_bytes", one.size_bytes)
    return f"  {one.name:33}{latency}  {costs} {size:>8}  {one.top1:.0f} %"


def _next(
    command: str, engine: Engine, threads: int, rows: list[Typical], *, known: bool
) -> list[str]:
    command += option(current().name)
    if known:
        limit = float(f"{1.1 * (rows[1].latency_ms or 0):.1g}")
        return [f"Next: {command} --latency {limit:g}ms"]
    where = f"--runtime {engine} --threads {threads}{option(current().name)}"
    names = "mobilenet_v3_small mobilenet_v3_large mobilenet_v4_conv_medium"
    return [
        f"To measure them here (under a minute): mobilenets latency {names} {where}",
        f"Next: {command} --latency 5ms",
    ]
