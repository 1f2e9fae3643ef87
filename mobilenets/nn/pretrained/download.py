"""A published file: in the cache, in an installed package, or downloaded once into the cache. Its
checksum is verified each time.

$MOBILENETS_CACHE is the cache, ~/.cache/mobilenets where it is not set. $HF_ENDPOINT takes the
place of https://huggingface.co, as everywhere.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from http.client import HTTPException, HTTPMessage, HTTPResponse, IncompleteRead
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mobilenets.archs.package_weights import EXTRA
from mobilenets.archs.published_weights import Published, WeightsFile
from mobilenets.errors import FileError
from mobilenets.files import cache_folder, write_bytes, write_text
from mobilenets.progress import staged

_HUB = "https://huggingface.co"
_AGENT = {"User-Agent": "mobilenets"}
log = logging.getLogger(__name__)


class Patience(NamedTuple):
    """How many seconds to wait for a connection or for the next bytes; and for `pace` bytes a
    second on the average of so long."""

    seconds: float = 20.0
    pace: float = 1000.0


def fetch(published: Published, patience: Patience = Patience()) -> Path:  # noqa: B008
    """The file of a published checkpoint, downloaded unless it is there.

    One address after another is tried. Raises `FileError` for a download that fails or stalls, a
    package that is not installed, or a file whose checksum is not the published one (or, where none
    is published, not that of the first time); the message says what to install, or where to put the
    file by hand.
    """
    here = local(published)
    if here is not None:
        return verified(*here)
    failures, folder = [], _folder(published)
    for file in published.files:
        if file.package:
            raise FileError(
                f"{published.name} is in the package {file.package}, which is missing: {EXTRA}"
            )
        try:
            return _download(file, folder / file.name, patience)
        except (OSError, HTTPException) as error:
            reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
            failures.append(f"{file.url} ({reason})")
            if file is not published.files[-1]:
                log.warning(f"{failures[-1]} failed; trying the next address")
    places = " or ".join(f"{file.url} to {folder / file.name}" for file in published.files)
    raise FileError(
        f"{published.name} could not be downloaded from {' nor '.join(failures)}; download "
        f"{places} by hand and run the same command again"
    )


def local(published: Published) -> tuple[WeightsFile, Path] | None:
    """One of its files that is on this machine, in the cache or in an installed package."""
    for file in published.files:
        path = _in_package(file) if file.package else _folder(published) / file.name
        if path is not None and path.exists():
            return file, path
    return None


def at_hand(among: Iterable[Published], *, seconds: float = 4.0) -> list[Published]:
    """Those that are on this machine, or of which an address answers, asked once a process. Where
    $MOBILENETS_OFFLINE is set none is asked."""
    among = list(among)
    hosts = dict.fromkeys(_host(file) for one in among for file in one.files if not file.package)
    answering = () if os.environ.get("MOBILENETS_OFFLINE") else _answering(tuple(hosts), seconds)
    readable = [one for one in among if one.source != "keras" or find_spec("h5py")]
    return [
        one
        for one in readable
        if local(one) is not None or any(_host(file) in answering for file in one.files)
    ]


def verified(file: WeightsFile, path: Path) -> Path:
    """`path`, whose bytes are those published; raises `FileError` if they are not."""
    data = path.read_bytes()
    record = _record(path)
    recorded = f"sha256:{record.read_text().split()[0]}" if record.exists() else ""
    for expected in (file.checksum, recorded):
        got = _mismatch(expected, data)
        if got:
            raise FileError(
                f"{path} is broken: its checksum is {got}, not {expected}; put that of {file.url} "
                "in its place"
            )
    if not record.exists() and not file.package:
        with suppress(FileError):  # a cache that cannot be written is still a cache
            _remember(path, data)
    return path


def _folder(published: Published) -> Path:
    return cache_folder() / "weights" / published.source


def _in_package(file: WeightsFile) -> Path | None:
    """Where an installed package has the file. Nothing of the package is run."""
    try:
        found = distribution(file.package).files or ()
    except PackageNotFoundError:
        return None
    return next((Path(str(one.locate())) for one in found if one.name == file.name), None)


def _host(file: WeightsFile) -> str:
    parts = urlsplit(_address(file))
    return f"{parts.scheme}://{parts.netloc}/"


def _address(file: WeightsFile) -> str:
    return file.url.replace(_HUB, os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB, 1)


@cache
def _answering(hosts: tuple[str, ...], seconds: float) -> frozenset[str]:
    """Those from which anything comes back within `seconds`; looking up a name may take longer, and
    is not waited for."""
    found = set[str]()

    def ask(host: str) -> None:
        request = Request(host, headers=_AGENT, method="HEAD")
        with suppress(OSError, HTTPException):
            with suppress(HTTPError):  # an answer, too
                build_opener().open(request, timeout=seconds).close()
            found.add(host)

    asking = [threading.Thread(target=ask, args=(host,), daemon=True) for host in hosts]
    for one in asking:
        one.start()
    until = time.monotonic() + seconds
    for one in asking:
        one.join(max(0.0, until - time.monotonic()))
    return frozenset(found)


def _download(file: WeightsFile, path: Path, patience: Patience) -> Path:
    url = _address(file)
    redirects = _Redirects()
    request = Request(url, headers=_AGENT)
    with build_opener(redirects).open(request, timeout=patience.seconds) as response:
        length = int(response.headers.get("Content-Length") or 0)
        size = f" ({length / 1e6:.1f} MB)" if length else ""
        log.info(f"downloading {url}{size}")
        with staged(f"downloading {file.name}", length, "B") as done:
            data = _read(response, length, patience, done)
        told = redirects.told or _told(response.headers)
    for expected in (file.checksum, told):
        got = _mismatch(expected, data)
        if got:
            raise OSError(f"a broken download: its checksum is {got}, not {expected}")
    write_bytes(path, data)
    _remember(path, data)
    return path


def _read(
    response: HTTPResponse, length: int, patience: Patience, done: Callable[[float], None]
) -> bytes:
    """All of the body; raises `OSError` where it comes too slowly, or ends too soon."""
    data, seen, since = bytearray(), 0, time.monotonic()
    while chunk := response.read1(1 << 16):
        data += chunk
        done(len(data))
        now = time.monotonic()
        if now - since > patience.seconds:
            if len(data) - seen < patience.pace * (now - since):
                raise OSError(f"stalled after {len(data):,} bytes")
            seen, since = len(data), now
    if len(data) < length:
        raise IncompleteRead(bytes(data), length - len(data))
    return bytes(data)


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, and keeps what the Hub says of the file before it sends us elsewhere."""

    told = ""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        self.told = self.told or _told(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _told(headers: HTTPMessage) -> str:
    """The SHA-256 that the Hub tells with a large file, as a checksum; "" without one."""
    etag = (headers.get("X-Linked-ETag") or "").strip('"')
    return f"sha256:{etag}" if re.fullmatch("[0-9a-f]{64}", etag) else ""


def _mismatch(expected: str, data: bytes) -> str:
    """The checksum of `data` where it is not the expected one, which may give only the first
    digits; "" where it is, or nothing is expected."""
    if not expected:
        return ""
    kind, _, digits = expected.partition(":")
    got = hashlib.new(kind, data).hexdigest()
    return "" if got.startswith(digits) else f"{kind}:{got[: len(digits)]}"


def _record(path: Path) -> Path:
    """Where a file's own SHA-256 is kept, in the format of `sha256sum`."""
    return path.with_name(f"{path.name}.sha256")


def _remember(path: Path, data: bytes) -> None:
    write_text(_record(path), f"{hashlib.sha256(data).hexdigest()}  {path.name}\n")
