"""The commands as a user runs them: exit status, stdout and stderr of the whole program."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import mobilenets
from mobilenets.choosing.typical import Typical
from mobilenets.cli import app as app_module
from mobilenets.cli.app import app
from mobilenets.cli.old_names import by_new_names, general_first
from mobilenets.cli.reference_page import reference
from mobilenets.commands import fit as pipeline
from mobilenets.deliver.finished import Run
from mobilenets.measuring import Latency
from mobilenets.runtimes import RUNTIMES


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in this process: one of its own would import PyTorch each time."""
    out, err = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["mobilenets", *arguments])
        status = app_module._run()
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def test_the_version_is_the_package_s():
    done = run("--version")

    assert (done.returncode, done.stdout) == (0, f"mobilenets {mobilenets.__version__}\n")


def test_cost_prints_what_the_paper_says():
    done = run("cost", "mobilenet_v3_large", "--width", "0.75")

    assert done.returncode == 0
    assert done.stdout == (
        "mobilenet_v3_large_0.75_224, 1000 classes\n"
        "MACs        154,560,624\n"
        "params        3,993,528\n"
        "bytes                   fp32       fp16       int8\n"
        "weights           15,935,936  7,967,968  4,094,416\n"
        "peak activations   4,014,080  2,007,040  1,003,520\n"
    )


def test_cost_as_json():
    record = json.loads(run("cost", "mobilenetv3_small_050", "--json").stdout)

    assert record["name"] == "mobilenet_v3_small"
    assert record["width"] == 0.5
    assert record["rule"] == "paper"
    assert record["resolution"] == 224
    assert record["classes"] == 1000
    assert record["macs"] == 21_052_560  # V3 paper, Table 9, computed
    assert record["params"] == 1_592_704
    assert sum(layer["macs"] for layer in record["layers"]) == record["macs"]
    assert record["size_bytes"]["fp32"] == 2 * record["size_bytes"]["fp16"]
    assert record["peak_activation_bytes"]["fp32"] == 4 * record["peak_activation_bytes"]["int8"]


def test_list_as_json_names_every_network():
    names = [record["name"] for record in json.loads(run("list", "--json").stdout)]

    assert {"mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"} < set(names)


def test_per_layer_lists_the_layers_in_the_order_they_run():
    lines = run("cost", "v1", "--per-layer").stdout.splitlines()

    assert lines[0].split() == ["layer", "kind", "output", "channels", "MACs", "params"]
    assert lines[2].split()[:3] == ["rows.0", "conv", "112x112"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("cost mobilenet_v9", "no network is called 'mobilenet_v9'"),
        ("cost v2 --width abc", "Invalid value for '--width'"),
        ("cost v2 --width -1", "width must be a positive number, got -1.0"),
        ("cost v2 --rule ours", "width rule must be one of paper, torchvision, timm, keras"),
        (
            "cost v2 --resolution 0",
            "resolution must be a whole number of at least 1, or height x width, got 0",
        ),
        ("cost v2 --bogus", "No such option: --bogus"),
        ("choose", "give at least one limit; the most accurate network within it is chosen:"),
        ("choose --latency 5", "--latency takes a number with a unit"),
        ("fit", "Missing argument"),
        ("fit /nowhere --latency 1ms", "there is nothing at /nowhere"),
        ("fit digits --macs 1M --epochs 1 --minutes 1", "epochs and minutes are both given"),
        ("eval gone.onnx digits", "there is no file gone.onnx"),
        ("eval gone.txt digits", "gone.txt is neither an artifact"),
        ("predict gone.safetensors a.png", "gone.safetensors is not a checkpoint of mobilenets"),
        ("report /nowhere", "/nowhere"),
        ("latency gone.safetensors", "there is no file gone.safetensors"),
        ("latency .", ". is a folder; give the artifact in it, such as: mobilenets latency"),
        ("latency v2 --runtime tpu", "unknown runtime 'tpu'"),
        ("latency v2 --threads 4096", "threads must be 1 to"),
        ("nonsense", "No such command 'nonsense'"),
        ("cost resnet50", "resnet50 is no MobileNet, and only MobileNets are here"),
        ("train efficientnet_b0 digits", "the nearest is efficientnet_lite0: mobilenets cost"),
        ("latency yolov8n", "mobilenets cost mobilenet_v3_large --head ssdlite"),
        ("fit digits --latency 5", "got '5'; did you mean 5ms?"),
        ("fit --bogus", "See: mobilenets fit --help"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_1(
    arguments: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    done = run(*arguments.split())

    complaints = [line for line in done.stderr.splitlines() if line.startswith("mobilenets: ")]
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(complaints) == 1
    assert sentence in complaints[0]


def latency(p50_ms: float, runtime: str = "onnxruntime") -> Latency:
    return Latency((p50_ms,) * 50, 1, runtime, "1.0", 1, "fp32", 1, "a laptop")


def measured(
    monkeypatch: pytest.MonkeyPatch, found: list[tuple[str, Latency]], arguments: str
) -> str:
    """What `latency` prints where this is measured."""
    monkeypatch.setattr("mobilenets.measuring.target.measure_targets", lambda *_, **__: found)
    done = CliRunner().invoke(app, ["latency", *arguments.split()])
    assert done.exit_code == 0
    return done.stdout


def test_one_latency_as_json_is_one_object(monkeypatch: pytest.MonkeyPatch):
    record = json.loads(measured(monkeypatch, [("v2", latency(2.0))], "v2 --json"))

    assert (record["target"], record["p50_ms"], record["runtime"]) == ("v2", 2.0, "onnxruntime")
    assert "times_ms" not in record


def test_several_latencies_as_json_are_a_list(monkeypatch: pytest.MonkeyPatch):
    found = [("v2", latency(2.0)), ("v2", latency(3.0, "openvino"))]

    records = json.loads(measured(monkeypatch, found, "v2 --compare --json"))

    assert [(one["target"], one["runtime"]) for one in records] == [
        ("v2", "onnxruntime"),
        ("v2", "openvino"),
    ]
    assert [one["ratio"] for one in records] == [1.0, 1.5]


def test_latencies_are_a_table_and_a_line_of_conditions(monkeypatch: pytest.MonkeyPatch):
    found = [("v2", latency(2.0)), ("v1", latency(3.0))]

    assert measured(monkeypatch, found, "v2 v1") == (
        "target  runtime      p50_ms  p90_ms  min_ms  spread  co-tenant  disturbed  noisy  runs\n"
        "v2      onnxruntime       2       2       2       0          0          0  no       50\n"
        "v1      onnxruntime       3       3       3       0          0          0  no       50\n"
        "\n1 thread, batch 1, a laptop\n"
    )


def test_the_runtimes_are_listed_with_what_to_install(monkeypatch: pytest.MonkeyPatch):
    gone = replace(RUNTIMES["openvino"], packages=("no_such_package",))
    monkeypatch.setitem(RUNTIMES, "openvino", gone)

    records = {
        one["name"]: one
        for one in json.loads(CliRunner().invoke(app, ["runtimes", "--json"]).stdout)
    }
    lines = CliRunner().invoke(app, ["runtimes"]).stdout.splitlines()

    assert (records["onnxruntime"]["installed"], records["openvino"]["installed"]) == (True, False)
    assert records["openvino"]["version"] is None
    assert lines[0].split() == ["runtime", "version", "files", "precisions", "to", "install"]
    line = next(line for line in lines if line.startswith("openvino"))
    assert line.split()[1:5] == ["-", ".xml", "fp32,", "int8"]
    assert line.endswith("pip install 'mobilenets[openvino]'")


def test_a_runtime_that_is_not_installed_says_how_to_install_it():
    program = (
        "from dataclasses import replace; from mobilenets.runtimes import RUNTIMES;"
        "RUNTIMES['ncnn'] = replace(RUNTIMES['ncnn'], packages=('no_such_package',));"
        "from mobilenets.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "latency", "v2", "--runtime", "onnxruntime,ncnn"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "mobilenets: runtime ncnn needs no_such_package, which is not installed; "
        "run: pip install 'mobilenets[ncnn]'\n"
    )


def test_a_budget_that_nothing_fits_is_status_2():
    done = run("choose", "--macs", "1k")

    assert done.returncode == 2
    assert "no network fits: macs binds at 1 k; the nearest, mobilenet_v3_small" in done.stderr


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("quantise RUN DATA --drop 2", "quantize RUN DATA --max-drop 2"),
        ("fit DATA --race=1 --macs 1M", "fit DATA --trials=1 --macs 1M"),
        ("adapt RUN DATA --distil", "adapt RUN DATA --distill"),
        ("fit quantise --out --race", "fit quantise --out --trials"),
        ("predict RUN -- --race", "predict RUN -- --race"),
        ("", ""),
        ("-- --drop", "-- --drop"),
    ],
)
def test_old_names_are_understood(before: str, now: str):
    assert by_new_names(before.split()) == now.split()


def test_an_old_command_runs(tmp_path: Path):
    done = run("quantise", str(tmp_path / "gone"), "digits", "--drop", "1")

    assert done.returncode == 1
    assert "gone" in done.stderr


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("fit DATA --quiet --macs 1M", "--quiet fit DATA --macs 1M"),
        ("--verbose fit DATA", "--verbose fit DATA"),
        ("predict RUN -- --quiet", "predict RUN -- --quiet"),
        ("", ""),
    ],
)
def test_general_options_may_stand_behind_the_verb(typed: str, understood: str):
    assert general_first(typed.split()) == understood.split()


def test_quiet_and_verbose_contradict_one_another():
    done = run("list", "--quiet", "--verbose")

    assert done.returncode == 1
    assert done.stderr == "mobilenets: --quiet and --verbose are both given; give one\n"


def test_no_words_are_answered_with_help():
    done = run()

    assert done.returncode == 0
    assert "fit       Choose, train, export" in done.stdout


def test_options_stand_in_sections_the_output_last():
    lines = run("fit", "--help").stdout.splitlines()

    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "Arguments:", "Budget:", "Device:", "Training:", "Data:", "Search:", "Output:",
    ]  # fmt: skip
    assert "  --latency MS    Limit on the p50 latency of one image on --device, in ms:" in lines
    assert lines[-1] == "  --help        Show this message and exit."


def test_every_option_with_a_value_says_its_kind_and_what_it_does():
    for command in get_command(app).commands.values():
        for one in command.params:
            assert one.help, f"{command.name} {one.name}"
            value = one.param_type_name == "argument" or not (one.is_flag or one.name == "help")
            assert one.metavar or not value, f"{command.name} {one.name}"


LIMITS = """\
mobilenets: give at least one limit; the most accurate network within it is chosen:
  --latency 5ms    p50 of one image on this machine
  --macs 100M      multiply-adds
  --params 2M      parameters
  --size 4MB       the artifact's file
  --memory 1.5MB   peak activations in fp32
Usual networks, with ImageNet's 1000 classes and top-1 ({said}):
"""


def test_fit_without_a_limit_explains_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path))

    done = run("fit", "my photos/")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == LIMITS.format(said="no latency table of this machine yet") + (
        "  mobilenet_v3_small_0.5_224          21.1 M MACs  1.59 M parameters  6.36 MB  58 %\n"
        "  mobilenet_v3_small_1.0_224          56.5 M MACs  2.54 M parameters  10.1 MB  68 %\n"
        "  mobilenet_v3_large_1.0_224           217 M MACs  5.48 M parameters  21.9 MB  75 %\n"
        "  mobilenet_v4_conv_medium_1.0_256    1.08 G MACs  9.72 M parameters  38.7 MB  80 %\n"
        "To measure them here (under a minute): mobilenets latency mobilenet_v3_small "
        "mobilenet_v3_large mobilenet_v4_conv_medium --runtime onnxruntime --threads 1\n"
        "Next: mobilenets fit 'my photos/' --latency 5ms\n"
    )


def test_with_a_latency_table_limits_are_explained_by_this_machine_s_figures(
    monkeypatch: pytest.MonkeyPatch,
):
    rows = [
        Typical("mobilenet_v3_small_0.5_224", 0.51, 21_052_560, 1_592_704, 6_360_000, 58.0),
        Typical("mobilenet_v3_small_1.0_224", 1.84, 56_500_000, 2_540_000, 10_100_000, 67.5),
    ]
    monkeypatch.setattr("mobilenets.cli.limits.typical", lambda engine, threads: rows)

    done = run("choose", "--threads", "2")

    assert done.returncode == 1
    table = "onnxruntime, 2 threads, predicted from this machine's latency table"
    assert done.stderr == LIMITS.format(said=table) + (
        "  mobilenet_v3_small_0.5_224         0.51 ms   21.1 M MACs  1.59 M parameters  6.36 MB"
        "  58 %\n"
        "  mobilenet_v3_small_1.0_224         1.84 ms   56.5 M MACs  2.54 M parameters  10.1 MB"
        "  68 %\n"
        "Next: mobilenets choose --latency 2ms\n"
    )


def with_nothing_heavy(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line where whatever takes long to import is not there."""
    program = (
        "import sys; heavy = 'torch torchvision lightning numpy scipy sklearn plotly rich'\n"
        "sys.modules.update(dict.fromkeys(heavy.split()))\n"
        f"sys.argv = ['mobilenets', *{arguments!r}]\n"
        "from mobilenets.cli import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--help", "  fit       Choose, train, export"),
        ("fit --help", "Usage: mobilenets fit [OPTIONS] {DATA}"),
        ("cost v2", "MACs        300,774,272"),
        ("list", "mobilenet_v2"),
        ("runtimes", "onnxruntime"),
    ],
)
def test_what_needs_no_torch_does_not_wait_for_it(arguments: str, line: str):
    done = with_nothing_heavy(*arguments.split())

    assert (done.returncode, done.stderr) == (0, "")
    assert line in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("fit digits --macs 1M", "fitting a network to digits: loading PyTorch"),
        ("train v2 digits", "training v2 on digits: loading PyTorch"),
        ("adapt run digits --macs 1M", "adapting run: loading PyTorch"),
        ("quantize run digits", "quantizing run: loading PyTorch"),
    ],
)
def test_long_work_says_its_first_line_before_it_loads_torch(arguments: str, line: str):
    done = with_nothing_heavy(*arguments.split())

    assert done.stderr.splitlines()[0].endswith(f" s  {line}")
    assert "ModuleNotFoundError" in done.stderr  # which is what was loaded next


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("mobilenets cost mobilenet_v3_s", "mobilenet_v3_small"),
        ("mobilenets train mobilenetv3_small_05", "mobilenetv3_small_050"),
        ("mobilenets latency MobileNetV3S", "MobileNetV3Small"),
        ("mobilenets choose --runtime openv", "openvino"),
        ("mobilenets choose --runtime openvino,onnx", "openvino,onnxruntime"),
        ("mobilenets quant", "quantize"),
        ("mobilenets shard dig", "digits"),
    ],
)
def test_the_shell_completes_commands_networks_and_runtimes(words: str, found: str):
    last = str(len(words.split()) - 1)

    done = with_nothing_heavy(
        _MOBILENETS_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=last
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert found in done.stdout.splitlines()


def test_every_command_has_an_example():
    for command in app.registered_commands:
        assert re.search(r"Example: mobilenets \w+", command.callback.__doc__)


def test_the_reference_is_what_help_prints():
    path = Path(mobilenets.__file__).parents[1] / "docs" / "reference" / "cli.md"

    assert path.read_text(encoding="utf-8") == reference()  # else: make docs


def test_what_is_exported_is_there():
    for name in mobilenets.__all__:
        assert getattr(mobilenets, name).__name__ == name


@pytest.mark.parametrize(
    ("verified", "within_budget", "status"),
    [(True, True, 0), (True, False, 3), (False, True, 3)],
)
def test_an_artifact_that_misses_or_fails_is_status_3(
    verified: bool, within_budget: bool, status: int, monkeypatch: pytest.MonkeyPatch
):
    summary = {
        "verified": verified,
        "within_budget": within_budget,
        "complaints": [] if status == 0 else ["latency is 1.1 ms, 10.0 % over the limit of 1 ms"],
    }
    monkeypatch.setattr(pipeline, "fit", lambda *_, **__: Run(Path("run"), summary))

    done = CliRunner().invoke(app, ["fit", "digits", "--latency", "1ms", "--json"])

    assert done.exit_code == status
    assert json.loads(done.stdout) == summary
    assert ("10.0 % over the limit" in done.stderr) == (status == 3)
