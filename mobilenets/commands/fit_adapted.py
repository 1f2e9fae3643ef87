"""`fit --adapt`: a larger network is fitted, and adapted to the budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mobilenets.commands.adapt import Adaptation, adapt
from mobilenets.commands.adapt_member import check_float
from mobilenets.commands.fit import Fitting, fit
from mobilenets.prune import Settings
from mobilenets.runs.layout import start_folder
from mobilenets.runs.owner import set_aside
from mobilenets.runtimes import Engine

# The start takes up to so many times the budget. From 1.5 times a narrower network does as well,
# without adapting (docs/explanation/netadapt.md).
ROOM = 2.0
# Steps as those of docs/explanation/netadapt.md's figures: ten to half the price, not forty.
_STRIDES = Settings(step=0.05, decay=1.0)


def fit_adapted(job: Fitting) -> dict[str, Any]:
    """`fit` for a budget twice as large, in the folder `start` of the run, and from there `adapt`
    to this one; the record is that of `adapt`."""
    check_float(job.engines)
    if job.restart:
        set_aside(job.folder)
        job = replace(job, restart=False)
    adaptation = Adaptation(
        start_folder(job.folder), job.data, job.budget, engine=job.engines[0], threads=job.threads,
        settings=replace(_STRIDES, seed=job.seed), out=job.folder, device=job.device,
    )  # fmt: skip
    limit = adaptation.limit
    larger = replace(job.budget, **{limit: ROOM * job.budget.limits()[limit]})
    # A cheaper network than is asked for leaves nothing to shrink: no trials, unless asked for.
    how = job.how if job.how.trials is not None else replace(job.how, trials=1)
    start = fit(replace(job, budget=larger, how=how, out=adaptation.source))
    return adapt(replace(adaptation, engine=Engine(start.summary["latency"]["runtime"])))
