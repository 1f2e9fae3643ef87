"""The worker on a device that ssh reaches: the program that `worker_file` packs.

A first process starts the worker in a process group of its own and waits: when the worker ends,
asked to, by a crash or because the connection did, the files that were sent to it are removed.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mobilenets.errors import FileError
from mobilenets.files import cannot, make_folder, sha256_of
from mobilenets.measuring.worker import Worker
from mobilenets.processes.child import serve
from mobilenets.runtimes import RUNTIMES
from mobilenets.runtimes.artifact import files_of

_SESSION = "session-"  # and the first process's number: a folder of files that were sent


class FarWorker(Worker):
    """A worker that also tells of its machine, and takes the files that it is to load."""

    def __init__(self, folder: Path):
        super().__init__()
        self._folder = folder

    def about(self) -> dict[str, Any]:
        """The machine, and the versions of its runtimes: None for one that is not installed."""
        packed = {name: one for name, one in RUNTIMES.items() if _is_packed(one.maker)}
        return {
            "machine": self.machine(),
            "numpy": find_spec("numpy") is not None,
            "runtimes": {name: one.version_to_run() for name, one in packed.items()},
        }

    def receive(self, name: str, data: str, sha256: str | None) -> str:
        """Add to the file `name`; the last part comes with the checksum of all. Where it lies."""
        path = self._folder / name
        make_folder(path.parent)
        try:
            with path.open("ab") as file:
                file.write(base64.b64decode(data))
        except OSError as error:
            raise cannot("write", path, error) from error
        if sha256 and sha256_of(path) != sha256:
            raise FileError(f"{path} came with another checksum; run the same command again")
        return str(path)

    def load(self, path: str) -> str:
        """Once loaded, the file is not needed: hundreds would fill a small disk."""
        precision = super().load(path)
        for file in files_of(Path(path)):
            file.unlink(missing_ok=True)
        return precision


def _is_packed(maker: str) -> bool:
    """Whether the runtime's module is in the worker's file: PyTorch's needs all of this package."""
    return find_spec(f"mobilenets.runtimes.{maker.partition('.')[0]}") is not None


def main() -> None:
    """The first process, or with a folder as its argument the worker."""
    if len(sys.argv) > 1:
        serve(FarWorker(Path(sys.argv[1])))
    sys.exit(supervise([sys.executable, sys.argv[0]], Path(sys.argv[0]).parent))


def supervise(command: list[str], cache: Path) -> int:
    """Run a worker with a folder in `cache` of its own, which is removed in the end; its exit
    status, over 128 where a signal ended it."""
    _remove_left_over(cache)
    folder = cache / f"{_SESSION}{os.getpid()}"
    worker = subprocess.Popen([*command, str(folder)], start_new_session=True)
    ends = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(end, lambda *_: worker.kill()) for end in ends]
    try:
        code = worker.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for end, handler in zip(ends, before, strict=True):
            signal.signal(end, handler)
    return code if code >= 0 else 128 - code


def _remove_left_over(cache: Path) -> None:
    """What those left whose first process was killed, as when the power failed."""
    for folder in cache.glob(f"{_SESSION}*"):
        if not _lives(folder.name[len(_SESSION) :]):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(number: str) -> bool:
    with contextlib.suppress(PermissionError):  # it lives, and is another user's
        try:
            os.kill(int(number), 0)
        except (ProcessLookupError, ValueError):
            return False
    return True
