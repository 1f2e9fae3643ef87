"""Measuring over ssh: a device as far as a fake ssh reaches, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mobilenets.devices import bootstrap, far, worker_file
from mobilenets.devices.far import FarWorker, supervise
from mobilenets.devices.ssh import Ssh
from mobilenets.devices.ssh_errors import plain_command
from mobilenets.errors import ConnectionLost, FileError, MeasureError, RuntimeMissing
from mobilenets.measuring import measure
from mobilenets.measuring.arrays import packed, unpacked
from mobilenets.measuring.device import measuring_on
from mobilenets.measuring.latency import Bench
from mobilenets.measuring.machine import this_machine
from mobilenets.runtimes import DEFAULT, Engine
from tests.fake_ssh import FakeFar
from tests.test_measure import has_ended
from tests.test_runtimes import write_onnx


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFar:
    return FakeFar(tmp_path, monkeypatch)


def pi() -> Ssh:
    """It remembers what it was told, so each test has its own."""
    return Ssh("pi", "me@board:2222")


# The worker's file


def test_the_worker_s_file_is_the_same_bytes_each_time_and_has_neither_torch_nor_all_of_us():
    file = worker_file.packed("mobilenets.devices.far", [])

    assert file == worker_file.packed("mobilenets.devices.far", [])
    names = zipfile.ZipFile(io.BytesIO(worker_file.worker_file())).namelist()
    assert "mobilenets/measuring/worker.py" in names
    assert "mobilenets/runtimes/onnxruntime.py" in names
    assert not [name for name in names if "/nn/" in name or "pytorch" in name or "/cli/" in name]
    assert worker_file.checksum() == hashlib.sha256(worker_file.worker_file()).hexdigest()


def test_all_that_the_worker_imports_of_ours_is_in_its_file(tmp_path: Path):
    path = tmp_path / "worker.pyz"
    path.write_bytes(worker_file.worker_file())
    names = [name for name in zipfile.ZipFile(path).namelist() if name != "__main__.py"]
    runtimes = [name for name in names if name.startswith("mobilenets/runtimes/")]
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names
        if name not in runtimes and not name.endswith(("arrays.py", "probe.py"))
    ]
    look = (
        f"import sys; sys.path = [{str(path)!r}, *sys.path]\n"
        f"for name in {modules!r}: __import__(name)\n"
        "print({'numpy', 'torch', 'scipy'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-I", "-S", "-c", look], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("set()\n", "")


# Measuring there


def test_a_network_is_measured_there_and_the_record_says_where(board: FakeFar, tmp_path: Path):
    with measuring_on(pi()):
        found, again = measure([write_onnx(tmp_path / "a.onnx")] * 2, seconds=0.01, min_runs=1)

    assert min(found.p50_ms, again.p50_ms) > 0
    assert (found.runtime, found.runtime_version) == ("onnxruntime", onnxruntime.__version__)
    assert found.device.startswith("pi: ")
    assert this_machine()["fingerprint"] in found.device
    words = (board.folder / "arguments").read_text()
    assert words.startswith("-T -p 2222 -o BatchMode=yes -o ConnectTimeout=15 ")
    assert " -- me@board exec python3 -c " in words


def test_its_answers_are_those_here(board: FakeFar, tmp_path: Path):
    path = write_onnx(tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(path)
    shape = session.get_inputs()[0].shape
    images = np.random.default_rng(0).random((3, *shape[1:]), np.float32)

    with measuring_on(pi()), Bench(DEFAULT, 1) as bench:
        found = bench.load(path).answers(images)

    (name,) = found
    here = [session.run(None, {session.get_inputs()[0].name: one[None]})[0][0] for one in images]
    np.testing.assert_array_equal(found[name], np.stack(here))


def test_what_it_is_is_asked_once(board: FakeFar):
    device = pi()
    machine, version = device.machine(), device.version(DEFAULT)
    board.ssh(script="#!/bin/sh\nexit 255")

    assert (device.machine(), device.version(DEFAULT)) == (machine, version)
    assert version == onnxruntime.__version__


def test_the_worker_is_sent_once_and_the_networks_are_removed(board: FakeFar, tmp_path: Path):
    path = write_onnx(tmp_path / "a.onnx")
    with measuring_on(pi()), Bench(DEFAULT, 1) as bench:
        bench.load(path)
        (session,) = board.cache.glob("session-*")
        (kept,) = board.cache.glob("worker-*")
        written = kept.stat().st_ino
        assert [one for one in session.rglob("*") if one.is_file()] == []
        first = os.pidfd_open(int(session.name.removeprefix("session-")))
    assert has_ended(first, seconds=60)
    os.close(first)

    assert not session.exists()
    assert pi().version(DEFAULT)
    assert [one.stat().st_ino for one in board.cache.glob("worker-*")] == [written]
    assert kept.read_bytes() == worker_file.worker_file()


def test_a_broken_worker_s_file_there_is_sent_again(board: FakeFar):
    board.cache.mkdir(parents=True)
    kept = board.cache / f"worker-{worker_file.checksum()[:12]}.pyz"
    kept.write_bytes(b"half")

    assert pi().version(DEFAULT)
    assert kept.read_bytes() == worker_file.worker_file()


def test_what_a_shell_there_prints_is_no_answer(board: FakeFar):
    board.ssh(noise="echo welcome; echo '{a banner}'; ")

    assert pi().version(DEFAULT) == onnxruntime.__version__


def test_older_workers_that_nobody_uses_are_removed(tmp_path: Path):
    ours, used, unused = (tmp_path / f"worker-{name}.pyz" for name in ("ours", "used", "unused"))
    for path in (ours, used, unused):
        path.touch()
    os.utime(unused, (1, 1))
    os.utime(ours, (1, 1))

    bootstrap._remove_older(ours)

    assert sorted(tmp_path.iterdir()) == [ours, used]


# What goes wrong


def refused(board: FakeFar, status: int, said: str) -> None:
    board.ssh(script=f"#!/bin/sh\necho '{said}' >&2\nexit {status}\n")


@pytest.mark.parametrize(
    ("status", "said", "sentence"),
    [
        (255, "ssh: connect to host board port 2222: Connection refused",
         r"pi cannot be reached \(ssh: connect .* refused\); this must work first: ssh -p 2222 "),
        (255, "ssh: Could not resolve hostname board: Name or service not known",
         r"pi cannot be reached \(ssh: Could not resolve"),
        (255, "me@board: Permission denied (publickey,password).",
         r"pi refused our key \(me@board: .*\); give .*: ssh-copy-id -p 2222 me@board$"),
        (255, "Host key verification failed.",
         r"the host key of pi is not known here, .* accept it: ssh -p 2222 me@board$"),
        (127, "sh: 1: exec: python3: not found",
         r"pi has no python3 \(sh: .*\); install Python 3\.10 .*me@board:2222 --python PATH$"),
        (1, "Killed", r"python3 on pi did not start: Killed$"),
    ],
)  # fmt: skip
def test_what_cannot_start_is_said_in_a_sentence(
    board: FakeFar, status: int, said: str, sentence: str
):
    refused(board, status, said)

    with pytest.raises(MeasureError, match=f"^{sentence}"):
        pi().machine()


def test_no_ssh_here_is_said(board: FakeFar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(board.home))

    with pytest.raises(MeasureError, match="there is no ssh on this machine; install OpenSSH"):
        pi().machine()


def test_a_python_that_is_not_there_is_said(board: FakeFar):
    with pytest.raises(MeasureError, match=r"pi has no python4 \(.*not found\)"):
        Ssh("pi", "board", "python4").machine()


def test_a_python_that_is_too_old_is_said(board: FakeFar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mobilenets.devices.ssh.OLDEST_PYTHON", (99, 1))
    monkeypatch.setattr("mobilenets.devices.ssh_errors.OLDEST_PYTHON", (99, 1))

    with pytest.raises(
        MeasureError,
        match=r"^python3 on pi is Python 3\.\d+\.\d+, and measuring takes 99\.1; name another .* "
        r"mobilenets device add pi ssh:me@board:2222 --python PATH$",
    ):
        pi().machine()


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        (["onnxruntime"], r"lacks onnxruntime; run there: python3 -m pip install onnxruntime$"),
        (["numpy"], r"lacks numpy; run there: python3 -m pip install numpy$"),
        (["numpy", "onnxruntime"], r"lacks numpy and onnxruntime; .* install numpy onnxruntime$"),
    ],
)
def test_what_is_not_installed_there_is_said(board: FakeFar, gone: list[str], sentence: str):
    for name in gone:
        board.uninstall(name)

    with pytest.raises(RuntimeMissing, match=rf"^python3 3\.\d+\.\d+ on pi {sentence}"):
        pi().start(DEFAULT, {})


def test_pytorch_is_not_measured_over_ssh(board: FakeFar):
    with pytest.raises(RuntimeMissing, match="torch cannot be measured over ssh; give one of onnx"):
        pi().version(Engine("torch"))


def test_a_file_that_the_runtime_there_cannot_load_is_said(board: FakeFar, tmp_path: Path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no ONNX at all")

    with measuring_on(pi()), pytest.raises(FileError, match=r"^on pi: .*bad\.onnx is no ONNX file"):
        measure([bad])


def test_a_runtime_of_another_processor_crashes_and_that_is_said(board: FakeFar, tmp_path: Path):
    with measuring_on(pi()), Bench(DEFAULT, 1) as bench:
        target = bench.load(write_onnx(tmp_path / "a.onnx"))
        (session,) = board.cache.glob("session-*")
        os.kill(worker_of(session), signal.SIGILL)

        with pytest.raises(
            MeasureError, match=r"a\.onnx in onnxruntime failed on pi: its process crashed \(SIGILL"
        ):
            target.warm_up(0.1)


def worker_of(session: Path) -> int:
    """The process that has this folder as its argument."""
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(session).encode() in words:
            return int(one.parent.name)
    raise AssertionError(f"no worker of {session}")


def test_a_full_disk_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(far.base64, "b64decode", full)

    with pytest.raises(FileError, match=r"cannot write .*/a: no space left on device; make room"):
        FarWorker(tmp_path).receive("1/a", "", None)


def test_a_worker_that_cannot_be_kept_there_is_said(board: FakeFar):
    (board.home / ".cache").write_text("a file in the folder's place")

    with pytest.raises(
        MeasureError, match=r"^pi could not keep the worker's file in .*\.cache/mob"
    ):
        pi().machine()


def test_a_file_that_comes_with_another_checksum_is_refused(tmp_path: Path):
    with pytest.raises(FileError, match="came with another checksum; run the same command again"):
        FarWorker(tmp_path).receive("1/a", "AAAA", "0" * 64)


def test_a_connection_that_is_lost_is_said(board: FakeFar, tmp_path: Path):
    board.ssh(script=dying_at_load())

    with measuring_on(pi()), pytest.raises(
        ConnectionLost, match=r"^the connection to pi was lost \(broken pipe\); the same command"
    ):  # fmt: skip
        measure([write_onnx(tmp_path / "a.onnx")])


def dying_at_load() -> str:
    """An ssh that answers as the far side would, and ends as ssh does when a network comes."""
    machine, runtimes = this_machine(), {"onnxruntime": "1"}
    arrived = json.dumps({"answer": {"python": [3, 11, 2], "there": True}})
    about = json.dumps({"answer": {"machine": machine, "numpy": True, "runtimes": runtimes}})
    return f"""#!/bin/sh
read request
echo '{arrived}'
while read request; do
    case "$request" in
        *about*) echo '{about}';;
        *start*) echo '{{"answer": "1"}}';;
        *) echo 'broken pipe' >&2; exit 255;;
    esac
done
"""


# Cleaning up there


@pytest.mark.parametrize(("program", "status"), [("pass", 0), ("import os; os.abort()", 134)])
def test_however_the_worker_ends_its_folder_is_removed(tmp_path: Path, program: str, status: int):
    make = "import sys, pathlib; pathlib.Path(sys.argv[1]).mkdir(); "

    assert supervise([sys.executable, "-c", make + program], tmp_path) == status
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_session_left_is_removed_by_the_next(tmp_path: Path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, lives = tmp_path / f"session-{gone.pid}", tmp_path / f"session-{os.getpid()}x"
    ours = tmp_path / f"session-{os.getppid()}"
    for folder in (left, lives, ours):
        folder.mkdir()

    supervise([sys.executable, "-c", ""], tmp_path)

    assert list(tmp_path.iterdir()) == [ours]


# Addresses


@pytest.mark.parametrize(
    "target", ["board", "me@board", "me@10.0.0.7:2222", "pi.local", "[fe80::1%eth0]:22", "me@[::1]"]
)
def test_an_address_is_a_host_with_a_user_and_a_port(target: str):
    assert Ssh("pi", target).target == target


@pytest.mark.parametrize(
    "target", ["", "-oProxyCommand=x", "me@", "a b", "me@-x", "host:port", "a:1:2"]
)
def test_what_is_no_address_is_refused(target: str):
    with pytest.raises(
        MeasureError, match=r"a device is named by user@host or user@host:port, got"
    ):
        Ssh("pi", target)


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("me@board", "ssh me@board"),
        ("me@board:22", "ssh -p 22 me@board"),
        ("me@[::1]:22", "ssh -p 22 me@::1"),
    ],
)
def test_what_to_type_to_connect(target: str, command: str):
    assert plain_command(Ssh("pi", target)) == command


def test_arrays_come_back_from_json():
    array = np.random.default_rng(0).random((2, 3), np.float32)

    np.testing.assert_array_equal(unpacked(json.loads(json.dumps(packed(array)))), array)
