"""A drain: clients of WebSockets are told 1001 between two frames; each kind has a deadline of its own."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator

import pytest
from edge.websocket_endpoint import Endpoint, websocket
from harness.client import Client
from harness.lbd import Lbd
from harness.messages import get, ok
from harness.origin import Connection, Origin, close, notify, recv_all, recv_request, send, wait_for
from harness.waiting import TIMEOUT, eventually
from harness.websocket import ASK, AWAY, SWITCH, frame
from http2.frames import block, data, headers
from tls.speaking import Served, TlsClient, TlsH2Client, World
from websockets.exceptions import ConnectionClosed

from lbd.control.draining import Deadlines, drain

CONFIG = """
drain_timeout: 60s
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
  - {name: secure, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>]}}
clusters: [{name: app, endpoints: [<origin>]}]
"""
PLAIN = """
drain_timeout: 60s
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app}
  - {name: raw, bind: "127.0.0.1:0", protocol: tcp, cluster: raw}
clusters: [{name: app, endpoints: [<origin>]}, {name: raw, endpoints: [<origin>]}]
"""
ANSWER = b"\x88\x82\0\0\0\0\x03\xe9"


def recv_answer(connection: Connection) -> None:
    while not bytes(connection.received).endswith(ANSWER):
        assert connection.recv()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.stop()


@pytest.mark.parametrize("listener", ["web", "secure"])
def test_client_and_endpoint_hear_that_lbd_goes_away(world: World, endpoint: Endpoint, listener: str) -> None:
    config = CONFIG.replace("<site>", world.pair("site"))
    with Served(config, origin=endpoint) as lbd, websocket(lbd, world, listener) as client:
        client.send("hello")
        assert client.recv(TIMEOUT) == "hello"
        lbd.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(TIMEOUT)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert lbd.wait() == 0  # long before its deadlines
    eventually(lambda: endpoint.closed == [1001], "the endpoint has heard of it")


def test_on_a_stream_of_http2(world: World, endpoint: Endpoint) -> None:
    hello = b"\x81\x85\0\0\0\0hello"
    ask = block((":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/echo"),
                (":authority", "a.test"), ("sec-websocket-version", "13"))
    config = CONFIG.replace("<site>", world.pair("site"))
    with Served(config, origin=endpoint) as lbd, TlsH2Client(
        lbd.address("secure"), world.client_context(alpn=("h2",))
    ) as client:
        client.start()
        client.send(headers(1, ask, end=False) + data(1, hello, end=False))
        client.read_until_that(lambda: client.answer(1).body == b"\x81\x05hello", "the echo")
        lbd.signal(signal.SIGTERM)
        client.read_until_that(lambda: client.answer(1).body.endswith(AWAY), "the close frame")
        assert client.goaway == (2**31 - 1, 0), "what is on its way is welcome"
        client.send(data(1, ANSWER, end=False))
        assert client.read_answer(1).complete
        client.send(data(1, end=True))
        client.read_to_end()
        assert client.goaway == (1, 0)
        assert lbd.wait() == 0
    eventually(lambda: endpoint.closed == [1001], "the endpoint has heard of it")


@pytest.mark.parametrize("at", [1, 3, 9, 10, 5000, 3_000_000])
@pytest.mark.parametrize("secure", [False, True])
def test_a_frame_under_way_is_finished_first(world: World, at: int, secure: bool) -> None:
    """at: bytes of it that have passed; long ones are spliced."""
    go = threading.Event()
    whole, dropped = frame(bytes(range(256)) * 20_000), frame(b"too late")
    script = [recv_request, send(SWITCH + frame(b"welcome") + whole[:at]), wait_for(go),
              send(whole[at:] + dropped), recv_answer, close]
    config = CONFIG.replace("<site>", world.pair("site"))
    with Origin(script) as origin, Served(config, origin=origin) as lbd:
        client = TlsClient(lbd.address("secure"), world.client_context()) if secure else lbd.connect()
        with client:
            client.send(ASK)
            assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
            seen = client.read_exactly(len(frame(b"welcome")) + at)
            assert seen == frame(b"welcome") + whole[:at]
            lbd.signal(signal.SIGTERM)
            eventually(lambda: "draining" in lbd.stderr)
            go.set()
            assert client.read_exactly(len(whole) - at) == whole[at:]
            assert client.read_exactly(len(AWAY)) == AWAY
            client.send(ANSWER)
            assert client.read_until_close() == b""
            client.close()
            assert lbd.wait() == 0
        assert bytes(origin.connections[0].received).endswith(ANSWER)


def test_an_endpoint_that_has_closed_has_the_last_word() -> None:
    closing = frame(b"\x0f\xa1", opcode=8)
    script = [recv_request, send(SWITCH + closing), recv_all]
    with Origin(script) as origin, Lbd(PLAIN, origin=origin) as lbd, lbd.connect() as client:
        assert client.ask(ASK).status == 101
        assert client.read_exactly(len(closing)) == closing
        lbd.signal(signal.SIGTERM)
        eventually(lambda: "draining" in lbd.stderr)
        client.half_close()
        assert client.read_until_close() == b""
        assert lbd.wait() == 0


@pytest.mark.parametrize("cut", ["request", "websocket", "tcp"])
def test_each_kind_has_a_deadline_of_its_own(cut: str) -> None:
    asked, go = threading.Event(), threading.Event()
    scripts = {
        "request": [recv_request, notify(asked), wait_for(go), send(ok(b"done"))],
        "websocket": [recv_request, send(SWITCH), recv_all, close],
        "tcp": [send(b"hello"), recv_all, close],
    }
    names = {"request": "drain_timeout", "websocket": "websocket_drain_timeout", "tcp": "tcp_drain_timeout"}
    deadlines = [f"{name}: {'200ms' if kind == cut else '60s'}" for kind, name in names.items()]
    config = PLAIN.replace("drain_timeout: 60s", "\n".join(deadlines))
    with Origin() as origin, Lbd(config, origin=origin) as lbd:
        clients: dict[str, Client] = {}
        for kind, script in scripts.items():
            origin.behave(script)
            clients[kind] = client = lbd.connect("raw" if kind == "tcp" else "web")
            if kind == "request":
                client.send(get("/"))
                assert asked.wait(TIMEOUT)
            elif kind == "websocket":
                assert client.ask(ASK).status == 101
            else:
                assert client.read_exactly(5) == b"hello"
        lbd.signal(signal.SIGTERM)
        assert clients["websocket"].read_exactly(len(AWAY)) == AWAY
        assert clients[cut].read_until_close() == b""
        assert all(client.is_open() for kind, client in clients.items() if kind != cut)
        assert lbd.process.poll() is None
        go.set()
        assert cut == "request" or clients["request"].read_response().status == 200
        for client in clients.values():
            client.close()
        assert lbd.wait() == 0


class Crowd:
    """A listener with so many WebSockets, whose clients go when they are told."""

    def __init__(self, count: int) -> None:
        self.websockets = self.open_connections = count
        self.told: list[int] = []

    def start_drain(self) -> int:
        return self.open_connections

    def close_idle(self, fresh: bool = True) -> None:
        pass

    def cut(self, kind: str | None = None) -> None:
        self.open_connections = 0

    def send_away(self, most: int) -> None:
        self.told.append(most)
        self.websockets -= most
        self.open_connections -= most


def test_a_crowd_is_not_told_all_at_once() -> None:
    crowd = Crowd(30)
    assert asyncio.run(drain([crowd], Deadlines(60.0, 4.0, 60.0))) == 0  # type: ignore[list-item]
    assert sum(crowd.told) == 30 and max(crowd.told) <= 2
    crowd = Crowd(30)
    assert asyncio.run(drain([crowd], Deadlines(60.0, 0.0, 60.0))) == 0  # type: ignore[list-item]
    assert crowd.told == [30]
