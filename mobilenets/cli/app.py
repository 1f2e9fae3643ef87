"""`mobilenets VERB`: parse, call one library function, print.

Exit status: 0 done (and verified and within budget), 1 a user's mistake, 2 no network fits,
3 the finished artifact misses a limit, or may miss it on so noisy a machine, or fails verification.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from mobilenets.cli import (
    browser_verbs,
    compress_verbs,
    data_verbs,
    device_verbs,
    kit_verbs,
    network_verbs,
    share_verbs,
    train_verbs,
    use_verbs,
)
from mobilenets.cli.display import hide_progress, show_progress
from mobilenets.cli.ending import NO_FIT
from mobilenets.cli.help_page import QUIET, VERBOSE, Page
from mobilenets.cli.old_names import by_new_names, general_first
from mobilenets.cli.refusals import close_stdout, refused
from mobilenets.cli.show import print_anything
from mobilenets.errors import MobileNetsError, NoFitError
from mobilenets.processes.openmp import spin_briefly

# Typer brings a click of its own or uses the installed one; this is the base of either's.
_USAGE_ERROR: Any = typer.BadParameter.__base__
_HELP = """Images and a budget in; the right-sized MobileNet out: chosen, trained, exported and
checked on your data and your device.

Example: mobilenets fit photos/ --latency 5ms"""

VERBS: dict[str, Callable[..., None]] = {
    "fit": train_verbs.fit,
    "train": train_verbs.train,
    "adapt": compress_verbs.adapt,
    "quantize": compress_verbs.quantize,
    "export": use_verbs.export,
    "eval": use_verbs.evaluate,
    "predict": use_verbs.predict,
    "report": use_verbs.write_report,
    "look": data_verbs.look,
    "list": network_verbs.list_networks,
    "cost": network_verbs.print_cost,
    "latency": network_verbs.latency,
    "table": network_verbs.table,
    "choose": network_verbs.choose,
    "tradeoff": network_verbs.tradeoff,
    "runtimes": network_verbs.runtimes,
    "kit": kit_verbs.kit,
    "verify": kit_verbs.verify,
    "serve": browser_verbs.serve,
    "shard": share_verbs.shard,
    "push": share_verbs.push,
    "pull": share_verbs.pull,
}
# Verbs of two words: what the first is about, and the second ones.
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "device": (device_verbs.HELP, device_verbs.VERBS),
}


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"mobilenets {version('mobilenets')}")
        raise typer.Exit


def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help=QUIET)] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help=VERBOSE)] = False,
) -> None:
    """What can be said before a verb, or behind it (`general_first`)."""
    if quiet and verbose:
        raise MobileNetsError("--quiet and --verbose are both given; give one")
    if quiet or verbose:
        show_progress(quiet=quiet, verbose=verbose)


def app_with(verbs: Iterable[str]) -> typer.Typer:
    """The command line with these verbs. Of all of them typer takes longer than `cost` does."""
    names = list(verbs)
    made = typer.Typer(
        help=_HELP,
        add_completion=len(names) > 1,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    made.callback()(options)
    for name in names:
        if name in GROUPS:
            made.add_typer(_group(*GROUPS[name]), name=name)
        else:
            made.command(name, cls=Page)(VERBS[name])
    return made


def _group(help_text: str, verbs: dict[str, Callable[..., None]]) -> typer.Typer:
    made = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)
    for name, verb in verbs.items():
        made.command(name, cls=Page)(verb)
    return made


app = app_with([*VERBS, *GROUPS])


def main() -> None:
    """Run the command line; every user's mistake is one sentence on stderr. Of several processes
    that torchrun starts with it, the first runs it, and the others train with that."""
    spin_briefly()
    print_anything()
    show_progress()
    sys.exit(_status(_led if "TORCHELASTIC_RUN_ID" in os.environ else _run))


def _run() -> int:
    words = general_first(by_new_names(sys.argv[1:])) or ["--help"]
    asked = next((word for word in words if not word.startswith("-")), "")
    line = app_with([asked]) if asked in VERBS or asked in GROUPS else app
    status = _status(lambda: line(words, standalone_mode=False) or 0)
    hide_progress()
    sys.stdout.flush()  # before the others end: torchrun ends all with the first that fails
    return status


def _led() -> int:
    from mobilenets.train import led

    return led(_run)()


def _status(work: Callable[[], int]) -> int:
    """The status that `work` ends with; of its error the sentence is printed."""
    try:
        return work()
    except NoFitError as error:
        return _complain(str(error), NO_FIT)
    except MobileNetsError as error:
        return _complain(str(error), 1)
    except _USAGE_ERROR as error:
        return _complain(f"{error.format_message()} {_help_of(error)}", 1)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("stopped; the same command goes on where it was", 1)
    except BrokenPipeError:  # of a reader who has seen enough
        close_stdout()
        return 1
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = refused(error)
        if sentence is None:
            raise
        return _complain(sentence, 1)


def _help_of(error: Any) -> str:
    """What to type next after a word that is not understood."""
    verb = error.ctx.info_name if error.ctx and error.ctx.parent else ""
    return f"See: {' '.join(filter(None, ('mobilenets', verb, '--help')))}"


def _complain(sentence: str, status: int) -> int:
    hide_progress()
    print(f"mobilenets: {sentence}", file=sys.stderr)
    return status
