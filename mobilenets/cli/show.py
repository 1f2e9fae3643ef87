"""How commands print: JSON on stdout when asked, else a table."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from typing import Any


def show_json(value: Any) -> None:
    """One JSON value on stdout, and nothing else there."""
    print(json.dumps(value, indent=1))


def show_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Aligned columns: words to the left, numbers to the right."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    numeric = [
        not any(isinstance(row[at], str | bool) for row in rows) for at in range(len(header))
    ]
    for line in [header, *texts]:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def print_anything() -> None:
    """From now on what stdout and stderr cannot print, such as a file's name that is not UTF-8 or
    any letter on an ASCII terminal, is escaped: \\udce9."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
