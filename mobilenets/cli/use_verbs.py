"""`eval`, `predict`, `export`, `report`: what is done with a trained network."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mobilenets.cli import options as asked
from mobilenets.cli.ending import MISSED
from mobilenets.cli.options import DATA, DEVICE, OUTPUT, device_names, one_of, option, runtime_names
from mobilenets.cli.show import show_json


def evaluate(
    file: asked.Network,
    data: asked.Data,
    known_only: Annotated[
        bool,
        option("--known-only", panel=DATA, help="Leave out classes that the network lacks."),
    ] = False,
    device: Annotated[
        str | None,
        option(
            "--device",
            panel=DEVICE,
            metavar="NAME",
            autocompletion=device_names,
            help="Also measure the latency on this device; local is this machine.  "
            "[default: no latency]",
        ),
    ] = None,
    answers: Annotated[
        bool,
        option("--answers", panel=DEVICE, help="Run the images on --device, not here."),
    ] = False,
    threads: asked.Threads = 1,
    json: asked.Json = False,
) -> None:
    """Print the metric of a network on images that did not train it.

    Example: mobilenets eval runs/digits/model.onnx digits
    """
    from mobilenets.commands.evaluate import Evaluation
    from mobilenets.commands.evaluate import evaluate as evaluate_network

    found = evaluate_network(Evaluation(file, data, known_only, device, threads, answers))
    if json:
        return show_json(found.to_json())
    print(found.score.words())
    if found.latency:
        print(f"p50 {found.latency.p50_ms:.3f} ms on {found.latency.device}")
    return None


def predict(
    file: asked.Network,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="Image files, or folders of them.")
    ],
    draw: Annotated[
        Path | None,
        option(
            "--draw",
            panel=OUTPUT,
            metavar="FOLDER",
            help="Also write copies of the images with what was found drawn into them.",
        ),
    ] = None,
    json: asked.Json = False,
) -> None:
    """Print the most likely class of each image, or its attributes, or the objects in it.

    A file that cannot be read is named on stderr; the exit status is then 1.

    Example: mobilenets predict runs/digits photo.png photos/
    """
    from mobilenets.cli import predicting
    from mobilenets.commands.predict import Predicting
    from mobilenets.commands.predict import predict as predict_images

    found = predict_images(Predicting(file, tuple(images), draw))
    if not predicting.show(found, json=json):
        raise typer.Exit(1)


def export(
    source: asked.Trained,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="The images that the network was trained on: to verify on them, and for int8.",
        ),
    ] = None,
    runtime: Annotated[
        str,
        option(
            "--runtime",
            panel=DEVICE,
            metavar="NAMES",
            autocompletion=runtime_names,
            help="One runtime or several (litert,openvino); auto: all that are installed.",
        ),
    ] = "onnxruntime",
    precision: Annotated[
        str,
        option(
            "--precision",
            panel=DEVICE,
            metavar="fp32|int8",
            autocompletion=one_of("fp32", "int8"),
            help="fp32, or quantized to int8, which takes DATA.",
        ),
    ] = "fp32",
    threads: asked.Threads = 1,
    out: Annotated[Path | None, asked.out("the checkpoint's", what="Folder of the files.")] = None,
    json: asked.Json = False,
) -> None:
    """Export a trained network for runtimes, and verify each file.

    Without DATA the files are verified on random images.

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


def write_report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run of fit.")],
) -> None:
    """Write report.html and README.md of a finished run again.

    Example: mobilenets report runs/digits
    """
    from mobilenets.deliver.run_report import report

    print(report(run))
