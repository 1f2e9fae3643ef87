"""A far machine without a network: an `ssh` on the PATH that runs the command here, in a shell with
nothing of this one's environment, and a Python there that has numpy and onnxruntime only."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from mobilenets.errors import RuntimeMissing
from mobilenets.measuring.machine import this_machine
from mobilenets.runtimes import Engine

# As sshd does: the program has a session of its own, and lives until its stdin closes.
_SSH = """#!/bin/sh
printf '%s\\n' "$*" > {folder}/arguments
for command; do :; done
exec {setsid} env -i HOME={home} PATH={bin}:/usr/bin:/bin sh -c "{noise}$command"
"""
_ALONE = """import os, subprocess, sys
sys.exit(subprocess.run(sys.argv[1:], start_new_session=True).returncode % 256)
"""


class Stub:
    """A device that is never started."""

    def __init__(self, name: str = "stub", versions: dict[str, str] | None = None):
        self.name = name
        self.versions = {"onnxruntime": "1.2"} if versions is None else versions

    def machine(self) -> Any:
        return this_machine() | {"cpu": "Cortex-A76"}

    def version(self, engine: Engine) -> str:
        if engine.runtime not in self.versions:
            raise RuntimeMissing(f"no {engine}")
        return self.versions[engine.runtime]

    def start(self, engine: Engine, environment: Any) -> Any:
        raise AssertionError


class FakeFar:
    """The far machine: its home, and what its python3 can import."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder = folder
        self.home = folder / "home"
        self.bin = folder / "far-bin"
        for one in (self.home, self.bin, folder / "bin"):
            one.mkdir()
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        (self.packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        self.install("numpy", "onnxruntime")
        self.python()
        self.ssh()

    def install(self, *names: str) -> None:
        """Links to what is installed here: the packages, what they bring, and their metadata."""
        site = Path(sysconfig.get_paths()["platlib"])
        for name in names:
            for one in site.glob(f"{name}*"):
                (self.packages / one.name).symlink_to(one)

    def uninstall(self, name: str) -> None:
        for one in self.packages.glob(f"{name}*"):
            one.unlink()

    def python(self, script: str | None = None) -> None:
        """The python3 there: of a virtual environment of its own; or this script."""
        text = f'#!/bin/sh\nexec {self.folder}/venv/bin/python "$@"\n'
        self._write(self.bin / "python3", script or text)

    def ssh(self, *, noise: str = "", script: str | None = None) -> None:
        """The ssh here; the far shell first runs `noise`."""
        alone = self.folder / "alone.py"
        alone.write_text(_ALONE)
        text = script or _SSH.format(
            folder=self.folder, home=self.home, bin=self.bin, noise=noise,
            setsid=f"{sys.executable} -S {alone}",
        )  # fmt: skip
        self._write(self.folder / "bin" / "ssh", text)

    @property
    def cache(self) -> Path:
        """Where the worker is kept there."""
        return self.home / ".cache" / "mobilenets"

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)
