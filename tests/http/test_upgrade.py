"""WebSocket tunnels and the upgrades that are refused. RFC 9110 7.8; RFC 6455 4; hazard 19."""

from __future__ import annotations

import threading

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get, head, ok
from harness.origin import (
    Origin,
    close,
    half_close,
    recv_all,
    recv_head,
    reset,
    send,
    wait_for,
)
from harness.waiting import TIMEOUT, eventually
from harness.websocket import ASK, SWITCH, echo_bytes

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app, timeouts: {tunnel: 60s, body: 500ms, idle: 500ms}}]
clusters: [{name: app, endpoints: [<origin>], timeouts: {response: 2s, body: 500ms}}]
"""


def test_tunnel_carries_bytes_both_ways() -> None:
    with Origin([recv_head, send(SWITCH), echo_bytes]) as origin, Lbd(CONFIG, origin=origin) as lbd:
        with lbd.connect() as client:
            response = client.ask(ASK)
            assert (response.status, response.one("upgrade")) == (101, "websocket")
            assert (response.one("connection") or "").lower() == "upgrade"
            assert response.one("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            for message in (b"\x81\x05hello", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 1000):
                client.send(message)
                assert client.read_exactly(len(message)) == message
        seen = bytes(origin.connections[0].received).lower()
        assert b"\r\nupgrade: websocket\r\n" in seen and b"\r\nconnection: upgrade\r\n" in seen


def test_bytes_with_the_101_and_right_after_it_pass() -> None:
    with (
        Origin([recv_head, send(SWITCH + b"welcome"), echo_bytes]) as origin,
        Lbd(CONFIG, origin=origin) as lbd,
        lbd.connect() as client,
    ):
        assert client.ask(ASK).status == 101
        assert client.read_exactly(7) == b"welcome"


def test_nothing_is_tunnelled_before_101() -> None:
    """CVE-2026-2833: bytes behind the request wait for the answer."""
    go = threading.Event()
    with Origin([recv_head, wait_for(go), send(ok(b"no")), recv_all]) as origin, Lbd(CONFIG,
                                                                                     origin=origin) as lbd:
        with lbd.connect() as client:
            client.send(ASK + b"\x81\x05hello")
            eventually(lambda: origin.connections and b"\r\n\r\n" in origin.connections[0].received)
            assert b"hello" not in origin.received
            go.set()
            response = client.read_response()
            assert (response.status, response.body) == (200, b"no")
            client.read_until_close()
        assert b"hello" not in origin.received


@pytest.mark.parametrize("status",
                         ["200 OK", "400 Bad Request", "403 Forbidden", "426 Upgrade Required", "503 No"])
def test_other_answers_leave_http_in_place(status: str) -> None:
    wire = head(f"HTTP/1.1 {status}", "Content-Length: 2", "Upgrade: websocket") + b"no"
    with (
        Origin([recv_head, send(wire), recv_head, send(ok(b"next"))]) as origin,
        Lbd(CONFIG, origin=origin) as lbd,
        lbd.connect() as client,
    ):
        response = client.ask(ASK)
        assert (response.status, response.body) == (int(status[:3]), b"no")
        assert client.ask(get()).body == b"next"


@pytest.mark.parametrize("wire", [
    SWITCH.replace(b"websocket", b"h2c"), head("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade"),
], ids=["another protocol", "no protocol"])
def test_101_to_what_was_not_asked(wire: bytes) -> None:
    with Origin([recv_head, send(wire), echo_bytes]) as origin, Lbd(CONFIG, origin=origin) as lbd:
        response = lbd.ask(ASK)
        assert (response.status, response.reason) == (502, "upstream_invalid")


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "foo", "websocketx", "h2c, foo"])
def test_other_protocols_are_not_passed_on(plain: Lbd, echo: EchoOrigin, protocol: str) -> None:
    seen = plain.ask(get("/", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}",
                         "HTTP2-Settings: AAAA")).json()
    assert {"upgrade", "http2-settings"}.isdisjoint(dict(seen["headers"]))


def test_old_clients_cannot_upgrade(plain: Lbd) -> None:
    seen = plain.ask(ASK.replace(b"HTTP/1.1", b"HTTP/1.0")).json()
    assert "upgrade" not in dict(seen["headers"])


def test_tunnel_outlives_the_http_timeouts() -> None:
    """body and idle are 500 ms here; the tunnel timeout is what counts."""
    go = threading.Event()
    with (
        Origin([recv_head, send(SWITCH), wait_for(go), send(b"late")]) as origin,
        Lbd(CONFIG, origin=origin) as lbd,
        lbd.connect() as client,
    ):
        assert client.ask(ASK).status == 101
        threading.Timer(1.2, go.set).start()
        assert client.read_exactly(4) == b"late"


def test_idle_tunnel_ends() -> None:
    config = CONFIG.replace("tunnel: 60s", "tunnel: 500ms")
    with Origin([recv_head, send(SWITCH), recv_all]) as origin, Lbd(config, origin=origin) as lbd:
        with lbd.connect() as client:
            assert client.ask(ASK).status == 101
            assert client.read_until_close() == b""
        eventually(lambda: origin.connections[0].ended)


@pytest.mark.parametrize(("end", "seen"), [(close, "fin"), (reset, "reset")], ids=["fin", "rst"])
def test_end_of_the_endpoint_reaches_the_client(end: object, seen: str) -> None:
    script = [recv_head, send(SWITCH + b"bye"), end]
    with Origin(script) as origin, Lbd(CONFIG, origin=origin) as lbd, lbd.connect() as client:  # type: ignore[arg-type]
        client.send(ASK)
        client.read_until_close()
        assert client.end in (seen, "reset")


def test_half_close_passes_through_the_tunnel() -> None:
    with (
        Origin([recv_head, send(SWITCH), half_close, recv_all]) as origin, Lbd(CONFIG, origin=origin) as lbd,
        lbd.connect() as client,
    ):
        assert client.ask(ASK).status == 101
        assert client.read_until_close() == b"" and client.end == "fin"
        client.send(b"still here")
        client.half_close()
        eventually(lambda: b"still here" in origin.received, timeout=TIMEOUT)


def test_tunnel_is_never_pooled() -> None:
    scripts = [recv_head, send(SWITCH), recv_all], [recv_head, send(ok(b"next"))]
    with Origin(*scripts) as origin, Lbd(CONFIG, origin=origin) as lbd:
        with lbd.connect() as client:
            assert client.ask(ASK).status == 101
        assert lbd.ask(get()).body == b"next"
        assert len(origin.connections) == 2
