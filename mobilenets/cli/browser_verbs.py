"""`serve`: networks on a page for a phone's browser."""

from pathlib import Path
from typing import Annotated

import typer

from mobilenets.cli import options as asked
from mobilenets.cli.options import DEVICE, network_names, option
from mobilenets.cli.show import show_json


def serve(
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|NETWORK|KIT",
            autocompletion=network_names,
            help="Run folders, whose classifier the page also tries on pictures; networks by "
            "name; .onnx files or checkpoints; or the folder of one kit.",
        ),
    ] = None,
    table: Annotated[
        bool,
        option(
            "--table",
            panel=DEVICE,
            help="Measure a small latency table, for choose --device: a kit, written to kit in the "
            "folder of the results.",
        ),
    ] = False,
    port: Annotated[
        int, option("--port", panel=DEVICE, metavar="N", help="Port of the page; 0: any.")
    ] = 8700,
    lan: Annotated[
        bool,
        option(
            "--lan",
            panel=DEVICE,
            help="Serve on this machine's address on the local network, to whoever has the link; "
            "without it, to this machine and to phones on USB (adb reverse).",
        ),
    ] = False,
    out: Annotated[
        Path | None, asked.out("results", what="Folder of the results that come.")
    ] = None,
    json: asked.Json = False,
) -> None:
    """Serve a page that times networks in a phone's browser.

    Ctrl-C ends it. Results are files for: mobilenets device import.

    Example: mobilenets serve runs/photos mobilenet_v3_small
    """
    from mobilenets.cli import serving_words
    from mobilenets.commands.serve import Serving
    from mobilenets.commands.serve import serve as serve_page

    job = Serving(tuple(networks or ()), table, port, lan, out or Path("results"))
    with serve_page(job, serving_words.received) as page:
        show_json(page.to_json()) if json else serving_words.show(page, lan=lan)
        page.wait()
