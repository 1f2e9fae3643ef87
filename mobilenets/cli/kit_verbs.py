"""`kit` and `verify`: for devices that cannot be reached from here."""

from pathlib import Path
from typing import Annotated

import typer

from mobilenets.cli import options as asked
from mobilenets.cli.ending import ended
from mobilenets.cli.options import OUTPUT, one_of, option
from mobilenets.cli.show import show_json
from mobilenets.errors import MobileNetsError


def kit(
    out: Annotated[
        Path, asked.out("kit", metavar="FOLDER", what="The folder to copy to the device.")
    ] = Path("kit"),
    runtime: asked.Runtime = "onnxruntime",
    threads: asked.Threads = 1,
    image_size: asked.ImageSize = None,
    budget: Annotated[
        str,
        option(
            "--budget",
            panel=OUTPUT,
            metavar="small|full",
            autocompletion=one_of("small", "full"),
            help="small: some blocks and networks, minutes on the device; full: all blocks of "
            "mobilenets table, gigabytes.",
        ),
    ] = "small",
    json: asked.Json = False,
) -> None:
    """Write a kit that measures the latency table of a device which cannot be reached.

    Its README says what to do there. mobilenets device import takes the results.

    Example: mobilenets kit --out kit/ --runtime litert
    """
    if budget not in ("small", "full"):
        raise MobileNetsError(f"--budget is small or full, got {budget!r}")
    from mobilenets.cli import kit_pages
    from mobilenets.commands.kit import Kitting
    from mobilenets.commands.kit import kit as write_kit
    from mobilenets.runtimes import Engine

    job = Kitting(out, Engine.parse(runtime), threads, image_size, budget)  # type: ignore[arg-type]
    record = write_kit(job)
    return show_json(record) if json else kit_pages.show_kit(record)


def verify(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run of fit on a device that is not reached.")
    ],
    results: Annotated[
        Path,
        option(
            "--results",
            panel=OUTPUT,
            metavar="FILE",
            help="The results.json of the run's own kit (RUN/kit), or of its page.",
        ),
    ],
    json: asked.Json = False,
) -> None:
    """Decide on the latency limit of a run by what was measured on its device.

    Example: mobilenets verify runs/digits-latency20ms-phone7 --results results.json
    """
    from mobilenets.commands.verify import verify_run

    found = verify_run(run, results)
    show_json(found.summary) if json else print(found.verdict())
    ended(found.summary)
