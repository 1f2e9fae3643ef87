"""`mobilenets VERB`: parse, call one library function, print.

Exit status: 0 done (and verified and within budget), 1 a user's mistake, 2 no network fits,
3 the finished artifact misses a limit, or may miss it on so noisy a machine, or fails verification.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from mobilenets.archs import ARCHS, Budget, cost, get_arch, with_head
from mobilenets.cli.old_names import by_new_names
from mobilenets.cli.refusals import close_stdout, refused
from mobilenets.cli.show import print_anything, show_json, show_progress, show_table
from mobilenets.errors import MobileNetsError, NoFitError
from mobilenets.processes.openmp import spin_briefly

# What a command's minutes count from.
STARTED = time.monotonic()
NO_FIT, MISSED = 2, 3
# Typer brings a click of its own or uses the installed one; this is the base of either's.
_USAGE_ERROR: Any = typer.BadParameter.__base__
_HELP = """Images and a budget in; the right-sized MobileNet out: chosen, trained, exported and
checked on your data and your device."""

app = typer.Typer(
    help=_HELP, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
Name = Annotated[str, typer.Argument(help="A network, such as mobilenet_v3_small.")]
Trained = Annotated[
    Path, typer.Argument(metavar="RUN|CHECKPOINT", help="A run folder or its checkpoint.")
]
Network = Annotated[
    Path,
    typer.Argument(metavar="FILE|RUN", help="An artifact or checkpoint, or a run that has one."),
]
TrainedOn = Annotated[str, typer.Argument(help="The images it was trained on.")]
Width = Annotated[float | None, typer.Option(help="Channel multiplier.  [default: 1]")]
Resolution = Annotated[
    str | None,
    typer.Option(help="Image side in pixels, or height x width: 512x1024.  [default: 224]"),
]
ImageSize = Annotated[
    int | None, typer.Option(help="Short side of your images, if below 224 pixels.")
]
Runtime = Annotated[
    str,
    typer.Option(help="One or more (a,b-int8: in 8-bit integers); auto: all that are installed."),
]
Int8 = Annotated[bool, typer.Option("--int8", help="Consider each network in 8-bit integers, too.")]
Threads = Annotated[int, typer.Option(help="Threads the network runs on.")]
Latency = Annotated[str | None, typer.Option(help="Limit on the p50 latency: 5ms.")]
Macs = Annotated[str | None, typer.Option(help="Limit on the multiply-adds: 100M.")]
Params = Annotated[str | None, typer.Option(help="Limit on the parameters: 2M.")]
Size = Annotated[str | None, typer.Option(help="Limit on the artifact's file: 4MB.")]
Weights = Annotated[
    str,
    typer.Option(
        help="Start from: torchvision, timm, keras, package (each also with :TAG), hf:OWNER/NAME, "
        "a file; none: random weights; auto: for photographs the best published ones that can be "
        "had (cache, installed package, download), for other images none."
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="from_scratch, small_images, fine_tune, few_images, modern, paper_v1, paper_v2, "
        "paper_v3.  [default: with weights fine_tune, or few_images for fewer than 40 a class; "
        "else small_images for images of at most 32 pixels, from_scratch for others]",
    ),
]
TeacherFile = Annotated[
    Path | None, typer.Option("--teacher", help="A checkpoint whose answers to imitate.")
]
Flip = Annotated[
    bool | None,
    typer.Option("--flip/--no-flip", help="Mirrored images mean the same.  [default: by data]"),
]
Mixed = Annotated[
    bool | None,
    typer.Option("--mixed/--no-mixed", help="Mixed precision, on GPUs only.  [default: on]"),
]
Task = Annotated[
    str | None,
    typer.Option(help="classification, or attributes that are there or not.  [default: by data]"),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW:HIGH",
        help="Values of 16-bit and float grey that are black and white.  [default: by the training "
        "images]",
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        metavar="crop|stretch",
        help="Images that are not square: crop cuts the centre, stretch resizes them whole.  "
        "[default: by the training images]",
    ),
]
ClassWeights = Annotated[
    str | None,
    typer.Option(
        help="balanced: weigh each class's loss by one over its training images; none.  "
        "[default: none]"
    ),
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Start anew; what the run folder holds goes to its earlier/."),
]
Memory = Annotated[str | None, typer.Option(help="Limit on peak activations, fp32: 1.5MB.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mobilenets {version('mobilenets')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """What can be said before a verb."""


@app.command("list")
def list_networks(
    weights: Annotated[
        bool, typer.Option("--weights", help="The published weights, with their accuracy.")
    ] = False,
    json: Json = False,
) -> None:
    """List the networks.  Example: mobilenets list"""
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


@app.command("cost")
def print_cost(
    name: Name,
    width: Width = None,
    rule: Annotated[
        str, typer.Option(help="Whose width rule: paper, torchvision, timm, keras.")
    ] = "paper",
    resolution: Resolution = None,
    classes: Annotated[
        int | None,
        typer.Option(help="Number of classes.  [default: 1000; ssdlite 91; lraspp, raspp 19]"),
    ] = None,
    head: Annotated[
        str,
        typer.Option(
            help="What is made of its feature maps, as the papers have it: classify, ssdlite, "
            "lraspp, raspp."
        ),
    ] = "classify",
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Every layer.")] = False,
    splits: Annotated[
        int | None, typer.Option(help="Peak memory with bottlenecks in 1, 2, 4, ... slices.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the MACs, parameters, bytes and peak memory of NAME.

    Example: mobilenets cost mobilenet_v3_large --width 0.75
    """
    from mobilenets.cli import costs

    arch = get_arch(name, width=width, rule=rule, resolution=resolution)
    arch = with_head(arch, head, classes)
    if json:
        return show_json(costs.record(arch, splits=splits))
    return costs.show(arch, per_layer=per_layer, splits=splits)


@app.command()
def runtimes(json: Json = False) -> None:
    """List the runtimes: which are installed, their versions and precisions.

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


@app.command()
def latency(
    targets: Annotated[
        list[str], typer.Argument(metavar="NAME|FILE...", help="Networks or their files.")
    ],
    compare: Annotated[
        bool, typer.Option("--compare", help="Also the ratio to the first, turn by turn.")
    ] = False,
    width: Width = None,
    resolution: Resolution = None,
    runtime: Runtime = "onnxruntime",
    int8: Int8 = False,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Measure networks on this machine, in turns, in processes of their own.

    Example: mobilenets latency mobilenet_v2 mobilenet_v3_small --compare
    """
    from mobilenets.cli import latencies
    from mobilenets.measuring.target import measure_targets
    from mobilenets.runtimes import parse_engines

    found = measure_targets(
        targets, width=width, resolution=resolution, engines=parse_engines(runtime, int8=int8),
        threads=threads,
    )  # fmt: skip
    return latencies.show(found, compared=compare, json=json)


@app.command()
def table(
    runtime: Annotated[str, typer.Option(help="The runtime to measure in.")] = "onnxruntime",
    threads: Threads = 1,
    image_size: ImageSize = None,
    json: Json = False,
) -> None:
    """Build this machine's latency table, and state its error; interrupted, it goes on.

    Example: mobilenets table --runtime onnxruntime --threads 1
    """
    from mobilenets.choosing.table_build import build_table
    from mobilenets.cli import tables

    record = build_table(runtime, threads=threads, image_size=image_size).to_json()
    return show_json(record) if json else tables.show(record)


@app.command()
def choose(
    latency: Latency = None,
    macs: Macs = None,
    params: Params = None,
    size: Size = None,
    memory: Memory = None,
    runtime: Runtime = "onnxruntime",
    int8: Int8 = False,
    threads: Threads = 1,
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 1000,
    image_size: ImageSize = None,
    json: Json = False,
) -> None:
    """Choose the network that meets a budget on this machine.

    Example: mobilenets choose --latency 5ms --params 4M
    """
    from mobilenets.cli import choices
    from mobilenets.commands.choose import Choosing
    from mobilenets.commands.choose import choose as choose_network
    from mobilenets.runtimes import parse_engines

    budget = Budget.parse(latency=latency, macs=macs, params=params, size=size, memory=memory)
    engines = tuple(parse_engines(runtime, int8=int8))
    choice = choose_network(Choosing(budget, engines, threads, classes, image_size))
    return show_json(choice.to_json()) if json else choices.show(choice)


@app.command()
def tradeoff(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN", help="A run of adapt, and others to draw beside it, instead."
        ),
    ] = None,
    runtime: Runtime = "auto",
    int8: Int8 = False,
    threads: Threads = 1,
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 1000,
    image_size: ImageSize = None,
    out: Annotated[
        Path | None, typer.Option(help="The page.  [default: tradeoff.html, in RUN if given]")
    ] = None,
    json: Json = False,
) -> None:
    """Draw expected accuracy against latency, for every network in each runtime; or the family of
    an adapted RUN against its price, beside the width multiplier's.

    Example: mobilenets tradeoff --runtime onnxruntime,openvino
    """
    from mobilenets.commands.tradeoff import Drawing
    from mobilenets.commands.tradeoff import tradeoff as draw
    from mobilenets.runtimes import parse_engines

    engines = () if runs else tuple(parse_engines(runtime, int8=int8))
    drawn = draw(Drawing(tuple(runs or ()), engines, threads, classes, image_size, out))
    return show_json(drawn.record) if json else print(drawn.page)


@app.command()
def fit(
    data: Annotated[str, typer.Argument(help="Folder, CSV, or: digits, fashion-mnist.")],
    latency: Latency = None,
    macs: Macs = None,
    params: Params = None,
    size: Size = None,
    memory: Memory = None,
    runtime: Runtime = "onnxruntime",
    int8: Int8 = False,
    threads: Threads = 1,
    weights: Weights = "auto",
    recipe: RecipeName = None,
    teacher: TeacherFile = None,
    task: Task = None,
    grey_range: Range = None,
    resize: Resize = None,
    epochs: Annotated[int | None, typer.Option(help="Train for exactly so many.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="For all of it: reading, choosing, training, export, verification.  [default: the "
            "recipe's]"
        ),
    ] = None,
    flip: Flip = None,
    mixed: Mixed = None,
    class_weights: ClassWeights = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Train so many candidates briefly, and take the best; 1: none.  [default: 4, "
            "where the minutes are few and no weights are given]"
        ),
    ] = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Choose a larger network, and shrink it (NetAdapt).")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.  [default: runs/DATA-LIMITS]")
    ] = None,
    restart: Restart = False,
    seed: Annotated[int, typer.Option(help="Of the split and the training.")] = 0,
    json: Json = False,
) -> None:
    """Choose, train, export, verify and report; the same command resumes a killed run.

    Example: mobilenets fit photos/ --latency 5ms
    """
    from mobilenets.commands.fit import Fitting
    from mobilenets.commands.fit import fit as fit_network
    from mobilenets.commands.fit_adapted import fit_adapted
    from mobilenets.data import parse_reading
    from mobilenets.runtimes import parse_engines
    from mobilenets.train import How, Limits

    budget = Budget.parse(latency=latency, macs=macs, params=params, size=size, memory=memory)
    job = Fitting(
        data, budget, out=out, threads=threads, seed=seed, restart=restart,
        engines=tuple(parse_engines(runtime, int8=int8)),
        limits=Limits(epochs, minutes, flip, None, mixed, class_weights),
        how=How(weights, recipe, teacher, task, trials, parse_reading(grey_range, resize)),
    )  # fmt: skip
    if adapt:
        return _show_adapted(fit_adapted(job), json=json)
    run = fit_network(job, started=STARTED)
    if json:
        show_json(run.summary)
    else:
        print(run.verdict())
    if not run.accepted:
        print("; ".join(run.summary["complaints"]), file=sys.stderr)
        raise typer.Exit(MISSED)
    return None


@app.command()
def adapt(
    source: Trained,
    data: TrainedOn,
    latency: Latency = None,
    macs: Macs = None,
    params: Params = None,
    size: Size = None,
    memory: Memory = None,
    runtime: Annotated[str, typer.Option(help="The runtime it is for.")] = "onnxruntime",
    threads: Threads = 1,
    step: Annotated[float, typer.Option(help="Part of the start's price cut first.")] = 0.025,
    decay: Annotated[float, typer.Option(help="Of that part, from step to step.")] = 0.96,
    kinds: Annotated[
        str, typer.Option(help="Edits proposed: expand, width, kernel, se, row.")
    ] = "expand,width,se,row",
    importance: Annotated[str, typer.Option(help="Which filters stay: l2, bn, taylor.")] = "l2",
    rule: Annotated[
        str, typer.Option(help="v3: least loss per price saved; paper: least loss.")
    ] = "v3",
    screen: Annotated[
        str, typer.Option(help="How many proposals of a step are trained; or: all.")
    ] = "4",
    short_steps: Annotated[int, typer.Option(help="Batches in a short training.")] = 50,
    long_epochs: Annotated[int, typer.Option(help="Epochs at the end.")] = 10,
    distill: Annotated[
        bool, typer.Option("--distill", help="Distill from the starting network, as the teacher.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Evaluate proposals in so many processes (Ray).")
    ] = 0,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Or on this Ray cluster.")
    ] = None,
    member: Annotated[
        int | None, typer.Option(help="Only deliver this member of a finished RUN; 0: its start.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.  [default: runs/SOURCE-LIMIT]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the adaptation.")] = 0,
    json: Json = False,
) -> None:
    """Shrink a trained network to one limit by NetAdapt; the same command resumes a killed run.

    Example: mobilenets adapt runs/photos photos/ --macs 20M
    """
    from mobilenets.cli import adapting
    from mobilenets.commands.adapt import Adaptation
    from mobilenets.commands.adapt import adapt as adapt_network
    from mobilenets.commands.adapt_member import Member, adapt_member
    from mobilenets.prune import Settings, Workers
    from mobilenets.runtimes import Engine

    budget = Budget.parse(latency=latency, macs=macs, params=params, size=size, memory=memory)
    engine = Engine.parse(runtime)
    if member is not None:
        record = adapt_member(Member(source, member, data, engine, threads, long_epochs))
    else:
        settings = Settings(
            step=step, decay=decay, kinds=tuple(kinds.split(",")), importance=importance,
            rule=rule, screen=adapting.screen(screen), short_steps=short_steps, distill=distill,
            seed=seed,
        )  # fmt: skip
        record = adapt_network(
            Adaptation(
                source, data, budget, engine=engine, threads=threads, settings=settings,
                long_epochs=long_epochs, workers=Workers(workers, ray), out=out,
            )
        )  # fmt: skip
    return _show_adapted(record, json=json)


@app.command()
def quantize(
    source: Trained,
    data: TrainedOn,
    runtime: Annotated[str, typer.Option(help="onnxruntime or openvino.")] = "onnxruntime",
    threads: Threads = 1,
    max_drop: Annotated[
        float,
        typer.Option(
            metavar="POINTS", help="Largest loss of accuracy that is accepted, in points."
        ),
    ] = 1.0,
    smaller: Annotated[
        bool, typer.Option("--smaller", help="Take int8 for its size, even if it is not faster.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.  [default: runs/SOURCE-int8]")
    ] = None,
    json: Json = False,
) -> None:
    """Quantize a trained network to int8, and keep it where it is faster and as accurate.

    Example: mobilenets quantize runs/photos photos/
    """
    from mobilenets.cli import quantizing
    from mobilenets.commands.quantize import Quantization
    from mobilenets.commands.quantize import quantize as quantize_network
    from mobilenets.runtimes import Engine

    engine = Engine.parse(runtime)
    record = quantize_network(Quantization(source, data, engine, threads, max_drop, smaller, out))
    show_json(record) if json else quantizing.show(record)
    _end(record)


@app.command()
def train(
    name: Name,
    data: Annotated[str, typer.Argument(help="Folder, CSV, or: digits, fashion-mnist.")],
    width: Width = None,
    resolution: Resolution = None,
    weights: Weights = "auto",
    recipe: RecipeName = None,
    teacher: TeacherFile = None,
    task: Task = None,
    grey_range: Range = None,
    resize: Resize = None,
    epochs: Annotated[int | None, typer.Option(help="Train for exactly so many.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train for at most so long.  [default: the recipe's]")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate.  [default: the recipe's]")
    ] = None,
    flip: Flip = None,
    mixed: Mixed = None,
    class_weights: ClassWeights = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.  [default: runs/DATA-NETWORK]")
    ] = None,
    restart: Restart = False,
    seed: Annotated[int, typer.Option(help="Of the split and the training.")] = 0,
    json: Json = False,
) -> None:
    """Train NAME on DATA; the same command resumes a killed run.

    Example: mobilenets train mobilenet_v2 photos/ --width 0.5 --weights timm
    """
    from mobilenets.cli import training
    from mobilenets.commands.train import Training, train_named
    from mobilenets.data import parse_reading
    from mobilenets.train import Limits

    limits = Limits(epochs, minutes, flip, lr, mixed, class_weights)
    record = train_named(
        Training(
            name,
            data,
            width,
            resolution,
            weights,
            recipe,
            teacher,
            limits,
            seed,
            out,
            task,
            parse_reading(grey_range, resize),
            restart,
        )
    )
    return show_json(record) if json else training.show(record)


@app.command("eval")
def evaluate(
    file: Network,
    data: Annotated[str, typer.Argument(help="Folder, CSV, or built-in name.")],
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Leave out classes that FILE does not know.")
    ] = False,
    json: Json = False,
) -> None:
    """Print how good FILE is on the images in DATA that did not train it.

    Example: mobilenets eval runs/digits/model.onnx digits
    """
    from mobilenets.commands.evaluate import Evaluation
    from mobilenets.commands.evaluate import evaluate as evaluate_network

    found = evaluate_network(Evaluation(file, data, known_only))
    return show_json(found.to_json()) if json else print(found.score.words())


@app.command()
def predict(
    file: Network,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    json: Json = False,
) -> None:
    """Print the most likely class of each image, or the probability of each attribute. What cannot
    be read is named, and the rest goes on; the exit status is then 1.

    Example: mobilenets predict runs/digits photo.png photos/
    """
    from mobilenets.cli import predicting
    from mobilenets.commands.predict import Predicting
    from mobilenets.commands.predict import predict as predict_images

    if not predicting.show(predict_images(Predicting(file, tuple(images))), json=json):
        raise typer.Exit(1)


@app.command()
def export(
    source: Trained,
    data: Annotated[
        str | None, typer.Argument(help="The images it was trained on: to verify on, and for int8.")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="One or more (a,b); auto: all that are installed.")
    ] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="fp32 or int8.")] = "fp32",
    threads: Threads = 1,
    out: Annotated[Path | None, typer.Option(help="Folder.  [default: the checkpoint's]")] = None,
    json: Json = False,
) -> None:
    """Write a trained network as files for one runtime or several, each verified: on DATA, or
    without it on random images.

    Example: mobilenets export runs/photos photos/ --runtime litert,openvino
    """
    from mobilenets.cli import exporting
    from mobilenets.commands.export import Exporting, engines_in
    from mobilenets.commands.export import export as export_network

    job = Exporting(source, engines_in(runtime, precision), data, threads, out)
    record = export_network(job)
    show_json(record) if json else exporting.show(record)
    failed = [one for one in record["files"] if not one["verified"]]
    for one in failed:
        print(f"mobilenets: {one['file']}: {'; '.join(one['complaints'])}", file=sys.stderr)
    if failed:
        raise typer.Exit(1 if any("error" in one for one in failed) else MISSED)


@app.command()
def push(
    source: Annotated[Path, typer.Argument(metavar="FILE|RUN", help="A checkpoint or run folder.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A Hub repository.")],
    public: Annotated[
        bool, typer.Option("--public", help="A new repository can be seen by all.")
    ] = False,
) -> None:
    """Put a checkpoint, or what is shared of a run, on the Hugging Face Hub.

    Example: mobilenets push runs/digits me/digits
    """
    from mobilenets.nn.pretrained import push as push_network

    print(push_network(source, repo, private=not public))


@app.command()
def pull(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A Hub repository of ours.")],
    out: Annotated[Path | None, typer.Option(help="Folder.  [default: one in the cache]")] = None,
) -> None:
    """Get a network that was pushed, every file's hash verified, and print its folder.

    Example: mobilenets pull me/digits --out digits/
    """
    from mobilenets.nn.pretrained import pull as pull_network

    print(pull_network(repo, out))


@app.command()
def shard(
    data: Annotated[str, typer.Argument(help="Folder, CSV, or: digits, fashion-mnist.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    size: Annotated[str, typer.Option(help="The most bytes in a shard.")] = "100MB",
    count: Annotated[int | None, typer.Option(help="The most images in a shard.")] = None,
    json: Json = False,
) -> None:
    """Write DATA as WebDataset shards, which every command takes; interrupted, it goes on.

    Example: mobilenets shard photos/ shards/ --size 100MB
    """
    from mobilenets.commands.shard import Sharding
    from mobilenets.commands.shard import shard as shard_images
    from mobilenets.data import ShardSize

    limit = Budget.parse(size=size).size_bytes or 0
    index = shard_images(Sharding(data, out, ShardSize(limit, count)))
    if json:
        return show_json(index)
    skipped = f", {len(index['skipped'])} skipped" if index["skipped"] else ""
    return print(f"{len(index['shards'])} shards of {index['images']:,} images{skipped}: {out}")


@app.command("report")
def write_report(run: Annotated[Path, typer.Argument(help="A run folder of `fit`.")]) -> None:
    """Write report.html and README.md of a finished run anew.

    Example: mobilenets report runs/digits
    """
    from mobilenets.deliver.run_report import report

    print(report(run))


def _show_adapted(record: dict[str, Any], *, json: bool) -> None:
    """Print it, and end as it ended."""
    from mobilenets.cli import adapting

    show_json(record) if json else adapting.show(record)
    _end(record)


def _end(record: dict[str, Any]) -> None:
    """With 3 where the artifact misses a limit or was not verified."""
    if not (record["verified"] and record["within_budget"]):
        print("; ".join(record["complaints"]), file=sys.stderr)
        raise typer.Exit(MISSED)


def main() -> None:
    """Run the command line; every user's mistake is one sentence on stderr. Of several processes
    that torchrun starts with it, the first runs it, and the others train with that."""
    spin_briefly()
    print_anything()
    show_progress()
    sys.exit(_status(_led if "TORCHELASTIC_RUN_ID" in os.environ else _run))


def _run() -> int:
    status = _status(lambda: app(by_new_names(sys.argv[1:]), standalone_mode=False) or 0)
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
        return _complain(f"{error.format_message()} See mobilenets --help.", 1)
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


def _complain(sentence: str, status: int) -> int:
    print(f"mobilenets: {sentence}", file=sys.stderr)
    return status
