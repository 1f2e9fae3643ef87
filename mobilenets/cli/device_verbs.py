"""`device add`, `list`, `show`, `remove`: the devices that networks are measured on."""

from collections.abc import Callable
from typing import Annotated

import typer

from mobilenets.cli import options as asked
from mobilenets.cli.device_import_verb import import_results
from mobilenets.cli.options import DEVICE, device_names, option
from mobilenets.cli.show import show_json, show_table

HELP = "Name the devices that latency is measured on."
DeviceName = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=device_names, help="What the device is called."),
]


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the device.")],
    address: Annotated[
        str,
        typer.Argument(metavar="ADDRESS", help="ssh:user@host, or ssh:user@host:port."),
    ],
    python: Annotated[
        str,
        option(
            "--python",
            panel=DEVICE,
            metavar="PATH",
            help="The Python interpreter there, 3.10 or later, with numpy and the runtime.",
        ),
    ] = "python3",
    json: asked.Json = False,
) -> None:
    """Name a device that ssh reaches, and print what it is.

    The system's ssh connects with your key; no password is asked for.

    Example: mobilenets device add pi ssh:pi@192.168.1.7
    """
    from mobilenets.cli import device_pages
    from mobilenets.commands.known_devices import Adding, add_device

    found = add_device(Adding(name, address, python))
    show_json(found) if json else device_pages.show(found)


def list_all(json: asked.Json = False) -> None:
    """List the devices.

    Example: mobilenets device list
    """
    from mobilenets.commands.known_devices import list_devices

    found = list_devices()
    if json:
        return show_json(found)
    keys = ["name", "kind", "address"]
    return show_table(keys, [[one[key] or "-" for key in keys] for one in found])


def show(name: DeviceName, json: asked.Json = False) -> None:
    """Print what a device is: its machine, its Python and its runtimes.

    Example: mobilenets device show pi
    """
    from mobilenets.cli import device_pages
    from mobilenets.commands.known_devices import show_device

    found = show_device(name)
    return show_json(found) if json else device_pages.show(found)


def remove(name: DeviceName, json: asked.Json = False) -> None:
    """Forget a device. Its latency tables stay.

    Example: mobilenets device remove pi
    """
    from mobilenets.devices.registry import remove_device

    remove_device(name)
    return show_json({"removed": name}) if json else None


VERBS: dict[str, Callable[..., None]] = {
    "add": add,
    "import": import_results,
    "list": list_all,
    "show": show,
    "remove": remove,
}
