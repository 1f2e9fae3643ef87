"""docs/reference/cli.md, from what `--help` prints: python -m mobilenets.cli.reference_page"""

from __future__ import annotations

import sys

from typer.testing import CliRunner

from mobilenets.cli.app import app

_HEAD = """# The commands

Written by `make docs` from `mobilenets VERB --help`; a test holds the two together. Results go to
stdout, progress to stderr. Exit status: 0 done, verified and within budget; 1 a mistake, said in
one sentence; 2 no network fits the budget; 3 the finished artifact misses a limit or fails
verification.
"""


def reference() -> str:
    """The whole page."""
    names = [
        command.name or command.callback.__name__  # type: ignore[union-attr]
        for command in app.registered_commands
    ]
    return "\n".join([_HEAD, *(_section(name) for name in names)])


def _section(name: str) -> str:
    help_text = CliRunner().invoke(app, [name, "--help"], prog_name="mobilenets").stdout
    return f"## `mobilenets {name}`\n\n```text\n{help_text.strip()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
