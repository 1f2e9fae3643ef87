"""Converting processes that live on from test to test: starting one takes longer than its work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mobilenets.processes.child import Child, _environment

_PATHS = ("path", "checkpoint")


class LivingChild:
    """Like a `Child`, of those that are idle the one that is like it: of the same module, core,
    environment and, as converters spoil one another, the same engine."""

    idle: dict[Any, list[Child]] = {}  # noqa: RUF012 - shared on purpose

    def __init__(self, module: str, *, core: int | None = None):
        self._made = module, core
        self._child: Child | None = None
        self._key: Any = None

    def ask(self, request: Mapping[str, Any], *, timeout: float) -> Any:
        paths = {name: str(Path(request[name]).absolute()) for name in _PATHS if name in request}
        child = self._child = self._child or self._find(request["engine"])
        try:
            return child.ask({**request, **paths}, timeout=timeout)
        except BaseException:
            self._key = None  # its state may be spoilt
            raise

    def close(self) -> None:
        if self._child and self._key is None:
            self._child.close()
        elif self._child:
            self.idle.setdefault(self._key, []).append(self._child)
        self._child = None

    def _find(self, engine: str) -> Child:
        module, core = self._made
        environment = _environment() | {"PYTEST_CURRENT_TEST": ""}
        self._key = module, core, engine, tuple(sorted(environment.items()))
        idle = self.idle.get(self._key)
        return idle.pop() if idle else Child(module, core=core)


@contextmanager
def living_converters() -> Iterator[None]:
    """Converting takes them. They end with this process, when their stdin closes: a session that
    ended them itself and waited was twice ended by a signal 11 in that wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mobilenets.runtimes.isolated.Child", LivingChild)
        yield
