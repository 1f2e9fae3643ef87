"""Files and folders: written whole or not at all, read as what they must hold.

What stands in the way of either is a `FileError` of one sentence.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from mobilenets.errors import FileError
from mobilenets.shapes import shaped

_DEEPEST = 100  # levels of a JSON value; each training keeps what its start's file said


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a killed process leaves the old file or the new one."""
    partial = path.with_name(f".{path.name[:50]}.{os.getpid()}.partial")
    make_folder(path.parent)
    try:
        if path.exists() and not path.is_file():
            raise FileError(f"cannot write {path}: it is no regular file; give another")
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise cannot("write", path, error) from error


def cannot(do: str, path: Path, error: OSError | ValueError) -> FileError:
    """The sentence for what the system refused to do with `path`."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason = "it, or what it should lie in, is no folder; give another"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = f"{reason.lower()}; make room there and run the same command again"
    return FileError(f"cannot {do} {path}: {reason}")


def make_folder(path: Path) -> Path:
    """`path`, a folder now, with those above it; raises `FileError` where it cannot be one."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise cannot("make the folder", path, error) from error
    return path


@contextlib.contextmanager
def scratch(folder: Path | None = None, *, prefix: str = "mobilenets-") -> Iterator[Path]:
    """A new folder, in `folder` or where the system has its temporary files, deleted in the end."""
    if folder is not None:
        make_folder(folder)
    try:
        made = tempfile.TemporaryDirectory(dir=folder, prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        raise cannot("make a folder in", folder or Path(os.sep), error) from error
    with made as name:
        yield Path(name)


def remove(path: Path) -> None:
    """Delete a file of our own, where it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot("remove", path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all. What is no text, such as part of a file's name
    that is not UTF-8, is written as it is printed: \\udce9."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_bytes(path: Path) -> bytes:
    """What the file contains; raises `FileError` where there is none."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise cannot("read", path, error) from error


def read_json(path: Path, shape: Any = Any) -> Any:
    """The JSON in `path`, of this `shape` (`parse`); raises `FileError` for any other."""
    data = read_bytes(path)
    try:
        return parse(data, shape)
    except ValueError as error:
        raise broken(path, error) from error


def read_json_lines(path: Path, shape: Any) -> list[Any]:
    """The same for a file with a JSON value a line."""
    lines = read_bytes(path).splitlines()
    try:
        return [parse(line, shape) for line in lines]
    except ValueError as error:
        raise broken(path, error) from error


def open_lines(path: Path, head: Any) -> TextIO:
    """The file of a JSON value a line, open to add some: an empty one begins with `head`, and a
    last line that was cut short is ended. Raises `FileError`."""
    make_folder(path.parent)
    before = read_bytes(path) if path.exists() else b""
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise cannot("write", path, error) from error
    if not before:
        file.write(json.dumps(head) + "\n")
    elif not before.endswith(b"\n"):
        file.write("\n")
    file.flush()
    return file


def broken(path: Path, why: object) -> FileError:
    """The error for a file of a run that does not hold what it must."""
    return FileError(
        f"{path} is broken ({why}); put a good copy in its place, or move it away, and run the "
        "same command again"
    )


def parse(text: str | bytes, shape: Any = Any) -> Any:
    """The JSON value in `text`, which must be of this shape (`shapes.shaped`); raises ValueError
    that says where it differs."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if _deeper(value, _DEEPEST):
        raise ValueError("it is nested too deeply")
    return shaped(value, shape)


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects lie in each other on more than so many levels."""
    if not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in parts)


def sha256_of(path: Path) -> str:
    """The SHA-256 of what the file contains, in hex; raises `FileError` where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise cannot("read", path, error) from error


def cache_folder() -> Path:
    """Where what is dear to make is kept: $MOBILENETS_CACHE, or ~/.cache/mobilenets."""
    try:
        named = os.environ.get("MOBILENETS_CACHE") or "~/.cache/mobilenets"
        return Path(named).expanduser()
    except RuntimeError as error:
        raise FileError(
            "there is no home folder for the cache; set MOBILENETS_CACHE to a folder that can be "
            "written"
        ) from error
