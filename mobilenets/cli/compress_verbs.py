"""`adapt` and `quantize`: a trained network, made smaller."""

from pathlib import Path
from typing import Annotated

from mobilenets.cli import options as asked
from mobilenets.cli.display import say
from mobilenets.cli.ending import ended, show_adapted
from mobilenets.cli.options import BUDGET, DEVICE, SEARCH, TRAINING, one_of, option
from mobilenets.cli.show import show_json


def adapt(
    source: asked.Trained,
    data: asked.TrainedOn,
    latency: asked.Latency = None,
    macs: asked.Macs = None,
    params: asked.Params = None,
    size: asked.Size = None,
    memory: asked.Memory = None,
    runtime: asked.Runtime = "onnxruntime",
    threads: asked.Threads = 1,
    device: asked.Device = "local",
    step: Annotated[
        float,
        option(
            "--step",
            panel=SEARCH,
            metavar="FRACTION",
            help="Fraction of the limited quantity (latency, MACs, ...) of the starting network "
            "that the first NetAdapt step removes.",
        ),
    ] = 0.025,
    decay: Annotated[
        float,
        option(
            "--decay",
            panel=SEARCH,
            metavar="FACTOR",
            help="What --step is multiplied by after each step.",
        ),
    ] = 0.96,
    kinds: Annotated[
        str,
        option(
            "--kinds",
            panel=SEARCH,
            metavar="NAMES",
            help="What a proposal may prune: expand (expansion channels), width (channels of a "
            "stage), kernel (kernel size), se (squeeze-and-excite), row (a whole block).",
        ),
    ] = "expand,width,se,row",
    importance: Annotated[
        str,
        option(
            "--importance",
            panel=SEARCH,
            metavar="NAME",
            autocompletion=one_of("l2", "bn", "taylor"),
            help="How filters are ranked for pruning: l2 (norm), bn (batch norm scale), taylor "
            "(gradient times weight).",
        ),
    ] = "l2",
    rule: Annotated[
        str,
        option(
            "--rule",
            panel=SEARCH,
            metavar="NAME",
            autocompletion=one_of("v3", "paper"),
            help="Which proposal a step takes: v3, the least loss gained per quantity saved; "
            "paper, the least loss.",
        ),
    ] = "v3",
    screen: Annotated[
        str,
        option(
            "--screen",
            panel=SEARCH,
            metavar="N",
            help="Proposals of a step that are trained, the best without training; all: every one.",
        ),
    ] = "4",
    short_steps: Annotated[
        int,
        option(
            "--short-steps",
            panel=TRAINING,
            metavar="N",
            help="Batches that a proposal is trained for.",
        ),
    ] = 50,
    long_epochs: Annotated[
        int,
        option(
            "--long-epochs",
            panel=TRAINING,
            metavar="N",
            help="Epochs that the final network is trained for.",
        ),
    ] = 10,
    distill: Annotated[
        bool,
        option(
            "--distill", panel=TRAINING, help="Distill from the starting network, as the teacher."
        ),
    ] = False,
    workers: Annotated[
        int,
        option(
            "--workers",
            panel=SEARCH,
            metavar="N",
            help="Processes that evaluate proposals (Ray); 0: this one.",
        ),
    ] = 0,
    ray: Annotated[
        str | None,
        option(
            "--ray",
            panel=SEARCH,
            metavar="ADDRESS",
            help="Evaluate proposals on this Ray cluster.  [default: on this machine]",
        ),
    ] = None,
    member: Annotated[
        int | None,
        option(
            "--member",
            panel=BUDGET,
            metavar="N",
            help="Instead deliver the network after step N of a finished RUN; 0: the starting "
            "network.",
        ),
    ] = None,
    out: Annotated[Path | None, asked.out("runs/SOURCE-LIMIT")] = None,
    seed: Annotated[
        int, option("--seed", panel=SEARCH, metavar="N", help="Seed of the adaptation.")
    ] = 0,
    json: asked.Json = False,
) -> None:
    """Prune a trained network to one limit by NetAdapt.

    The same command resumes an interrupted one.

    Example: mobilenets adapt runs/photos photos/ --macs 20M
    """
    from mobilenets.archs import Budget
    from mobilenets.runtimes import Engine

    budget = Budget.parse(latency=latency, macs=macs, params=params, size=size, memory=memory)
    engine = Engine.parse(runtime)
    say(f"adapting {source}: loading PyTorch")

    from mobilenets.cli import adapting
    from mobilenets.commands.adapt import Adaptation
    from mobilenets.commands.adapt import adapt as adapt_network
    from mobilenets.commands.adapt_member import Member, adapt_member
    from mobilenets.prune import Settings, Workers

    if member is not None:
        record = adapt_member(Member(source, member, data, engine, threads, long_epochs, device))
        return show_adapted(record, json=json)
    settings = Settings(
        step=step, decay=decay, kinds=tuple(kinds.split(",")), importance=importance,
        rule=rule, screen=adapting.screen(screen), short_steps=short_steps, distill=distill,
        seed=seed,
    )  # fmt: skip
    job = Adaptation(
        source, data, budget, engine=engine, threads=threads, settings=settings,
        long_epochs=long_epochs, workers=Workers(workers, ray), out=out, device=device,
    )  # fmt: skip
    return show_adapted(adapt_network(job), json=json)


def quantize(
    source: asked.Trained,
    data: asked.TrainedOn,
    runtime: Annotated[
        str,
        option(
            "--runtime",
            panel=DEVICE,
            metavar="NAME",
            autocompletion=one_of("onnxruntime", "openvino"),
            help="The runtime that the network is for: onnxruntime or openvino.",
        ),
    ] = "onnxruntime",
    threads: asked.Threads = 1,
    device: asked.Device = "local",
    max_drop: Annotated[
        float,
        option(
            "--max-drop",
            panel=BUDGET,
            metavar="POINTS",
            help="Largest drop of the metric that is accepted, in percentage points.",
        ),
    ] = 1.0,
    smaller: Annotated[
        bool,
        option(
            "--smaller", panel=BUDGET, help="Keep int8 for its smaller file, even if not faster."
        ),
    ] = False,
    out: Annotated[Path | None, asked.out("runs/SOURCE-int8")] = None,
    json: asked.Json = False,
) -> None:
    """Quantize a trained network to int8, if that makes it faster.

    int8 is kept where it is faster on the device and as accurate; else fp32 is.

    Example: mobilenets quantize runs/photos photos/
    """
    from mobilenets.runtimes import Engine

    engine = Engine.parse(runtime)
    say(f"quantizing {source}: loading PyTorch")

    from mobilenets.cli import quantizing
    from mobilenets.commands.quantize import Quantization
    from mobilenets.commands.quantize import quantize as quantize_network

    record = quantize_network(
        Quantization(source, data, engine, threads, max_drop, smaller, out, device)
    )
    show_json(record) if json else quantizing.show(record)
    ended(record)
