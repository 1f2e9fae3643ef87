"""A published file: downloaded once into the cache, and its checksum verified each time.

$MOBILENETS_CACHE is the cache, ~/.cache/mobilenets where it is not set. $HF_ENDPOINT takes the
place of https://huggingface.co, as everywhere.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from contextlib import suppress
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mobilenets.archs.published_weights import Published, WeightsFile
from mobilenets.errors import FileError
from mobilenets.files import write_bytes, write_text

_TIMEOUT_S = 60
_HUB = "https://huggingface.co"
log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("MOBILENETS_CACHE") or "~/.cache/mobilenets").expanduser()


def fetch(published: Published) -> Path:
    """The file of a published checkpoint, downloaded unless it is there.

    Raises `FileError` for a download that fails or a file whose checksum is not the published one
    (or, where none is published, not that of the first time); the message says where to put it by
    hand.
    """
    folder = cache_folder() / "weights" / published.source
    for file in published.files:
        if (folder / file.name).exists():
            return verified(file, folder / file.name)
    failures = []
    for file in published.files:
        try:
            return _download(file, folder / file.name)
        except (OSError, HTTPException) as error:
            reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
            failures.append(f"{file.url} ({reason})")
    places = " or ".join(f"{file.url} to {folder / file.name}" for file in published.files)
    raise FileError(
        f"{published.name} could not be downloaded from {' nor '.join(failures)}; download "
        f"{places} by hand and run the same command again"
    )


def verified(file: WeightsFile, path: Path) -> Path:
    """`path`, whose bytes are those published; raises `FileError` if they are not."""
    data = path.read_bytes()
    record = _record(path)
    recorded = f"sha256:{record.read_text().split()[0]}" if record.exists() else ""
    for expected in (file.checksum, recorded):
        got = _mismatch(expected, data)
        if got:
            raise FileError(
                f"{path} is broken: its checksum is {got}, not {expected}; remove it and run the "
                f"same command again, or download {file.url} to it by hand"
            )
    if not record.exists():
        with suppress(FileError):  # a cache that cannot be written is still a cache
            _remember(path, data)
    return path


def _download(file: WeightsFile, path: Path) -> Path:
    url = file.url.replace(_HUB, os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB, 1)
    log.info(f"downloading {url}")
    redirects = _Redirects()
    request = Request(url, headers={"User-Agent": "mobilenets"})
    with build_opener(redirects).open(request, timeout=_TIMEOUT_S) as response:
        data = response.read()
        told = redirects.told or _told(response.headers)
    for expected in (file.checksum, told):
        got = _mismatch(expected, data)
        if got:
            raise OSError(f"a broken download: its checksum is {got}, not {expected}")
    write_bytes(path, data)
    _remember(path, data)
    return path


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
