"""The page's server refuses all but its files and its results; what is posted is checked."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mobilenets.archs import get_arch, to_json
from mobilenets.devices.browser_results import Inbox, Served, machine_of, told
from mobilenets.devices.serving import MAX_POST_BYTES, Content, PageServer
from mobilenets.errors import MeasureError
from mobilenets.measuring import Latency
from mobilenets.measuring.results import Plan, read_results

ARCH = get_arch("mobilenet_v3_small")
NETWORKS = [Served("small", "ab" * 32, "fp32")]
ANDROID = (
    "Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Mobile Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/19.1 Mobile/15E148 Safari/604.1"
)


def posted(**changes: Any) -> dict[str, Any]:
    network = {
        "item": 0,
        "times_ms": [2.0, 2.1, 2.0, 2.2],
        "burst": 2,
        "group": 3,
        "first_ms": 9.0,
        "reference_ms": 1.0,
        "drift": 1.01,
    }
    return {
        "agent": ANDROID,
        "cores": 8,
        "threads": 1,
        "provider": "wasm",
        "isolated": False,
        "tick_ms": 0.1,
        "networks": [network],
        "timings": [],
    } | changes


def inbox(folder: Path) -> Inbox:
    plan: Plan = {
        "mobilenets_kit": 1,
        "runtime": "onnxruntime",
        "threads": 1,
        "references": [],
        "items": [{"file": "a.onnx", "kind": "network", "arch": to_json(ARCH), "times": 2}],
        "artifacts": [{"file": "a.onnx", "sha256": "ab" * 32, "latency_ms": None}],
    }
    return Inbox(folder, "1.30.0", plan, NETWORKS)


@pytest.fixture
def server() -> Iterator[PageServer]:
    files = {"": Content("text/html", b"<p>page"), "a.js": Content("text/javascript", b"1")}

    def take(body: bytes) -> str:
        if body == b"{}":
            raise MeasureError("these are no results")
        return f"{len(body)} bytes"

    with PageServer("127.0.0.1", 0, files, take) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


Answer = tuple[int, str, dict[str, str]]


def ask(
    server: PageServer,
    method: str = "GET",
    path: str | None = None,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """`path` None is the page's."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    try:
        connection.request(
            method, f"/{server.token}/" if path is None else path, body, headers or {}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def test_the_page_is_at_the_link(server: PageServer):
    status, body, headers = ask(server)

    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/{server.token}/"
    assert (status, body) == (200, "<p>page")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval';"
        in (headers["Content-Security-Policy"])
    )
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "path",
    [
        "/", "/a.js", "/aaaaaaaaaaaa/", "/aaaaaaaaaaaa/a.js", "/TOKEN", "/TOKEN/b.js", "/TOKEN//",
        "/TOKEN/../a.js", "/TOKEN/a.js?x", "/TOKEN/../../etc/passwd", "/TOKEN/%2e%2e/etc/passwd",
        "/TOKEN/..%2f..%2fetc/passwd", "//etc/passwd", "/etc/passwd", "/TOKEN/a.js/",
        "/TOKEN/a.js%00", "http://127.0.0.1/etc/passwd", "/TOKEN/\\..\\x",
    ],
)  # fmt: skip
def test_any_other_address_is_refused_in_a_line(server: PageServer, path: str):
    status, body, headers = ask(server, path=path.replace("TOKEN", server.token))

    assert (status, body) == (404, "there is nothing at this address\n")
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "[", "[::1]"])
def test_another_host_is_refused(server: PageServer, host: str):
    status, body, _ = ask(server, headers={"Host": host})

    assert (status, body) == (421, "this is not the host that the page is served from\n")


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1:8700", "LOCALHOST"])
def test_this_host_is_known_by_each_of_its_names(server: PageServer, host: str):
    assert ask(server, headers={"Host": host})[0] == 200


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "X"])
def test_other_methods_are_refused(server: PageServer, method: str):
    status, body, _ = ask(server, method)

    assert status == 405
    assert body == ("" if method == "HEAD" else "only GET, and POST of results, are answered\n")


def post(server: PageServer, body: bytes, name: str = "results", **headers: str) -> Answer:
    more = {key.replace("_", "-"): value for key, value in headers.items()}
    given = {"Content-Type": "application/json"} | more
    return ask(server, "POST", f"/{server.token}/{name}", body=body, headers=given)


def test_results_are_taken(server: PageServer):
    assert post(server, b"[1]", Origin="http://localhost:8700")[:2] == (200, "3 bytes\n")


def test_what_is_no_result_is_refused_with_the_reason(server: PageServer):
    assert post(server, b"{}")[:2] == (400, "these are no results\n")


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("a.js", {}, 405),
        ("b.js", {}, 404),
        ("results", {"Content_Type": "text/plain"}, 415),
        ("results", {"Content_Length": "x"}, 411),
        ("results", {"Content_Length": "-1"}, 411),
        ("results", {"Content_Length": str(MAX_POST_BYTES + 1)}, 413),
        ("results", {"Content_Length": "9" * 40}, 413),
        ("results", {"Origin": "https://evil.example"}, 421),
        ("results", {"Origin": "null"}, 421),
    ],
)
def test_other_posts_are_refused_unread(
    server: PageServer, name: str, headers: dict[str, str], status: int
):
    assert post(server, b"", name, **headers)[0] == status


def test_a_post_of_unknown_length_is_refused(server: PageServer):
    request = (
        f"POST /{server.token}/results HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    assert raw(server, request.encode()).startswith(b"HTTP/1.0 411 ")


def raw(server: PageServer, request: bytes) -> bytes:
    with socket.create_connection(server.server_address[:2], timeout=10) as connection:
        connection.sendall(request)
        return connection.makefile("rb").read()


@pytest.mark.parametrize(
    ("request_", "status"),
    [(b"nonsense\r\n\r\n", b"400"), (b"GET / HTTP/9.9\r\n\r\n", b"505"),
     (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
     (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431")],
)  # fmt: skip
def test_a_broken_request_gets_one_line(server: PageServer, request_: bytes, status: bytes):
    answer = raw(server, request_)

    assert status in answer.split(b"\r\n")[0] or answer == b"this request cannot be understood\n"
    assert answer.endswith(b"this request cannot be understood\n")
    assert ask(server)[0] == 200


def test_a_results_address_cannot_be_read(server: PageServer):
    assert ask(server, path=f"/{server.token}/results")[0] == 405


def test_the_lan_page_claims_no_isolation_that_plain_http_cannot_have():
    with PageServer("127.0.0.1", 0, {"": Content("text/html", b"")}, str) as server:
        server.hosts = frozenset(("192.168.1.5",))
        thread = Thread(target=server.handle_request)
        thread.start()
        status, _, headers = ask(server, headers={"Host": "192.168.1.5:8700"})
        thread.join()

    assert status == 200
    assert "Cross-Origin-Opener-Policy" not in headers


def test_a_taken_port_is_a_sentence(server: PageServer):
    port = server.server_address[1]

    with pytest.raises(MeasureError, match=rf"at 127.0.0.1:{port}: .*; give another --port"):
        PageServer("127.0.0.1", port, {}, str)
    with pytest.raises(MeasureError, match="give another --port"):
        PageServer("127.0.0.1", 70_000, {}, str)


def test_two_servers_have_two_tokens():
    with PageServer("127.0.0.1", 0, {}, str) as one, PageServer("127.0.0.1", 0, {}, str) as other:
        assert one.token != other.token
        assert len(one.token) == 12


def test_results_become_a_file_that_import_reads(tmp_path: Path):
    path, record = inbox(tmp_path).take(json.dumps(posted()).encode())

    assert read_results(path)["plan"] == record["plan"]
    assert json.loads(path.read_text()) == json.loads(json.dumps(record))
    assert path.name == f"browser-{record['machine']['fingerprint']}.json"
    assert {key: record[key] for key in ("mobilenets_results", "kind", "threads")} == {
        "mobilenets_results": 1, "kind": "browser", "threads": 1,
    }  # fmt: skip
    assert (record["runtime"], record["runtime_version"]) == ("onnxruntime", "web-1.30.0")
    (found,) = record["latencies"]
    assert found["sha256"] == "ab" * 32
    latency = Latency.from_json(json.loads(json.dumps(found["latency"])))
    assert latency.p50_ms == 2.05
    assert latency.runtime_version == "web-1.30.0"
    (timing,) = record["timings"]
    assert (timing["item"], timing["ms"], timing["reference_ms"]) == (0, 2.05, 1.0)
    assert told(record, NETWORKS) == [
        "small  p50 2.05 ms, p90 2.17 ms, 12 runs",
        "1 of 2 timings for a latency table",
    ]


def test_results_of_more_threads_are_of_a_plan_with_so_many(tmp_path: Path):
    path, _ = inbox(tmp_path).take(json.dumps(posted(threads=4)).encode())

    assert read_results(path)["plan"]["threads"] == 4


def test_a_second_report_of_a_browser_replaces_its_first(tmp_path: Path):
    box = inbox(tmp_path)
    first, _ = box.take(json.dumps(posted()).encode())
    second, record = box.take(json.dumps(posted(tick_ms=0.5)).encode())

    assert first == second
    assert record["browser"]["tick_ms"] == 0.5
    assert list(tmp_path.iterdir()) == [first]


def test_only_so_many_browsers_are_kept(tmp_path: Path):
    box = inbox(tmp_path)
    for cores in range(1, 17):
        box.take(json.dumps(posted(cores=cores)).encode())

    with pytest.raises(MeasureError, match="there are results of 16 browsers; start serve again"):
        box.take(json.dumps(posted(cores=17)).encode())
    assert len(list(tmp_path.iterdir())) == 16


AGREED = {"item": 0, "images": 10, "same": 10, "max_relative_error": 0.0}
NETWORK = posted()["networks"][0]
TIMING = {"item": 0, "ms": 1.0, "reference_ms": 1.0, "noisy": False, "seconds": 0.1}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cores": 0}, "cores is 0, which is out of range"),
        ({"agent": 7}, "agent must be a text, got 7"),
        ({"networks": []}, "nothing was measured"),
        ({"networks": [NETWORK, NETWORK]}, "it has other networks than the page"),
        ({"networks": [NETWORK | {"item": 1}]}, "it has other networks than the page"),
        ({"networks": [NETWORK | {"times_ms": []}]}, r"networks\[0\].times_ms .* out of range"),
        ({"networks": [NETWORK | {"times_ms": [0]}]}, "which is out of range"),
        ({"networks": [NETWORK | {"burst": 3}]}, "a turn is cut short"),
        ({"timings": [TIMING] * 3}, "it has other timings than the page"),
        ({"timings": [TIMING | {"item": 1}]}, "it has other timings than the page"),
        ({"agreement": [AGREED, AGREED]}, "it has other agreement than the page"),
    ],
)
def test_other_results_are_refused(tmp_path: Path, changes: dict[str, Any], why: str):
    with pytest.raises(MeasureError, match=f"these are no results of the page: .*{why}"):
        inbox(tmp_path).take(json.dumps(posted(**changes)).encode())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 5000, b'{"cores": NaN}'])
def test_what_is_no_json_of_the_page_is_refused(tmp_path: Path, body: bytes):
    with pytest.raises(MeasureError, match="these are no results of the page: "):
        inbox(tmp_path).take(body)


@pytest.mark.parametrize(
    ("agent", "more", "cpu", "system"),
    [
        (ANDROID, {}, "Chrome 156 on Android 15", "Android 15"),
        (ANDROID, {"model": "Pixel 9"}, "Chrome 156 on Pixel 9", "Android 15"),
        (ANDROID, {"provider": "webgpu"}, "Chrome 156 on Android 15, webgpu", "Android 15"),
        (IPHONE, {}, "Safari 19 on iOS 19.1", "iOS 19.1"),
        ("<script>", {}, "browser on an unknown system", "an unknown system"),
    ],
)
def test_a_browser_is_called_by_its_name(agent: str, more: dict[str, str], cpu: str, system: str):
    found = machine_of(posted(agent=agent, **more))  # type: ignore[arg-type]

    assert (found["cpu"], found["os"], found["machine"]) == (cpu, system, "wasm")
    assert len(found["fingerprint"]) == 8
