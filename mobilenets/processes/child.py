"""A Python process of its own for what must not disturb this one: measuring, converting.

The parent asks, the child answers: one JSON value a line each way. What the child's libraries
print goes to its stderr, whose last line tells of its death.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from mobilenets import errors
from mobilenets.errors import MobileNetsError, lacks_memory
from mobilenets.processes.openmp import as_found

Request = Mapping[str, Any]


def usable_cores() -> list[int]:
    """The cores this process, and so its children, may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class ChildDied(Exception):
    """The child ended without an answer; the message says how, in a few words."""


class Program:
    """A running program that answers requests (see `serve`); a context manager."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None):
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the program
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            start_new_session=True,
        )

    def ask(self, request: Request, *, timeout: float) -> Any:
        """The answer to `request`; raises the program's own error (of ours), or ChildDied when it
        crashes or takes over `timeout` seconds, which ends it."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(timeout, expire)
        timer.start()
        try:
            line = self._exchange(request)
        finally:
            timer.cancel()
        if not line:
            raise ChildDied(f"took over {timeout:g} s" if expired.is_set() else self._death())
        answer = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return answer["answer"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, whatever it is at."""
        # The whole group: what the child's libraries have started would hold the pipes open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]

    def _exchange(self, request: Request) -> bytes:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return b""
        return self._next()

    def _next(self) -> bytes:
        """Its next line; empty where there is none."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def status(self) -> int:
        """How it ended, once it has: its exit status, or less than zero, the signal's number."""
        return self._process.wait()

    def said(self) -> str:
        """The last line on its stderr."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _death(self) -> str:
        code = self.status()
        last = self.said()
        said = f": {last}" if last else ""
        if code == -signal.SIGKILL or lacks_memory(said):
            return (
                "was killed, as happens where a machine lacks memory; close other programs, or "
                "give a smaller network"
            )
        if code >= 0:
            return f"failed with {code}{said}"
        return f"crashed ({signal.Signals(-code).name}){said}"


class Child(Program):
    """A running `python -m MODULE`. Where a `core` is given it runs on that alone."""

    def __init__(
        self,
        module: str,
        *,
        environment: Mapping[str, str] | None = None,
        core: int | None = None,
    ):
        command = (sys.executable, "-P", "-m", module)
        super().__init__(command, environment=_environment() | dict(environment or {}))
        if core is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, {core})


def serve(answer: Callable[[Request], Any]) -> None:
    """The child's side: answer the requests on stdin until it closes.

    Our own errors are told to the parent; any other ends the child. So does the parent's end,
    however it came, and whatever the child is at.
    """
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)  # libraries print where they like
        while True:
            request = json.loads(requests.get())
            print(json.dumps(_reply(answer, request)), file=replies, flush=True)


def _listen(requests: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with what the libraries have started
    os._exit(0)


def _reply(answer: Callable[[Request], Any], request: Request) -> dict[str, Any]:
    try:
        return {"answer": answer(request)}
    except MobileNetsError as error:
        return {"error": type(error).__name__, "message": str(error)}


def _environment() -> dict[str, str]:
    """The user's, with our import path."""
    return as_found(os.environ) | {"PYTHONPATH": os.pathsep.join(_absolute(sys.path))}


def _absolute(entries: Iterable[str]) -> list[str]:
    return [str(Path(entry).absolute()) for entry in entries]
