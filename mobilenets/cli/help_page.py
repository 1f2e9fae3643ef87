"""What `mobilenets VERB --help` looks like: arguments, then options in sections. Plain text, which
is there at once: rich takes longer to load than the rest."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from mobilenets.cli.options import OUTPUT

QUIET, VERBOSE = "Print results, warnings and errors only.", "Print more of what is being done."
_ALSO = [("--quiet", QUIET), ("--verbose", VERBOSE)]


class Page(TyperCommand):
    """A command whose options stand in the sections that they name."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            is_argument = parameter.param_type_name == "argument"
            title = "Arguments" if is_argument else _section(parameter)
            if record := parameter.get_help_record(ctx):
                sections.setdefault(title, []).append(record)
        output = sections.pop(OUTPUT)  # which comes last, whatever its place in the code
        for title, records in [*sections.items(), (OUTPUT, [*output[:-1], *_ALSO, output[-1]])]:
            with formatter.section(title):
                formatter.write_dl(records)


def _section(parameter: Any) -> str:
    """Of --help itself, which typer makes, too."""
    return getattr(parameter, "rich_help_panel", None) or OUTPUT
