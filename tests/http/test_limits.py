"""Limits and timeouts: each with its status and reason code, and each at its edge."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from harness.client import Client
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get, head, ok, post, post_chunked
from harness.origin import (
    Origin,
    recv_all,
    recv_head,
    recv_request,
    send,
    stall,
    wait_for,
)
from harness.waiting import TIMEOUT, eventually

CONFIG = """
listeners:
  - name: web
    bind: 127.0.0.1:0
    limits: {request_line: 200, head: 1000, fields: 10, body: 1000}
    routes:
      - {match: {path: /large}, cluster: app, limits: {body: 5000}}
      - {match: {path: /small}, cluster: app, limits: {body: 10}}
      - {cluster: app}
clusters: [{name: app, endpoints: [<origin>]}]
"""


@pytest.fixture(scope="module")
def lbd(echo: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=echo) as lbd:
        yield lbd


CLOSE = "Connection: close"  # without it lbd may also drain the body and serve the next request
LIMITS: dict[str, tuple[bytes, int, str]] = {
    "request line": (get("/" + "a" * 200), 414, "target_too_long"),
    "head": (get("/", "X: " + "a" * 1000), 431, "head_too_large"),
    "fields": (get("/", *(f"X{n}: y" for n in range(10))), 431, "head_too_large"),
    "length": (post("/", b"x" * 1001, CLOSE), 413, "body_too_large"),
    "length, nothing sent": (head("POST / HTTP/1.1", "Host: a", "Content-Length: 1001"), 413,
                             "body_too_large"),
    "chunked": (post_chunked("/", b"x" * 600, b"y" * 401, fields=(CLOSE,)), 413, "body_too_large"),
    "one chunk": (post_chunked("/", b"x" * 1001, fields=(CLOSE,)), 413, "body_too_large"),
    "route, large": (post("/large", b"x" * 5001, CLOSE), 413, "body_too_large"),
    "route, small": (post("/small", b"x" * 11, CLOSE), 413, "body_too_large"),
    "expect": (head("POST / HTTP/1.1", "Host: a", "Content-Length: 1001", "Expect: 100-continue"), 413,
               "body_too_large"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_beyond_the_limit(lbd: Lbd, echo: EchoOrigin, name: str) -> None:
    data, status, reason = LIMITS[name]
    before = len(echo.complete)
    with lbd.connect() as client:
        client.send_while_accepted(data + get("/smuggled"))
        response = client.read_response()
        assert (response.status, response.reason, response.informational) == (status, reason, [])
        assert client.read_until_close() == b""
    assert len(echo.complete) == before


@pytest.mark.parametrize("data", [
    get("/" + "a" * (200 - len("GET / HTTP/1.1\r\n"))), get("/", *(f"X{n}: y" for n in range(9))),
    post("/", b"x" * 1000),
    post_chunked("/", b"x" * 600, b"y" * 400), post("/large", b"x" * 5000), post("/small", b"x" * 10),
], ids=["request line", "fields", "length", "chunked", "route, large", "route, small"])
def test_at_the_limit(lbd: Lbd, data: bytes) -> None:
    assert lbd.ask(data).status == 200


TIMED = """
listeners:
  - name: web
    bind: 127.0.0.1:0
    timeouts: {head: 300ms, body: 300ms, idle: 300ms, write: 300ms}
    routes:
      - {match: {path: /patient}, cluster: app, timeouts: {response: 20s}}
      - {cluster: app}
clusters: [{name: app, endpoints: [<origin>], timeouts: {response: 300ms, body: 300ms}}]
"""


def test_head_timeout() -> None:
    with EchoOrigin() as origin, Lbd(TIMED, origin=origin) as lbd, lbd.connect() as client:
        response = client.ask(get()[:-2])
        assert (response.status, response.reason) == (408, "head_timeout")
        assert client.read_until_close() == b""


def test_nothing_sent_is_closed_without_an_answer_or_with_408() -> None:
    with EchoOrigin() as origin, Lbd(TIMED, origin=origin) as lbd, lbd.connect() as client:
        raw = client.read_until_close()
        assert raw == b"" or raw.startswith(b"HTTP/1.1 408 ")


def test_idle_timeout_between_requests_is_silent() -> None:
    with EchoOrigin() as origin, Lbd(TIMED, origin=origin) as lbd, lbd.connect() as client:
        assert client.ask(get()).status == 200
        assert client.read_until_close() == b"" and client.end == "fin"


def test_body_timeout() -> None:
    with EchoOrigin() as origin, Lbd(TIMED, origin=origin) as lbd, lbd.connect() as client:
        response = client.ask(post("/", b"x" * 100)[:-1])
        assert (response.status, response.reason) == (408, "body_timeout")
        assert client.read_until_close() == b""
        eventually(lambda: origin.connections[0].ended, "the upstream connection is closed, not pooled")


def test_response_timeout_and_its_override() -> None:
    go = threading.Event()
    script = [recv_request, wait_for(go), send(ok(b"late"))]
    with (
        Origin(script) as origin, Lbd(TIMED, origin=origin) as lbd,
        lbd.connect() as patient,
    ):
        patient.send(get("/patient"))
        response = lbd.ask(get("/hasty"))
        assert (response.status, response.reason) == (504, "response_timeout")
        go.set()
        assert patient.read_response().body == b"late"


def test_upstream_body_timeout() -> None:
    with Origin([recv_request, send(ok(b"hello")[:-1]), stall]) as origin, Lbd(TIMED, origin=origin) as lbd:
        response = lbd.ask(get())
        assert (response.status, response.complete) == (200, False) and response.end


def test_write_timeout() -> None:
    """A client that does not read is cut after write: 300 ms without progress."""
    script = [recv_head, send(head("HTTP/1.1 200 OK", "Content-Length: 99999999") + b"x" * (16 << 20)),
              recv_all]
    with Origin(script) as origin, Lbd(TIMED,
                                       origin=origin) as lbd, lbd.connect(receive_buffer=4096) as client:
        client.send(get())
        eventually(lambda: origin.connections and origin.connections[0].ended, timeout=2 * TIMEOUT)


def test_slow_but_steady_body_is_served() -> None:
    """The body deadline is about silence: 20 pieces in 1 s pass with body: 300 ms."""
    pause = threading.Event()
    with EchoOrigin() as origin, Lbd(TIMED, origin=origin) as lbd, lbd.connect() as client:
        data = post("/", b"x" * 20)
        client.send(data[:-20])
        for _ in range(20):
            pause.wait(0.05)
            client.send(b"x")
        response = client.read_response()
        assert response.reason != "response_timeout", "counted while the request is still sent"
        assert response.json()["length"] == 20


def test_ipv4_and_ipv6_and_several_binds() -> None:
    config = """
listeners:
  - {name: web, bind: ":0", cluster: app}
  - {name: two, bind: ["127.0.0.1:0", "[::1]:0"], cluster: app}
clusters: [{name: app, endpoints: [<origin>]}]
"""
    with EchoOrigin() as origin, Lbd(config, origin=origin) as lbd:
        port = lbd.ports["web"][1]
        for host in ("127.0.0.1", "::1"):
            with Client((host, port)) as client:
                assert client.ask(get()).status == 200
        assert sum(" listener two: listening on " in line for line in lbd.lines) == 2
