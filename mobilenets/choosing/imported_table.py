"""The latency table of a device that cannot be reached, from its results."""

from __future__ import annotations

import json

from mobilenets.archs import Arch, from_json
from mobilenets.choosing.latency_table import (
    Table,
    conditions_of,
    held_out_networks,
    line_of,
    read_table,
    table_path,
)
from mobilenets.errors import ArchError, FileError
from mobilenets.files import write_text
from mobilenets.measuring.bursts import Timing
from mobilenets.measuring.results import Results
from mobilenets.runtimes import Engine

# With fewer there is no calibration to speak of, and no error to state.
_LEAST_CALIBRATION, _LEAST_HELD_OUT = 10, 5


def keep_table(results: Results) -> Table | None:
    """The current device's table, written in the place of an older one; None where no blocks were
    measured, and so nothing can be predicted: networks that were are known all the same.

    Raises `FileError` for results of a kit of which too little was measured.
    """
    if not results["timings"]:
        return None
    engine, threads = Engine(results["runtime"]), results["threads"]
    items = _items(results)
    timed = [items[one["item"]] for one in results["timings"]]
    networks = {arch for kind, arch in timed if kind == "network"}
    calibration = len(networks - set(held_out_networks()))
    predicts = any(kind == "piece" for kind, _ in items)
    conditions = conditions_of(engine, threads)
    if predicts:
        _check(calibration, len(networks) - calibration)
        conditions["calibration"] = calibration
    lines = [
        line_of(kind, arch, Timing(one["ms"], one["reference_ms"], one["noisy"]), one["seconds"])
        for (kind, arch), one in zip(timed, results["timings"], strict=True)
    ]
    path = table_path(engine, threads)
    write_text(path, "\n".join([json.dumps(conditions), *lines]) + "\n")
    return read_table(path, engine, threads) if predicts else None


def _items(results: Results) -> list[tuple[str, Arch]]:
    try:
        return [(one["kind"], from_json(one["arch"])) for one in results["plan"]["items"]]
    except ArchError as error:
        raise FileError(
            f"the kit of these results holds what is no network ({error}); write it again with: "
            "mobilenets kit"
        ) from error


def _check(calibration: int, held_out: int) -> None:
    if calibration < _LEAST_CALIBRATION or held_out < _LEAST_HELD_OUT:
        raise FileError(
            f"too few whole networks were measured for a table: {calibration} to calibrate it and "
            f"{held_out} to test it, at least {_LEAST_CALIBRATION} and {_LEAST_HELD_OUT} are "
            "needed; run sh run.sh on the device again"
        )
