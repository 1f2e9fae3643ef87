"""Places that are no folder for writing, too little memory, output that cannot be printed, and
processes that nobody waits for any more."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mobilenets.archs import get_arch
from mobilenets.cli import app as command_line
from mobilenets.cli.refusals import refused
from mobilenets.cli.show import print_anything
from mobilenets.errors import FileError
from mobilenets.files import cache_folder, make_folder, scratch, write_bytes, write_json, write_text
from mobilenets.nn import Checkpoint

TINY = get_arch("mobilenet_v1", width=0.25, resolution=8, classes=2)
NETWORK = ["mobilenet_v1", "digits", "--width", "0.25", "--resolution", "8"]


def no_folders(folder: Path) -> dict[str, tuple[Path, str]]:
    """Paths that cannot be made a folder, and what is said of them."""
    (folder / "file").touch()
    (folder / "loop").symlink_to(folder / "loop")
    return {
        "a file": (folder / "file", "is no folder; give another"),
        "under a file": (folder / "file" / "run", "is no folder; give another"),
        "under no file at all": (Path("/dev/null/run"), "is no folder; give another"),
        "too long": (folder / ("x" * 300), "File name too long"),
        "a loop": (folder / "loop" / "run", "symbolic links|is no folder"),
        "a NUL": (folder / "a\0b", "null"),
    }


PLACES = ["a file", "under a file", "under no file at all", "too long", "a loop", "a NUL"]


@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_folder_is_said_to_be_none(tmp_path: Path, name: str):
    path, sentence = no_folders(tmp_path)[name]

    with pytest.raises(FileError, match=f"cannot make the folder .*({sentence})"):
        make_folder(path)
    with pytest.raises(FileError, match=sentence):
        write_text(path / "record.json", "{}")
    with pytest.raises(FileError, match=sentence), scratch(path):
        pass


def ended(words: list[str], patch: pytest.MonkeyPatch) -> int:
    """The status that the command ends with."""
    patch.setattr(sys, "argv", ["mobilenets", *words])
    with pytest.raises(SystemExit) as end:
        command_line.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("name", [name for name in PLACES if name != "a NUL"])
def test_a_run_that_cannot_be_written_ends_before_images_are_read(
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    path, _ = no_folders(tmp_path)[name]
    monkeypatch.setattr("mobilenets.train.job.load_images", None)

    assert ended(["train", *NETWORK, "--epochs", "1", "--out", str(path)], monkeypatch) == 1
    first, said = capsys.readouterr().err.splitlines()
    assert first.endswith(": loading PyTorch")
    assert said.startswith("mobilenets: ")


def test_a_page_does_not_take_the_place_of_a_device(tmp_path: Path):
    os.mkfifo(tmp_path / "page.html")

    with pytest.raises(FileError, match=r"page\.html: it is no regular file; give another"):
        write_bytes(tmp_path / "page.html", b"")
    assert (tmp_path / "page.html").is_fifo()


def test_a_long_name_can_be_written(tmp_path: Path):
    path = tmp_path / ("\N{LATIN SMALL LETTER E WITH ACUTE}" * 120)

    write_text(path, "x")

    assert path.read_text() == "x"


def test_a_run_that_is_read_only_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)

    with pytest.raises(FileError, match=r"cannot write .*verdict\.json: Permission denied"):
        write_json(tmp_path / "verdict.json", {})


def test_without_a_home_the_cache_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    def nowhere(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MOBILENETS_CACHE", raising=False)
    monkeypatch.setattr(Path, "expanduser", nowhere)

    with pytest.raises(FileError, match="no home folder for the cache; set MOBILENETS_CACHE"):
        cache_folder()


def test_a_path_too_long_to_look_at_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert ended(["latency", f"{'x' * 300}.onnx"], monkeypatch) == 1
    assert "File name too long; check the path" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"
        ),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["python", "torch", "torch 2.11", "c++", "cuda", "system"],
)
def test_too_little_memory_is_a_sentence(error: Exception):
    assert "too little memory; close other programs" in (refused(error) or "")


def test_a_mistake_of_ours_is_no_refusal():
    assert refused(RuntimeError("size mismatch")) is None
    assert refused(OSError("no number")) is None


def test_what_cannot_be_printed_is_escaped(monkeypatch: pytest.MonkeyPatch):
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, "ascii"))

    print_anything()
    print("caf\N{LATIN SMALL LETTER E WITH ACUTE} caf\udce9")
    sys.stdout.flush()

    assert file.getvalue() == b"caf\\xe9 caf\\udce9\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding",
    ["ascii", *(pytest.param(one, marks=pytest.mark.full) for one in ("latin-1", "utf-8"))],
)
def test_names_and_classes_of_other_code_pages_are_predicted(tmp_path: Path, encoding: str):
    fresh = Checkpoint.fresh(TINY)
    names = ("caf\N{LATIN SMALL LETTER E WITH ACUTE}\N{SNOWMAN}", "n\udce9")
    Checkpoint(**{**vars(fresh), "labels": names}).save(tmp_path / "net.safetensors")
    image = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Image.new("RGB", (8, 8)).save(os.fsdecode(image))
    program = "from mobilenets.cli import main; main()"
    command = [sys.executable, "-c", program, "predict", tmp_path / "net.safetensors", image]
    environment = os.environ | {"PYTHONIOENCODING": encoding}

    run = subprocess.run(command, capture_output=True, env=environment)

    assert (run.returncode, run.stderr) == (0, b"")
    assert b"caf\\udce9.png" in run.stdout


def test_files_say_what_is_no_utf8_in_escapes(tmp_path: Path):
    write_text(tmp_path / "page.html", "caf\udce9")
    write_json(tmp_path / "record.json", {"name": "caf\udce9"})

    assert (tmp_path / "page.html").read_bytes() == b"caf\\udce9"
    assert json.loads((tmp_path / "record.json").read_bytes()) == {"name": "caf\udce9"}


CHILD = """from mobilenets.processes.child import Child
Child("tests.waiting_child").ask({}, timeout=600)"""
EXPORT = """from pathlib import Path
from mobilenets.processes import child
from mobilenets.runtimes import Engine, isolated
from mobilenets.archs import get_arch
isolated.Child = lambda module, core: child.Child("tests.waiting_child", core=core)
jobs = [isolated.Job(get_arch("mobilenet_v1"), Path("out", f"{at}.onnx")) for at in range(32)]
list(isolated.try_exports(jobs, Engine("onnxruntime"), cores=[0]))"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process by its descriptor")
@pytest.mark.parametrize(
    ("program", "number"),
    [
        pytest.param(CHILD, signal.SIGKILL, id="one-killed"),
        pytest.param(EXPORT, signal.SIGINT, id="export-stopped"),
        pytest.param(CHILD, signal.SIGINT, id="one-stopped", marks=pytest.mark.full),
        pytest.param(EXPORT, signal.SIGKILL, id="export-killed", marks=pytest.mark.full),
    ],
)
def test_no_process_outlives_the_command(tmp_path: Path, program: str, number: signal.Signals):
    told = tmp_path / "told"
    os.mkfifo(told)
    command = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ
        | {"TOLD": str(told), "PYTHONPATH": os.pathsep.join([*sys.path, str(Path.cwd())])},
        stderr=subprocess.DEVNULL,
    )
    child = os.pidfd_open(int(told.read_text()))
    ends = select.poll()
    ends.register(child, select.POLLIN)

    command.send_signal(number)

    assert command.wait(timeout=60) != 0
    assert ends.poll(60_000)
    os.close(child)
