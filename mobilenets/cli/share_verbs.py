"""`push`, `pull`, `shard`: networks and images for other machines."""

from pathlib import Path
from typing import Annotated

import typer

from mobilenets.cli import options as asked
from mobilenets.cli.options import OUTPUT, option
from mobilenets.cli.show import show_json


def push(
    source: Annotated[
        Path, typer.Argument(metavar="FILE|RUN", help="A checkpoint, or a run folder.")
    ],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A Hub repository.")],
    public: Annotated[
        bool, option("--public", panel=OUTPUT, help="Make a new repository public.")
    ] = False,
) -> None:
    """Upload a checkpoint or a run to the Hugging Face Hub.

    Example: mobilenets push runs/digits me/digits
    """
    from mobilenets.nn.pretrained import push as push_network

    print(push_network(source, repo, private=not public))


def pull(
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="A Hub repository that push made.")
    ],
    out: Annotated[Path | None, asked.out("one in the cache", what="Folder of the files.")] = None,
) -> None:
    """Download a network from the Hugging Face Hub.

    Checksums are verified; its folder is printed.

    Example: mobilenets pull me/digits --out digits/
    """
    from mobilenets.nn.pretrained import pull as pull_network

    print(pull_network(repo, out))


def shard(
    data: asked.Data,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    size: Annotated[
        str, option("--size", panel=OUTPUT, metavar="BYTES", help="Most bytes in a shard.")
    ] = "100MB",
    count: Annotated[
        int | None,
        option(
            "--count",
            panel=OUTPUT,
            metavar="N",
            help="Most images in a shard.  [default: as many as fit into --size]",
        ),
    ] = None,
    json: asked.Json = False,
) -> None:
    """Write images as WebDataset shards, which every command reads.

    The same command resumes an interrupted one.

    Example: mobilenets shard photos/ shards/ --size 100MB
    """
    from mobilenets.archs import Budget
    from mobilenets.commands.shard import Sharding
    from mobilenets.commands.shard import shard as shard_images
    from mobilenets.data import ShardSize

    limit = Budget.parse(size=size).size_bytes or 0
    index = shard_images(Sharding(data, out, ShardSize(limit, count)))
    if json:
        return show_json(index)
    skipped = f", {len(index['skipped'])} skipped" if index["skipped"] else ""
    return print(f"{len(index['shards'])} shards of {index['images']:,} images{skipped}: {out}")
