"""WebSockets between the `websockets` library's client and server, through lbd: plain, TLS, HTTP/2."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import h2.events
import pytest
from edge.websocket_endpoint import Endpoint, websocket
from edge.websocket_http2 import Http2Connection, StreamSocket, connect_tcp
from harness.messages import get
from harness.waiting import SLOW, TIMEOUT, eventually
from tls.speaking import Served, TlsClient, World
from websockets.exceptions import ConnectionClosed, InvalidStatus

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", routes: <routes>}
  - {name: secure, bind: "127.0.0.1:0", routes: <routes>, tls: {certificates: [<site>]}}
clusters: [{name: app, endpoints: [<origin>]}]
"""
ROUTES = """[
    {name: few, match: {path: /few}, cluster: app, limits: {tunnels: 2}},
    {name: short, match: {path: /short}, cluster: app, timeouts: {tunnel: 500ms}},
    {name: all, cluster: app}]"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="module")
def lbd(world: World, endpoint: Endpoint) -> Iterator[Served]:
    with Served(CONFIG.replace("<routes>", ROUTES), site=world.pair("site"), origin=endpoint) as lbd:
        yield lbd


@contextmanager
def http2(lbd: Served, world: World, listener: str = "secure") -> Iterator[Http2Connection]:
    if listener == "secure":
        client = TlsClient(lbd.address(listener), world.client_context(alpn=("h2",)))
        with Http2Connection(client.sock) as connection:
            yield connection
    else:
        with Http2Connection(connect_tcp(lbd.address(listener))) as connection:
            yield connection


def open_stream(connection: Http2Connection, path: str = "/echo", *fields: tuple[str, str]) -> StreamSocket:
    stream = connection.connect(path, *fields)
    response = connection.response(stream)
    assert response[":status"] == "200", response
    deflate = "permessage-deflate" in response.get("sec-websocket-extensions", "")
    return StreamSocket(connection, stream, deflate)


listeners = pytest.mark.parametrize("listener", ["web", "secure"])
MESSAGES: list[str | bytes] = ["", "hello", "ünïcödé", b"", b"\x00\xff" * 10, "a" * 126, b"b" * 65_536,
                               b"c" * (1 << 20), "d" * 300_000]


@listeners
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_echo(lbd: Served, world: World, endpoint: Endpoint, listener: str, compression: str | None) -> None:
    with websocket(lbd, world, listener, compression=compression) as client:
        for message in MESSAGES:
            client.send(message)
            assert client.recv(TIMEOUT) == message
        assert client.ping().wait(TIMEOUT)
        ours = [extension.name for extension in client.protocol.extensions]
    assert ours == endpoint.extensions[-1] == (["permessage-deflate"] if compression else [])


@listeners
def test_what_the_endpoint_sees(lbd: Served, world: World, endpoint: Endpoint, listener: str) -> None:
    with websocket(lbd, world, listener, "/seen?x=1", subprotocols=None):
        request = endpoint.requests[-1]
    assert request.path == "/seen?x=1"
    assert request.headers["Upgrade"].lower() == "websocket"
    assert request.headers["X-Forwarded-For"] == "127.0.0.1"
    assert request.headers["X-Forwarded-Proto"] == ("https" if listener == "secure" else "http")
    assert len(request.headers.get_all("Sec-WebSocket-Key")) == 1


@listeners
def test_close_codes_pass_both_ways(lbd: Served, world: World, endpoint: Endpoint, listener: str) -> None:
    with websocket(lbd, world, listener) as client:
        client.send("bye")
        with pytest.raises(ConnectionClosed):
            client.recv(TIMEOUT)
        assert (client.close_code, client.close_reason) == (4001, "as you wish")
    count = len(endpoint.closed)
    with websocket(lbd, world, listener) as client:
        client.close(4002, "done")
    eventually(lambda: 4002 in endpoint.closed[count:], "the endpoint sees it")


@listeners
def test_a_client_that_vanishes(lbd: Served, world: World, endpoint: Endpoint, listener: str) -> None:
    count = len(endpoint.closed)
    with websocket(lbd, world, listener) as client:
        client.send("hello")
        assert client.recv(TIMEOUT) == "hello"
        client.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: 1006 in endpoint.closed[count:], "the endpoint sees it")


@listeners
def test_a_refusal_is_passed_on(lbd: Served, world: World, listener: str) -> None:
    with pytest.raises(InvalidStatus) as refused, websocket(lbd, world, listener, "/no"):
        pass
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"not you\n"


def test_many_at_once(lbd: Served, world: World) -> None:
    """Interleaved: no message goes to another one's socket."""
    with websocket(lbd, world, "secure") as one, websocket(lbd, world) as two, \
            websocket(lbd, world, "secure") as three:
        clients = [one, two, three]
        for turn in range(50):
            for index, client in enumerate(clients):
                client.send(f"{index}:{turn}")
            for index, client in enumerate(clients):
                assert client.recv(TIMEOUT) == f"{index}:{turn}"


@listeners
def test_tunnel_limit_of_a_route(lbd: Served, world: World, listener: str) -> None:
    """A listener's route counts on its own; other routes are not touched; a closed one makes room."""
    before = lbd.errors("too_many_tunnels", listener)
    with websocket(lbd, world, listener, "/few") as first, websocket(lbd, world, listener, "/few") as second:
        with pytest.raises(InvalidStatus) as refused, websocket(lbd, world, listener, "/few"):
            pass
        assert refused.value.response.status_code == 503
        assert b"too_many_tunnels" in (refused.value.response.body or b"")
        assert lbd.errors("too_many_tunnels", listener) == before + 1
        with websocket(lbd, world, listener, "/echo") as other:
            other.send("free")
            assert other.recv(TIMEOUT) == "free"
        for client in (first, second):
            client.send("still here")
            assert client.recv(TIMEOUT) == "still here"
        second.close()

        def room() -> bool:
            try:
                with websocket(lbd, world, listener, "/few"):
                    return True
            except InvalidStatus:
                return False

        eventually(room, "the closed one makes room")


def test_tunnel_limit_counts_streams_too(lbd: Served, world: World) -> None:
    with http2(lbd, world) as connection:
        one, two = open_stream(connection, "/few"), open_stream(connection, "/few")
        third = connection.response(connection.connect("/few"))
        assert third[":status"] == "503"
        one.send("a")
        assert one.receive().data == b"a"
        connection.h2.reset_stream(two.stream)
        connection.flush()

        def room() -> bool:
            return connection.response(connection.connect("/few"))[":status"] == "200"

        eventually(room, "the reset one makes room")


@pytest.mark.parametrize("listener", ["web", "secure", "http2"])
def test_tunnel_timeout_of_a_route(lbd: Served, world: World, endpoint: Endpoint, listener: str) -> None:
    """Messages keep it open for longer than that; silence ends it."""
    count = len(endpoint.closed)
    if listener == "http2":
        with http2(lbd, world) as connection:
            stream = open_stream(connection, "/short")
            began = keep_busy(lambda: (stream.send("tick"), stream.receive()))
            connection.wait(stream.stream, h2.events.StreamReset)
            silence = time.monotonic() - began
    else:
        with websocket(lbd, world, listener, "/short") as client:
            began = keep_busy(lambda: (client.send("tick"), client.recv(TIMEOUT)))
            with pytest.raises(ConnectionClosed):
                client.recv(TIMEOUT)
            silence = time.monotonic() - began
    assert 0.3 < silence < 0.5 + 2 * SLOW
    eventually(lambda: len(endpoint.closed) > count, "the endpoint's side ends too")


def keep_busy(exchange: object) -> float:
    """Twice as long as the timeout; when it fell silent."""
    start = time.monotonic()
    while time.monotonic() - start < 1.0:
        exchange()  # type: ignore[operator]
        threading.Event().wait(0.1)
    exchange()  # type: ignore[operator]
    return time.monotonic()


# over HTTP/2

http2_listeners = pytest.mark.parametrize("listener", ["secure", "web"], ids=["tls", "prior knowledge"])
DEFLATE = ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")


@http2_listeners
def test_echo_over_http2(lbd: Served, world: World, endpoint: Endpoint, listener: str) -> None:
    with http2(lbd, world, listener) as connection:
        client = open_stream(connection)
        for message in MESSAGES:
            client.send(message)
            data = message.encode() if isinstance(message, str) else message
            assert receive_message(client) == data
    request = endpoint.requests[-1]
    assert request.headers["Upgrade"].lower() == "websocket"
    assert len(request.headers["Sec-WebSocket-Key"]) == 24, "lbd's own: the client has none to send"


def receive_message(client: StreamSocket) -> bytes:
    frame = client.receive()
    data = bytes(frame.data)
    while not frame.fin:
        frame = client.receive()
        data += bytes(frame.data)
    return data


def test_fields_of_the_upgrade_stay_with_the_endpoint(lbd: Served, world: World) -> None:
    """RFC 8441 5: Upgrade, Connection and Sec-WebSocket-Accept are HTTP/1.1's way of saying it."""
    with http2(lbd, world) as connection:
        response = connection.response(connection.connect())
    assert response[":status"] == "200"
    assert not {"upgrade", "connection", "sec-websocket-accept"} & set(response), response


def test_deflate_over_http2(lbd: Served, world: World, endpoint: Endpoint) -> None:
    with http2(lbd, world) as connection:
        client = open_stream(connection, "/echo", DEFLATE)
        client.send("z" * 100_000)
        assert receive_message(client) == b"z" * 100_000
    eventually(lambda: endpoint.extensions[-1] == ["permessage-deflate"], "it was agreed on")


def test_streams_beside_requests(lbd: Served, world: World) -> None:
    """Two WebSockets and plain requests on one connection."""
    with http2(lbd, world) as connection:
        one, two = open_stream(connection), open_stream(connection)
        for turn in range(20):
            one.send(f"one {turn}")
            two.send(f"two {turn}")
            stream = connection.request(
                (":method", "GET"), (":scheme", "https"), (":path", "/no"), (":authority", "a.test"))
            assert connection.response(stream)[":status"] in ("403", "426", "400")
            assert receive_message(one) == f"one {turn}".encode()
            assert receive_message(two) == f"two {turn}".encode()


def test_refusals_over_http2(lbd: Served, world: World) -> None:
    with http2(lbd, world) as connection:
        assert connection.response(connection.connect("/no"))[":status"] == "403"
        assert int(connection.response(connection.connect("/echo", protocol="other"))[":status"]) >= 400
        stream = open_stream(connection)
        stream.send("alive")
        assert receive_message(stream) == b"alive"


@pytest.mark.parametrize("how", ["reset", "end", "connection"])
def test_ends_over_http2(lbd: Served, world: World, endpoint: Endpoint, how: str) -> None:
    """A reset stream is an abrupt end (RFC 8441 5.1: RST_STREAM with CANCEL is TCP's reset)."""
    count = len(endpoint.closed)
    with http2(lbd, world) as connection:
        client = open_stream(connection)
        client.send("x")
        assert receive_message(client) == b"x"
        if how == "reset":
            connection.h2.reset_stream(client.stream, 8)
        elif how == "end":
            connection.h2.end_stream(client.stream)
        if how != "connection":
            connection.flush()
            eventually(lambda: len(endpoint.closed) > count, "the endpoint sees it")
            other = open_stream(connection)
            other.send("y")
            assert receive_message(other) == b"y"
    eventually(lambda: 1006 in endpoint.closed[count:], "as an abrupt end")


def test_the_endpoint_closes_over_http2(lbd: Served, world: World) -> None:
    with http2(lbd, world) as connection:
        client = open_stream(connection)
        client.send("bye")
        frame = client.receive()
        assert frame.opcode == 8 and frame.data[:2] == (4001).to_bytes(2, "big")
        client.flush()  # the library's answer to the close frame
        connection.wait(client.stream, h2.events.StreamEnded)


def test_a_plain_connect_is_refused(lbd: Served, world: World) -> None:
    """RFC 9113 8.5: without :protocol it asks for a forward proxy."""
    with http2(lbd, world) as connection:
        stream = connection.h2.get_next_available_stream_id()
        connection.h2.send_headers(stream, [(":method", "CONNECT"), (":authority", "a.test:443")])
        connection.flush()
        assert connection.response(stream)[":status"] == "405"


def test_no_tunnel_is_left(lbd: Served, world: World) -> None:
    """After all of these the connections are gone, on both sides."""
    eventually(lambda: lbd.metric("lbd_connections_open", listener="web") == 0, "no client is left")
    eventually(lambda: lbd.metric("lbd_upstream_active") == 0, "nothing is under way")
    assert lbd.metric("lbd_internal_errors_total") == 0
    assert lbd.said() == []
    with lbd.connect() as client:
        assert client.ask(get("/no")).status in (403, 426, 400)
