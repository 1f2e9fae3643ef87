"""The measuring worker as one file for another machine: a zipapp of this package's own modules.

All it needs there is Python 3.10, numpy and the runtime. `python worker.pyz` reads requests from
stdin (`processes.child.serve`).
"""

from __future__ import annotations

import ast
import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from mobilenets.runtimes import RUNTIMES

OLDEST_PYTHON = (3, 10)
_PACKAGE = Path(__file__).parents[1]
_ENTRY = "mobilenets.devices.far"
# With what their functions import: the rest of what functions import is for converting.
_WHOLE = (_ENTRY, "mobilenets.measuring.worker")
_NEEDS_PYTORCH = "pytorch"
_MAIN = """\
import types, typing
if not hasattr(typing, "NotRequired"):  # Python 3.10
    get = classmethod(types.GenericAlias)
    typing.NotRequired = type("NotRequired", (), {"__class_getitem__": get})
    typing.Self = typing.TypeVar("Self")
from ENTRY import main
main()
"""
_NO_DATE = (1980, 1, 1, 0, 0, 0)


@cache
def worker_file(entry: str = _ENTRY) -> bytes:
    """The file, which calls `main` of the module `entry`: the same bytes for the same package."""
    runtimes = {known.maker.partition(".")[0] for known in RUNTIMES.values()} - {_NEEDS_PYTORCH}
    return packed(entry, [*_WHOLE, *(f"mobilenets.runtimes.{name}" for name in runtimes)])


def checksum() -> str:
    """The file's SHA-256, in hex."""
    return hashlib.sha256(worker_file()).hexdigest()


def packed(entry: str, modules: Sequence[str]) -> bytes:
    """A zipapp that calls `main` of the module `entry`, with these modules and all of ours that
    they import. Not compressed: zlib's versions differ."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("__main__.py", _NO_DATE), _MAIN.replace("ENTRY", entry))
        for module in closed([entry, *modules]):
            path = _file_of(module)
            name = path.relative_to(_PACKAGE.parent).as_posix()
            file.writestr(zipfile.ZipInfo(name, _NO_DATE), path.read_bytes())
    return buffer.getvalue()


def closed(modules: Sequence[str]) -> list[str]:
    """These modules, their packages, and all of ours that they import on being imported; those of
    `_WHOLE` later, too."""
    found: set[str] = set()
    left = list(modules)
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += [module.rpartition(".")[0]] if "." in module else []
            left += _imports(module)
    return sorted(found)


def _imports(module: str) -> Iterator[str]:
    """Our modules that it imports; `from mobilenets.archs import ops` may be of either kind."""
    nodes = ast.parse(_file_of(module).read_bytes()).body
    for node in _walk(nodes, deep=module in _WHOLE):
        names = [f"{node.module}.{one.name}" for one in node.names]
        for name in [str(node.module), *names]:
            if name.split(".")[0] == "mobilenets" and _file_of(name).exists():
                yield name


def _walk(nodes: Sequence[ast.AST], *, deep: bool) -> Iterator[ast.ImportFrom]:
    """What is run on import, and with `deep` what functions import."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif deep or not isinstance(node, ast.FunctionDef):
            yield from _walk(list(ast.iter_child_nodes(node)), deep=deep)


def _file_of(module: str) -> Path:
    path = _PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
