"""A page for the browser of another device: a fixed set of files, and one address for results.

Safe on a local network, as far as plain http can be:

- what can be asked for is fixed at the start: addresses are looked up, no path is ever joined;
- every address begins with a random token, and the Host must be ours, so that no other page that
  the browser has open can ask, whatever its name resolves to (DNS rebinding);
- one kind of request writes: results of bounded size, checked, into a bounded number of files;
- the page may load from nowhere else and run nothing but its own files.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any
from urllib.parse import urlsplit

from mobilenets.errors import MeasureError, MobileNetsError
from mobilenets.files import read_bytes

MAX_POST_BYTES = 2**23
RESULTS = "results"  # where results are posted to
_CONNECTIONS = 64
_SILENT_S = 30.0
_LOOPBACK = ("127.0.0.1", "localhost")
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that look alike: the link may be typed
_TOKEN_LENGTH = 12  # 59 bits
# A page on plain http from another machine is no secure context; browsers warn of these there.
_ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
        "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
        "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "Permissions-Policy": "camera=(self), screen-wake-lock=(self)",
    "Cache-Control": "private, max-age=86400, immutable",
}
_SAID = {
    404: "there is nothing at this address",
    405: "only GET, and POST of results, are answered",
    411: "results need a Content-Length",
    413: f"results may have {MAX_POST_BYTES:,} bytes",
    415: "results are application/json",
    421: "this is not the host that the page is served from",
}


@dataclass(frozen=True)
class Content:
    """What is at an address: its media type, and its bytes or the file that has them."""

    kind: str
    body: bytes | Path


class PageServer(ThreadingHTTPServer):
    """Serves `files` under http://`host`:`port`/TOKEN/, and gives what is posted to `take`, one
    after the other; `take` answers in a sentence or raises `MobileNetsError`.

    Raises `MeasureError` for a port that cannot be had; port 0 is any that is free.
    """

    daemon_threads = True

    def __init__(
        self, host: str, port: int, files: Mapping[str, Content], take: Callable[[bytes], str]
    ):
        self.token = "".join(secrets.choice(_LETTERS) for _ in range(_TOKEN_LENGTH))
        self.hosts = frozenset((host, *_LOOPBACK))
        self.files = dict(files)
        self._take = take
        self._taking = Lock()
        self._room = BoundedSemaphore(_CONNECTIONS)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MeasureError(
                f"the page cannot be served at {host}:{port}: {reason}; give another --port"
            ) from error

    @property
    def url(self) -> str:
        """The link to the page."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/{self.token}/"

    def take(self, body: bytes) -> str:
        """What is said of these results."""
        with self._taking:
            return self._take(body)

    def server_bind(self) -> None:
        """Without asking the network for the machine's name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = map(str, self.server_address[:2])  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, unless there are too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no error."""


class _Handler(BaseHTTPRequestHandler):
    """One request. Each answer is a file or one line."""

    server: PageServer
    timeout = _SILENT_S
    server_version, sys_version = "mobilenets", ""

    def do_GET(self) -> None:
        status, name = self._asked()
        content = self.server.files.get(name)
        if status or content is None:
            return self._say(status or (405 if name == RESULTS else 404))
        body = content.body if isinstance(content.body, bytes) else read_bytes(content.body)
        return self._answer(200, content.kind, body)

    def do_POST(self) -> None:
        status, name = self._asked()
        refused = status or self._refused(name)
        if refused:
            return self._say(refused)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            return self._say(200, self.server.take(body))
        except MobileNetsError as error:
            return self._say(400, str(error))

    def _asked(self) -> tuple[int, str]:
        """The status that refuses the request, 0 for none; and what is asked for behind the
        token."""
        if self._host(f"//{self.headers.get('Host', '')}") not in self.server.hosts:
            return 421, ""
        first, _, rest = self.path.partition("/")
        token, slash, name = rest.partition("/")
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        return (0, name) if known and slash and not first else (404, "")

    def _refused(self, name: str) -> int:
        """The status of a post that is not read; 0 for one that is."""
        length = self.headers.get("Content-Length", "")
        origin = self.headers.get("Origin")
        if name != RESULTS:
            return 405 if name in self.server.files else 404
        if origin is not None and self._host(origin) not in self.server.hosts:
            return 421
        if self.headers.get_content_type() != "application/json":
            return 415
        if not (length.isascii() and length.isdigit()):
            return 411
        return 413 if len(length) > 12 or int(length) > MAX_POST_BYTES else 0

    @staticmethod
    def _host(address: str) -> str | None:
        try:
            return urlsplit(address).hostname
        except ValueError:
            return None

    def _say(self, status: int, sentence: str = "") -> None:
        line = sentence or _SAID.get(status, "this request cannot be understood")
        self._answer(status, "text/plain; charset=utf-8", f"{line}\n".encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        host = self._host(f"//{self.headers.get('Host', '')}") if hasattr(self, "headers") else None
        self.send_response(status)
        kept = {} if status == 200 else {"Cache-Control": "no-store"}
        for header, value in (_HEADERS | (_ISOLATED if host in _LOOPBACK else {}) | kept).items():
            self.send_header(header, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Of what http.server itself refuses: a method without a function here, a broken line."""
        self.close_connection = True
        self._say(405 if code == 501 else code)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: stdout is for results."""


def lan_address() -> str:
    """This machine's address on its network; raises `MeasureError` where it has none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # an address of no one; nothing is sent
            address = str(probe.getsockname()[0])
    except OSError as error:
        raise _no_network() from error
    if address.startswith("127."):
        raise _no_network()
    return address


def _no_network() -> MeasureError:
    return MeasureError(
        "this machine has no address on a network; leave out --lan, and reach a phone on USB with: "
        "adb reverse"
    )
