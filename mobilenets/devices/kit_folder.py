"""The files of a kit beside its networks: the worker, run.sh, README and kit.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mobilenets.devices.worker_file import worker_file
from mobilenets.errors import FileError, MeasureError
from mobilenets.files import make_folder, write_bytes, write_text
from mobilenets.measuring.results import PLAN, RESULTS, Plan, keep_plan
from mobilenets.runtimes import RUNTIMES, Engine
from mobilenets.text import counted

FILES = "files"
WORKER, RUN, README = "worker.pyz", "run.sh", "README"
_ENTRY = "mobilenets.devices.kit_run"
_NEED_TORCH = ("torch", "torch-compile", "executorch")

_RUN_SH = """#!/bin/sh
# Measures the networks of this kit on this device, and writes results.json beside this file.
# Stopped or killed, the same command goes on where it was. README says what to do with the results.
case "$0" in */*) cd "${0%/*}" || exit 1 ;; esac

newline='
'
stop() { echo "kit: $1" >&2; exit 1; }

python=
for one in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$one
        break
    fi
done
[ -n "$python" ] || stop "Python 3.11 or later is not found; install it (Debian: apt install \
python3 python3-venv; Termux: pkg install python), or name it: PYTHON=/path/to/python3 sh run.sh"

need() {
    why=$("$python" -c "import $1" 2>&1) && return
    why=${why##*"$newline"}
    stop "$1 cannot be imported ($why); run: $python -m pip install $2"
}
need numpy numpy
NEEDS

exec "$python" worker.pyz .
"""

_README = """Kit: how fast are these networks on this device?

It holds NETWORKS for RUNTIME on THREADS, and a program that times them. Nothing is sent anywhere:
the outcome is the file results.json in this folder.

What the device needs
    Python 3.11 or later, numpy and RUNTIME:
        python3 -m pip install numpy DISTRIBUTION
    This package and PyTorch are not needed there.

1. Copy this folder to the device: a USB stick, scp -r, adb push.
2. There, in this folder:
        sh run.sh
   With a Python of your own: PYTHON=/path/to/python3 sh run.sh
   Progress is shown. Stopped or killed, the same command goes on where it was. Let nothing else
   run; plug a phone in, and keep its screen on.
3. Copy results.json back, and on the machine that wrote the kit run:
        NEXT

Android
    adb shell alone has no Python. Termux (f-droid.org) has one. RUNTIME's packages on PyPI are for
    Linux, which runs inside Termux by proot-distro:
        adb push KIT /sdcard/Download/
    in Termux:
        termux-setup-storage
        pkg install proot-distro
        proot-distro install debian
        proot-distro login debian --bind /sdcard/Download:/mnt
    and in it:
        apt update && apt install -y python3 python3-venv
        cp -r /mnt/KIT ~/kit && cd ~/kit
        python3 -m venv env && env/bin/pip install numpy DISTRIBUTION
        PYTHON=env/bin/python sh run.sh
        cp results.json /mnt/
    These steps were not tried on a device with Android.

Questions
    "... cannot be imported": run.sh says what to install.
    A file that the runtime cannot run is named and left out.
    The device got warm: its speed is followed by reference networks; run.sh says by how much.
"""


def check_runs_in_a_kit(engine: Engine) -> None:
    """Raise `MeasureError` for an engine that takes PyTorch to run."""
    if engine.runtime in _NEED_TORCH:
        able = ", ".join(name for name in RUNTIMES if name not in _NEED_TORCH)
        raise MeasureError(
            f"a kit runs without PyTorch, and {engine.runtime} needs it; give one of {able} as "
            "--runtime"
        )


def empty_kit(folder: Path) -> Path:
    """`folder` with an empty place for the networks. Raises `FileError` where it holds anything but
    a kit that was not written to its end."""
    make_folder(folder)
    there = {one.name for one in folder.iterdir()}
    if PLAN in there or not there <= {FILES, WORKER, RUN, README}:
        raise FileError(f"{folder} is not empty; give another folder as --out, or empty it")
    shutil.rmtree(folder / FILES, ignore_errors=True)
    return make_folder(folder / FILES)


def finish_kit(folder: Path, plan: Plan, following: str) -> str:
    """Write what belongs to the networks in `folder`, the plan last; the kit's id. `following` is
    the command that takes the results."""
    write_bytes(folder / WORKER, worker_file(_ENTRY))
    write_text(folder / RUN, _run_sh(Engine(plan["runtime"])))
    write_text(folder / README, _readme(folder, plan, following))
    kit = keep_plan(plan)
    write_text(folder / PLAN, json.dumps(plan) + "\n")
    return kit


def _run_sh(engine: Engine) -> str:
    known = RUNTIMES[engine.runtime]
    needs = (f"need {package} {known.distribution}" for package in known.packages)
    return _RUN_SH.replace("NEEDS", "\n".join(needs))


def _readme(folder: Path, plan: Plan, following: str) -> str:
    known = RUNTIMES[plan["runtime"]]
    words = {
        "NETWORKS": counted(len(plan["items"]) + len(plan["artifacts"]), "file"),
        "RUNTIME": plan["runtime"],
        "THREADS": counted(plan["threads"], "thread"),
        "DISTRIBUTION": known.distribution,
        "NEXT": f"mobilenets {following}",
        "KIT": folder.resolve().name,
        "results.json": RESULTS,
    }
    text = _README
    for word, meant in words.items():
        text = text.replace(word, meant)
    return text
