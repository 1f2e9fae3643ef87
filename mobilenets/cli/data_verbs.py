"""`look`: what is done with images alone."""

from pathlib import Path
from typing import Annotated

from mobilenets.cli import options as asked
from mobilenets.cli.options import OUTPUT, option
from mobilenets.cli.show import show_json


def look(
    data: asked.Data,
    task: asked.Task = None,
    count: Annotated[
        int, option("--count", panel=OUTPUT, metavar="N", help="Number of images on the page.")
    ] = 20,
    seed: asked.Seed = 0,
    out: Annotated[Path, asked.out("look.html", metavar="FILE", what="The page.")] = Path(
        "look.html"
    ),
    json: asked.Json = False,
) -> None:
    """Write a page of training images with their labels, boxes drawn.

    Also on the page: images of each class, sizes of boxes, and what is odd about the data.

    Example: mobilenets look photos/ --task detection
    """
    from mobilenets.commands.look import Looking
    from mobilenets.commands.look import look as look_at

    found = look_at(Looking(data, task, out, count, seed))
    if json:
        return show_json(found.record | {"page": str(found.page)})
    print(*found.record["notes"], found.page, sep="\n")
    return None
