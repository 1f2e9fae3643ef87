"""Words of the command line that stand elsewhere: commands and options by the names they had, which
are understood for one version more and not shown, and general options behind the verb."""

from __future__ import annotations

_COMMANDS = {"quantise": "quantize"}
_OPTIONS = {"--race": "--trials", "--drop": "--max-drop", "--distil": "--distill"}

_GENERAL = ("--quiet", "--verbose")


def by_new_names(arguments: list[str]) -> list[str]:
    """The command line with the names of today; what stands after "--" are no options."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    command = [_COMMANDS.get(word, word) for word in arguments[:1]]
    return command + [_by_new_name(word) for word in arguments[1:end]] + arguments[max(end, 1) :]


def _by_new_name(word: str) -> str:
    option, equals, value = word.partition("=")
    return _OPTIONS.get(option, option) + equals + value


def general_first(arguments: list[str]) -> list[str]:
    """The command line with the options of every verb before the verb, which is where they are
    understood; what stands after "--" are no options."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    general = [word for word in arguments[:end] if word in _GENERAL]
    others = [word for word in arguments[:end] if word not in _GENERAL]
    return [*general, *others, *arguments[end:]]
