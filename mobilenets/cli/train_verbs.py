"""`fit` and `train`: images in, a trained network out."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from mobilenets.cli import options as asked
from mobilenets.cli.display import say
from mobilenets.cli.ending import STARTED, ended, show_adapted
from mobilenets.cli.given import given_options
from mobilenets.cli.options import SEARCH, TRAINING, option
from mobilenets.cli.show import show_json

# What is no option of another run like it: the limits are said anew.
_OF_THIS_RUN = ("latency", "macs", "params", "size", "memory", "device", "out", "restart", "json")


def fit(
    context: typer.Context,
    data: asked.Data,
    latency: asked.Latency = None,
    macs: asked.Macs = None,
    params: asked.Params = None,
    size: asked.Size = None,
    memory: asked.Memory = None,
    runtime: asked.Runtimes = "onnxruntime",
    int8: asked.Int8 = False,
    threads: asked.Threads = 1,
    device: asked.Device = "local",
    weights: asked.Weights = "auto",
    recipe: asked.RecipeName = None,
    teacher: asked.TeacherFile = None,
    task: asked.Task = None,
    grey_range: asked.GreyRange = None,
    resize: asked.Resize = None,
    epochs: asked.Epochs = None,
    minutes: Annotated[
        float | None,
        option(
            "--minutes",
            panel=TRAINING,
            metavar="MINUTES",
            help="Limit on the whole command: reading, choosing, training, export, verification.  "
            "[default: the recipe's]",
        ),
    ] = None,
    flip: asked.Flip = None,
    mixed: asked.Mixed = None,
    class_weights: asked.ClassWeights = None,
    trials: Annotated[
        int | None,
        option(
            "--trials",
            panel=SEARCH,
            metavar="N",
            help="Candidates to train briefly before the best is trained on (successive halving); "
            "1: no trials.  [default: 4 where --minutes are few and no weights are given]",
        ),
    ] = None,
    adapt: Annotated[
        bool,
        option(
            "--adapt",
            panel=SEARCH,
            help="Choose a larger network, and prune it to the budget by NetAdapt.",
        ),
    ] = False,
    out: Annotated[Path | None, asked.out("runs/DATA-LIMITS")] = None,
    restart: asked.Restart = False,
    seed: asked.Seed = 0,
    json: asked.Json = False,
) -> None:
    """Choose, train, export and verify a network within a budget.

    A report and a model card tell how good it is on your images. The same command resumes an
    interrupted one.

    Example: mobilenets fit photos/ --latency 5ms
    """
    from mobilenets.archs import Budget
    from mobilenets.cli.limits import check_limits
    from mobilenets.devices.registry import find_device
    from mobilenets.measuring.device import engines_there, measuring_on
    from mobilenets.runtimes import parse_engines

    budget = Budget.parse(latency=latency, macs=macs, params=params, size=size, memory=memory)
    engines = tuple(parse_engines(runtime, int8=int8))
    with measuring_on(find_device(device)):
        engines = tuple(engines_there(engines)) if runtime == "auto" else engines
        check_limits(budget, f"mobilenets fit {quote(data)}", engines[0], threads)
    say(f"fitting a network to {data}: loading PyTorch")

    from mobilenets.commands.fit import Fitting
    from mobilenets.commands.fit import fit as fit_network
    from mobilenets.commands.fit_adapted import fit_adapted
    from mobilenets.data import parse_reading
    from mobilenets.train import How, Limits

    job = Fitting(
        data, budget, out=out, threads=threads, seed=seed, restart=restart, engines=engines,
        device=device,
        limits=Limits(epochs, minutes, flip, None, mixed, class_weights),
        how=How(weights, recipe, teacher, task, trials, parse_reading(grey_range, resize)),
        typed=given_options(context, but=_OF_THIS_RUN),
    )  # fmt: skip
    if adapt:
        return show_adapted(fit_adapted(job), json=json)
    run = fit_network(job, started=STARTED)
    if json:
        show_json(run.summary)
    else:
        print(run.verdict())
    return ended(run.summary)


def train(
    name: asked.Name,
    data: asked.Data,
    width: asked.Width = None,
    resolution: asked.Resolution = None,
    weights: asked.Weights = "auto",
    recipe: asked.RecipeName = None,
    teacher: asked.TeacherFile = None,
    task: asked.Task = None,
    grey_range: asked.GreyRange = None,
    resize: asked.Resize = None,
    epochs: asked.Epochs = None,
    minutes: Annotated[
        float | None,
        option(
            "--minutes",
            panel=TRAINING,
            metavar="MINUTES",
            help="Limit on the training.  [default: the recipe's]",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        option(
            "--lr",
            panel=TRAINING,
            metavar="RATE",
            help="Peak learning rate.  [default: the recipe's]",
        ),
    ] = None,
    flip: asked.Flip = None,
    mixed: asked.Mixed = None,
    class_weights: asked.ClassWeights = None,
    out: Annotated[Path | None, asked.out("runs/DATA-NETWORK")] = None,
    restart: asked.Restart = False,
    seed: asked.Seed = 0,
    json: asked.Json = False,
) -> None:
    """Train one network that you name on your images.

    The same command resumes an interrupted one.

    Example: mobilenets train mobilenet_v2 photos/ --width 0.5 --weights timm
    """
    from mobilenets.archs import get_arch

    get_arch(name, width=width, resolution=resolution)  # a name that nobody knows is said at once
    say(f"training {name} on {data}: loading PyTorch")

    from mobilenets.cli import training
    from mobilenets.commands.train import Training, train_named
    from mobilenets.data import parse_reading
    from mobilenets.train import Limits

    limits = Limits(epochs, minutes, flip, lr, mixed, class_weights)
    record = train_named(
        Training(
            name, data, width, resolution, weights, recipe, teacher, limits, seed, out, task,
            parse_reading(grey_range, resize), restart,
        )
    )  # fmt: skip
    return show_json(record) if json else training.show(record)
