"""One page: what accuracy can be expected for what latency on a device, in each runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilenets.archs.budget import describe
from mobilenets.choosing.candidate import Candidate
from mobilenets.choosing.latency_table import Table
from mobilenets.deliver import html_page as page
from mobilenets.deliver import plots
from mobilenets.files import write_text
from mobilenets.measuring.device import current, device_words, option, place
from mobilenets.runtimes import Engine
from mobilenets.text import counted

_LIMITS_MS = (0.2, 0.5, 1, 2, 5, 10, 20)


def pareto(pool: Sequence[Candidate]) -> list[Candidate]:
    """Those that nothing beats in both predicted latency and expected accuracy, fastest first."""
    front: list[Candidate] = []
    for one in sorted(pool, key=lambda one: (one.predicted_ms or 0, -one.expected.top1)):
        if not front or one.expected.top1 > front[-1].expected.top1:
            front.append(one)
    return front


def to_json(pools: Sequence[Sequence[Candidate]]) -> list[dict[str, Any]]:
    """The front of each engine."""
    return [
        {"runtime": str(pool[0].engine), "front": [one.to_json() for one in pareto(pool)]}
        for pool in pools
    ]


def write_tradeoff(
    pools: Sequence[Sequence[Candidate]],
    tables: Mapping[Engine, Table],
    path: Path,
    *,
    threads: int,
) -> Path:
    """Write the page of all candidates in each runtime to `path`."""
    everything = [one for pool in pools for one in pool]
    precisions = dict.fromkeys(pool[0].engine.precision for pool in pools)
    body = [
        page.heading(
            "Accuracy against latency",
            f"{len(pools[0]):,} MobileNets, {counted(threads, 'thread')}, batch 1, "
            f"{' and '.join(precisions)}, on {device_words(current())}",
        ),
        page.paragraph(
            "Accuracy: the papers' ImageNet top-1, interpolated between their networks. On your "
            "images it differs, but the order mostly holds. Latency: predicted for "
            f"{place(current().name)}, see below. The line joins the networks that no other beats "
            "in both."
        ),
        plots.fronts([(str(pool[0].engine), pool, pareto(pool)) for pool in pools]),
        page.section("The best network for a limit", _limits(pools)),
        page.section("How the latencies were predicted", *_sources(pools, tables)),
        page.details("Pareto front over all runtimes", _front(pareto(everything))),
    ]
    write_text(path, page.page("Accuracy against latency", body))
    return path


def _limits(pools: Sequence[Sequence[Candidate]]) -> str:
    """For each limit and runtime the expected accuracy of the best that fits."""
    rows = []
    for limit in _LIMITS_MS:
        best = [_best(pool, limit) for pool in pools]
        if any(best):
            rows.append([f"{limit:g} ms", *(_short(one) for one in best)])
    return page.table(["latency", *(str(pool[0].engine) for pool in pools)], rows, tight=True)


def _best(pool: Sequence[Candidate], limit_ms: float) -> Candidate | None:
    fitting = [one for one in pool if (one.predicted_ms or 0) <= limit_ms]
    return max(fitting, key=lambda one: one.expected.top1, default=None)


def _short(one: Candidate | None) -> str:
    if one is None:
        return "-"
    return f"{one.expected.top1:.1f} % {one.arch.full_name.removeprefix('mobilenet_')}"


def _front(front: Sequence[Candidate]) -> str:
    return page.table(
        ["network", "runtime", "latency", "expected top-1", "MACs", "parameters"],
        [
            [
                one.arch.full_name, str(one.engine), f"{one.predicted_ms:.3g} ms",
                f"{one.expected.top1:.1f} %", describe("macs", one.macs),
                describe("params", one.params),
            ]
            for one in reversed(front)
        ],
        tight=True,
    )  # fmt: skip


def _sources(pools: Sequence[Sequence[Candidate]], tables: Mapping[Engine, Table]) -> list[str]:
    return [page.paragraph(_source(pool, tables)) for pool in pools]


def _source(pool: Sequence[Candidate], tables: Mapping[Engine, Table]) -> str:
    engine = pool[0].engine
    version = f"{engine} {current().version(engine)}"
    if engine in tables:
        error = tables[engine].held_out()
        return (
            f"{version}: from its latency table. Error on {error.networks} networks that it was "
            f"not built from: {error.median_error_pct:.1f} % (median), "
            f"{error.worst_error_pct:.1f} % (worst)."
        )
    measured = sum(one.latency is not None for one in pool)
    fitted = f"{version}: by a regression on {measured} measured networks; its error is not known."
    if engine.is_int8:
        return fitted
    return (
        f"{fitted} For a known error: mobilenets table --runtime {engine}{option(current().name)}"
    )
