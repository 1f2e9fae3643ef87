"""`list`, `cost`, `runtimes`, `latency`, `table`, `choose`, `tradeoff`: networks as they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilenets.cli import options as asked
from mobilenets.cli.options import DATA, OUTPUT, network_names, one_of, option
from mobilenets.cli.show import show_json, show_table

if TYPE_CHECKING:
    from mobilenets.runtimes import Engine


def list_networks(
    weights: Annotated[
        bool,
        option("--weights", panel=OUTPUT, help="List the published weights and their accuracy."),
    ] = False,
    json: asked.Json = False,
) -> None:
    """List the networks, with their MACs and parameters.

    Example: mobilenets list
    """
    from mobilenets.archs import ARCHS, cost

    if weights:
        from mobilenets.cli.weights import show

        return show(json=json)
    records = []
    for arch in ARCHS.values():
        costs = cost(arch)
        record = {"name": arch.name, "resolution": arch.resolution, "macs": costs.macs}
        records.append(record | {"params": costs.params})
    if json:
        return show_json(records)
    return show_table(list(records[0]), [list(record.values()) for record in records])


def print_cost(
    name: asked.Name,
    width: asked.Width = None,
    rule: Annotated[
        str,
        option(
            "--rule",
            panel="Network",
            metavar="NAME",
            autocompletion=one_of("paper", "torchvision", "timm", "keras"),
            help="Whose rule rounds the channels: paper, torchvision, timm, keras.",
        ),
    ] = "paper",
    resolution: asked.Resolution = None,
    classes: Annotated[
        int | None,
        option(
            "--classes",
            panel="Network",
            metavar="N",
            help="Number of classes.  [default: 1000; ssdlite 91; lraspp and raspp 19]",
        ),
    ] = None,
    head: Annotated[
        str,
        option(
            "--head",
            panel="Network",
            metavar="NAME",
            autocompletion=one_of("classify", "ssdlite", "lraspp", "raspp"),
            help="The head, as in the papers: classify, ssdlite (detection), lraspp or raspp "
            "(segmentation).",
        ),
    ] = "classify",
    per_layer: Annotated[
        bool, option("--per-layer", panel=OUTPUT, help="Print every layer.")
    ] = False,
    splits: Annotated[
        int | None,
        option(
            "--splits",
            panel=OUTPUT,
            metavar="N",
            help="Also the peak memory with each bottleneck computed in 1, 2, 4, ... N slices.",
        ),
    ] = None,
    json: asked.Json = False,
) -> None:
    """Print the MACs, parameters, bytes and peak memory of a network.

    Example: mobilenets cost mobilenet_v3_large --width 0.75
    """
    from mobilenets.archs import get_arch, with_head
    from mobilenets.cli import costs

    arch = get_arch(name, width=width, rule=rule, resolution=resolution)
    arch = with_head(arch, head, classes)
    if json:
        return show_json(costs.record(arch, splits=splits))
    return costs.show(arch, per_layer=per_layer, splits=splits)


def runtimes(json: asked.Json = False) -> None:
    """List the runtimes: which are installed, version, precisions.

    Example: mobilenets runtimes
    """
    from mobilenets.runtimes import describe_runtimes

    records = describe_runtimes()
    if json:
        return show_json(records)
    return show_table(
        ["runtime", "version", "files", "precisions", "to install"],
        [
            [
                one["name"], one["version"] or "-", one["suffix"], ", ".join(one["precisions"]),
                "-" if one["installed"] else one["install"],
            ]
            for one in records
        ],
    )  # fmt: skip


def latency(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK|FILE",
            autocompletion=network_names,
            help="Networks by name, artifacts or checkpoints.",
        ),
    ],
    compare: Annotated[
        bool,
        option("--compare", panel=OUTPUT, help="Also the ratio of each to the first."),
    ] = False,
    width: asked.Width = None,
    resolution: asked.Resolution = None,
    runtime: asked.Runtimes = "onnxruntime",
    int8: asked.Int8 = False,
    threads: asked.Threads = 1,
    device: asked.Device = "local",
    json: asked.Json = False,
) -> None:
    """Measure the latency of networks on this machine or another device, interleaved.

    Example: mobilenets latency mobilenet_v2 mobilenet_v3_small --compare
    """
    from mobilenets.cli import latencies
    from mobilenets.devices.registry import find_device
    from mobilenets.measuring.device import measuring_on
    from mobilenets.measuring.target import measure_targets

    with measuring_on(find_device(device)):
        found = measure_targets(
            targets, width=width, resolution=resolution, engines=_engines(runtime, int8=int8),
            threads=threads,
        )  # fmt: skip
    return latencies.show(found, compared=compare, json=json)


def table(
    runtime: asked.Runtime = "onnxruntime",
    threads: asked.Threads = 1,
    device: asked.Device = "local",
    image_size: asked.ImageSize = None,
    json: asked.Json = False,
) -> None:
    """Measure the latency table of blocks of this machine or another device.

    Prints how far its predictions are from other networks that are measured. The same command
    resumes an interrupted one.

    Example: mobilenets table --runtime onnxruntime --threads 1
    """
    from mobilenets.choosing.table_build import build_table
    from mobilenets.cli import tables
    from mobilenets.devices.registry import find_device
    from mobilenets.measuring.device import measuring_on

    with measuring_on(find_device(device)):
        record = build_table(runtime, threads=threads, image_size=image_size).to_json()
    return show_json(record) if json else tables.show(record)


def choose(
    latency: asked.Latency = None,
    macs: asked.Macs = None,
    params: asked.Params = None,
    size: asked.Size = None,
    memory: asked.Memory = None,
    runtime: asked.Runtimes = "onnxruntime",
    int8: asked.Int8 = False,
    threads: asked.Threads = 1,
    device: asked.Device = "local",
    classes: asked.Classes = 1000,
    image_size: asked.ImageSize = None,
    head: Annotated[
        str,
        option(
            "--head",
            panel=DATA,
            metavar="NAME",
            autocompletion=one_of("classify", "ssdlite"),
            help="classify, or ssdlite: a detector of as many classes.",
        ),
    ] = "classify",
    json: asked.Json = False,
) -> None:
    """Choose the network with the best expected accuracy in a budget.

    Example: mobilenets choose --latency 5ms --params 4M
    """
    from mobilenets.archs import Budget
    from mobilenets.cli import choices
    from mobilenets.cli.limits import check_limits
    from mobilenets.commands.choose import Choosing
    from mobilenets.commands.choose import choose as choose_network
    from mobilenets.devices.registry import find_device
    from mobilenets.measuring.device import measuring_on

    budget = Budget.parse(latency=latency, macs=macs, params=params, size=size, memory=memory)
    with measuring_on(find_device(device)):
        engines = _engines(runtime, int8=int8)
        check_limits(budget, "mobilenets choose", engines[0], threads)
    job = Choosing(budget, engines, threads, classes, image_size, head, device)
    choice = choose_network(job)
    return show_json(choice.to_json()) if json else choices.show(choice)


def tradeoff(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs of adapt to draw instead, the first one's networks beside the others'.",
        ),
    ] = None,
    runtime: asked.Runtimes = "auto",
    int8: asked.Int8 = False,
    threads: asked.Threads = 1,
    device: asked.Device = "local",
    classes: asked.Classes = 1000,
    image_size: asked.ImageSize = None,
    out: Annotated[
        Path | None,
        asked.out("tradeoff.html, in RUN if given", metavar="FILE", what="The page."),
    ] = None,
    json: asked.Json = False,
) -> None:
    """Draw expected accuracy against latency for every network.

    With RUN, draw the networks of that adaptation against what was limited.

    Example: mobilenets tradeoff --runtime onnxruntime,openvino
    """
    from mobilenets.commands.tradeoff import Drawing
    from mobilenets.commands.tradeoff import tradeoff as draw
    from mobilenets.devices.registry import find_device
    from mobilenets.measuring.device import measuring_on

    with measuring_on(find_device(device)):
        engines = () if runs else _engines(runtime, int8=int8)
    drawn = draw(Drawing(tuple(runs or ()), engines, threads, classes, image_size, out, device))
    return show_json(drawn.record) if json else print(drawn.page)


def _engines(words: str, *, int8: bool) -> tuple["Engine", ...]:
    """What `--runtime` and `--int8` mean: "auto" only what the current device has, too."""
    from mobilenets.measuring.device import engines_there
    from mobilenets.runtimes import parse_engines

    engines = parse_engines(words, int8=int8)
    return tuple(engines_there(engines) if words == "auto" else engines)
