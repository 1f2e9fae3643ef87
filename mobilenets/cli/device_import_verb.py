"""`device import`: the results of a kit or of a browser."""

from pathlib import Path
from typing import Annotated

import typer

from mobilenets.cli import options as asked
from mobilenets.cli.options import DEVICE, option
from mobilenets.cli.show import show_json


def import_results(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="The results.json that the device wrote.")
    ],
    name: Annotated[
        str, option("--as", panel=DEVICE, metavar="NAME", help="What to call the device.")
    ],
    json: asked.Json = False,
) -> None:
    """Make the latency table of a device from what was measured there, and name the device.

    Prints the table's error on networks that did not build it.

    Example: mobilenets device import results.json --as phone7
    """
    from mobilenets.cli import kit_pages
    from mobilenets.commands.device_import import import_device

    found = import_device(results, name)
    return show_json(found) if json else kit_pages.show_imported(found)
