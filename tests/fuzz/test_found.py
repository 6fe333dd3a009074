"""What reading the engine as an attacker and the fuzz tests have found: each stays as a test."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from fuzz.chaos import gauges
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get, head, ok
from harness.origin import (
    Connection,
    Origin,
    Refusing,
    Step,
    recv_all,
    recv_body,
    recv_head,
    send,
    stall,
)
from harness.waiting import eventually

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app,
             timeouts: {head: 1s, body: 1s, idle: 1s, write: 5s} EXTRA}]
clusters: [{name: app, endpoints: [<origin>], connections: {max: MAX, pending: 10},
            timeouts: {connect: 1s, response: 1s, body: 1s, queue: 1s}}]
"""


def config(extra: str = "", most: str = "100") -> str:
    return CONFIG.replace("EXTRA", extra and f", {extra}").replace("MAX", most)


def test_queued_requests_to_a_refusing_endpoint_end() -> None:
    """They went round between queue and refused connects for ever: those of the queue were not counted."""
    with Refusing() as origin, Lbd(config(most="2"), origin=origin) as lbd, ExitStack() as stack:
        clients = [stack.enter_context(lbd.connect()) for _ in range(12)]
        for client in clients:
            client.send(get())
        assert [client.read_response().status for client in clients] == [502] * 12
        assert lbd.metric("lbd_upstream_connects_total") <= 3 * 12


def padded(total: int) -> bytes:
    """A response of exactly that many bytes."""
    return next(data for n in range(total - 200, total) if len(data := ok(b"x" * n)) == total)


def poisoned(first: bytes) -> Step:
    """A response with another behind it that nobody asked for; then good ones."""

    def step(connection: Connection) -> None:
        recv_head(connection)
        connection.send(first + ok(b"poison"))
        while not connection.closed and connection.recv():
            connection.send(ok(b"good"))

    return step


@pytest.mark.parametrize("size", [16384, 16384 + 65536, 6_000_000])
def test_bytes_behind_a_response_reach_nobody(size: int) -> None:
    """They lay unread in the kernel when the connection went back to the pool and no event told of them: the
    next client got them as its answer (CWE-488). Sizes: whole reads, and a body that is spliced."""
    with Origin([poisoned(padded(size))]) as origin, Lbd(config(), origin=origin) as lbd:
        with lbd.connect(receive_buffer=4096) as first:
            first.send(get())
            eventually(lambda: origin.connections and origin.connections[0].received, "asked")
            time.sleep(0.3)  # all that the endpoint sent must lie in buffers before this side reads
            assert len(first.read_response().body) > size - 200
        origin.behave([recv_head, send(ok(b"good")), stall])
        with lbd.connect() as second:
            assert second.ask(get("/second")).body == b"good"


def test_accepting_goes_on_when_a_timeout_frees_a_slot() -> None:
    """The tick deferred the acceptor, and nobody looked at deferred streams until the next event."""
    with (
        EchoOrigin() as origin,
        Lbd(config("limits: {connections: 1}"), origin=origin) as lbd,
        lbd.connect() as first,
    ):
        assert first.ask(get()).status == 200
        with lbd.connect() as second:
            second.send(get())
            assert first.recv() == b""
            assert second.read_response().status == 200


BOTH = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: app}
clusters: [{name: app, endpoints: [<origin>], connections: {max: 1, pending: 10}}]
"""


def test_a_tunnel_never_gets_a_connection_of_http() -> None:
    """A tunnel in the queue was handed an Http1Upstream and took it for its own kind: memory corruption."""
    slow: list[Step] = [recv_head, lambda _: time.sleep(0.5), send(ok(b"good"))]
    with (
        Origin([*slow, recv_head, send(ok())], [recv_head, send(b"raw")]) as origin,
        Lbd(BOTH, origin=origin) as lbd,
        lbd.connect() as http,
    ):
        http.send(get())
        eventually(lambda: origin.received)
        with lbd.connect("db") as tcp:
            tcp.send(get())
            assert http.read_response().body == b"good"
            assert tcp.read_until(b"raw") == b"raw"


def test_a_response_that_begins_before_the_request_ends_has_a_deadline() -> None:
    """The last write of the request body switched the timer of the response body off."""
    early = send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    with (
        Origin([recv_head, early, recv_body(20000), stall]) as origin,
        Lbd(config(), origin=origin) as lbd,
        lbd.connect() as client,
    ):
        client.send(head("POST / HTTP/1.1", "Host: a.test", "Content-Length: 20000"))
        client.read_until(b"abc")
        client.send(b"x" * 10000)
        eventually(lambda: len(origin.received) > 10000)
        client.send(b"x" * 10000)
        assert client.read_until_close() == b""


LOGGING = """
access_log: {to: <log>, format: json}
listeners: [{name: web, bind: "127.0.0.1:0", routes: [{respond: {status: 204}}]}]
"""


def test_long_lines_stay_inside_the_buffer_of_the_access_log(tmp_path: Path) -> None:
    """Escaping makes values six times as long: a line was written over the end of a nearly full buffer. Only
    the sanitizer sees it; 36 lines of about 28 570 bytes leave room to begin one more."""
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    full = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while os.write(full, b"x" * 4096):
            pass
    value = "\xff" * 2048
    request = get("/?" + '"' * 1850, f"Referer: {value}", f"User-Agent: {value}")
    try:
        with Lbd(LOGGING, log=pipe) as lbd, lbd.connect() as client:
            assert client.ask(request).status == 204
            time.sleep(0.6)  # the thread takes this line and gets stuck with it
            for _ in range(40):
                assert client.ask(request).status == 204
    finally:
        os.close(full)


def test_a_reset_after_a_half_close_ends_a_tunnel() -> None:
    """Nothing looked at the client again once it had sent its end: the tunnel stayed for an hour."""
    tcp = BOTH.replace("{max: 1, pending: 10}", "{idle: 1}")
    with Origin([recv_all, stall]) as origin, Lbd(tcp, origin=origin) as lbd:
        client = lbd.connect("db")
        client.send(b"hello").half_close()
        eventually(lambda: origin.connections and origin.connections[0].ended)
        client.reset()
        eventually(lambda: not gauges(lbd), "the tunnel is gone")
