"""Servers on 127.0.0.1 that stand in for the web: one of plain files, one of the Hub's protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class Answer:
    """What a server says: status, headers, body; `length` lies about the body's. `stall` is waited
    for before the connection ends."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    stall: threading.Event | None = None


class Web:
    """A server of `answers` by path; `asked` lists "METHOD /path" as it came in."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.url = ""

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """What to say; a subclass knows more."""
        return self.answers.get(path, Answer(status=404))


@contextmanager
def serving(web: Web) -> Iterator[Web]:
    """`web`, reachable at `web.url`."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            path = unquote(urlsplit(self.path).path)
            web.asked.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = web.answer(self.command, path, body)
            self.send_response(answer.status)
            length = len(answer.body) if answer.length is None else answer.length
            for name, value in {"Content-Length": str(length), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            if answer.stall:
                self.wfile.flush()
                answer.stall.wait(10)

        do_GET = do_HEAD = do_POST = do_PUT = _reply  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def block_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine can be reached."""
    connect = socket.socket.connect

    def checked(self: socket.socket, address: Any) -> None:
        assert isinstance(address, str) or address[0] == "127.0.0.1", f"network: {address}"
        connect(self, address)

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(f"no network in tests: {host}")
        return lookup("127.0.0.1", *rest, **more)

    lookup = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", checked)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Hub(Web):
    """The part of the Hugging Face Hub's API that pushing and pulling uses: repositories, commits,
    large files by the LFS protocol, downloads that are sent to another address."""

    def __init__(self) -> None:
        super().__init__()
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.spoil = b""  # appended to every large file that is handed out

    @staticmethod
    def is_large(name: str) -> bool:
        return name.endswith((".safetensors", ".onnx"))

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        for prefix, work in (
            ("/api/repos/create", self._create),
            ("/api/validate-yaml", lambda *_: _json({"errors": [], "warnings": []})),
            ("/api/models/", self._models),
            ("/lfs/", self._put),
            ("/cdn/", self._hand_out),
        ):
            if path.startswith(prefix):
                return work(path.removeprefix(prefix), body)
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(body)
        repo, _, rest = path.strip("/").partition("/resolve/")
        if repo in self.repos:
            return self._resolve(repo, rest.partition("/")[2])
        return Answer(status=404, headers={"X-Error-Code": "RepoNotFound"})

    def _create(self, _: str, body: bytes) -> Answer:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        private = asked["visibility"] == "private" if "visibility" in asked else asked["private"]
        self.private.setdefault(repo, private)
        self.repos.setdefault(repo, {})
        return _json({"url": f"{self.url}/{repo}"})

    def _models(self, rest: str, body: bytes) -> Answer:
        parts = rest.split("/")
        repo, verb = "/".join(parts[:2]), parts[2] if len(parts) > 2 else "info"
        if repo not in self.repos:
            return Answer(status=404, headers={"X-Error-Code": "RepoNotFound"})
        return {"preupload": self._preupload, "commit": self._commit, "info": self._info}[verb](
            repo, body
        )

    def _preupload(self, _: str, body: bytes) -> Answer:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if self.is_large(file["path"]) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return _json({"files": files})

    def _batch(self, body: bytes) -> Answer:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}}
            for one in json.loads(body)["objects"]
        ]
        return _json({"transfer": "basic", "objects": objects})

    def _put(self, oid: str, body: bytes) -> Answer:
        self.large[oid] = body
        return Answer()

    def _commit(self, repo: str, body: bytes) -> Answer:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.repos[repo][line["value"]["path"]] = content
            if line["key"] == "lfsFile":
                self.repos[repo][line["value"]["path"]] = self.large[line["value"]["oid"]]
        return _json({"commitUrl": f"{self.url}/{repo}/commit/{self.sha}", "commitOid": self.sha})

    sha = "0123456789abcdef0123456789abcdef01234567"

    def _info(self, repo: str, _: bytes) -> Answer:
        siblings = []
        for name, content in self.repos[repo].items():
            one: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _git(content)}
            if self.is_large(name):
                sha256 = hashlib.sha256(content).hexdigest()
                one["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(one)
        return _json({"id": repo, "sha": self.sha, "siblings": siblings})

    def _resolve(self, repo: str, name: str) -> Answer:
        content = self.repos[repo].get(name)
        if content is None:
            return Answer(status=404, headers={"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": self.sha, "ETag": f'"{_git(content)}"'}
        if not self.is_large(name):
            return Answer(content, headers=headers)
        sha256 = hashlib.sha256(content).hexdigest()
        self.large[sha256] = content
        linked = {"X-Linked-ETag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        elsewhere = self.url.replace("127.0.0.1", "localhost")  # large files lie on another host
        sent = {"Location": f"{elsewhere}/cdn/{sha256}"}
        return Answer(status=302, headers=headers | linked | sent)

    def _hand_out(self, sha256: str, _: bytes) -> Answer:
        content = self.large[sha256]
        return Answer(self.spoil + content[len(self.spoil) :])


def _json(value: Any) -> Answer:
    return Answer(json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
