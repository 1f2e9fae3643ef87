"""docs/reference/cli.md, from what `--help` prints: python -m mobilenets.cli.reference_page"""

from __future__ import annotations

import sys

from typer.testing import CliRunner

from mobilenets.cli.app import GROUPS, VERBS, app

_HEAD = """# The commands

Written by `make docs` from `mobilenets VERB --help`; a test holds the two together. Results go to
stdout, progress to stderr. Exit status: 0 done, verified and within budget; 1 a mistake, said in
one sentence; 2 no network fits the budget; 3 the finished artifact misses a limit or fails
verification.
"""


def reference() -> str:
    """The whole page."""
    pairs = [f"{group} {verb}" for group, (_, verbs) in GROUPS.items() for verb in verbs]
    return "\n".join([_HEAD, *(_section(name) for name in [*VERBS, *pairs])])


def _section(name: str) -> str:
    help_text = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="mobilenets").stdout
    return f"## `mobilenets {name}`\n\n```text\n{help_text.strip()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
