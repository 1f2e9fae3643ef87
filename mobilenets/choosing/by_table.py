"""What the latency table of a device that cannot be reached says of candidates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from mobilenets.choosing.candidate import Candidate, Stated
from mobilenets.choosing.latency_table import HeldOut, Table, read_table, table_path
from mobilenets.errors import FileError, MeasureError, RuntimeMissing
from mobilenets.measuring.device import current
from mobilenets.runtimes import Engine
from mobilenets.text import counted

log = logging.getLogger(__name__)


def imported_tables(engines: Sequence[Engine], threads: int) -> dict[Engine, Table]:
    """The current device's; an engine that has none is left out with a warning. Raises
    `MeasureError` where none is left."""
    found, missing = dict[Engine, Table](), list[str]()
    for engine in engines:
        try:
            table = read_table(table_path(engine, threads), engine, threads)
        except (FileError, RuntimeMissing) as error:
            missing.append(str(error))
            continue
        if table is None:
            missing.append(
                f"{current().name} has no latency table for {engine} on "
                f"{counted(threads, 'thread')}; write a kit for it: mobilenets kit --runtime "
                f"{engine.runtime} --threads {threads}"
            )
        else:
            found[engine] = table
    if not found:
        raise MeasureError("; ".join(missing))
    for sentence in missing:
        log.warning(f"{sentence}; choosing without {'it' if len(missing) == 1 else 'them'}")
    return found


def stated(pool: Sequence[Candidate], table: Table) -> list[Candidate]:
    """The candidates with what the table says: measured in a kit, or predicted. A table of whole
    networks only says nothing of others."""
    error = _error(table)
    return [_stated(one, table, error) for one in pool]


def _error(table: Table) -> HeldOut | None:
    """None for a table that predicts nothing."""
    try:
        return table.held_out() if table.calibration and table.pieces else None
    except MeasureError:
        return None


def _stated(one: Candidate, table: Table, error: HeldOut | None) -> Candidate:
    device = current().name
    if one.arch in table.networks:
        ms = table.networks[one.arch]
        return replace(one, stated=Stated(ms, device), predicted_ms=ms)
    if error is None:
        return one
    ms = table.predict_ms(one.arch)
    said = Stated(ms, device, error.median_error_pct, error.worst_error_pct)
    return replace(one, stated=said, predicted_ms=ms)
