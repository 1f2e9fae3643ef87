"""The options that a user has typed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import typer


def given_options(context: typer.Context, *, but: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Each with its value, as words, but for the parameters of these names."""
    found = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        typed = source is not None and source.name == "COMMANDLINE"
        if typed and name not in but and parameter.param_type_name == "option":
            found.append(_words(parameter, context.params[name]))
    return tuple(found)


def _words(option: Any, value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        names = option.opts if value else option.secondary_opts
        return (names[0],)
    return option.opts[0], str(value)
