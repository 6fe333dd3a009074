"""Ends and cuts through TLS: what the client, or the endpoint, can tell of how a connection went."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from harness.client import Response
from harness.http_origin import EchoOrigin
from harness.messages import chunk, get, head, ok, ok_until_close
from harness.origin import Connection, Origin, Step, close, recv_all, recv_head, recv_request, reset, send
from harness.waiting import eventually
from tls.speaking import SECURE, TLS12, TLS13, Served, TlsClient, TlsH2Client, World

versions = pytest.mark.parametrize("version", [TLS12, TLS13])
CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>]}}
  - {name: db, bind: "127.0.0.1:0", protocol: tcp, cluster: app, tls: {certificates: [<site>]}}
clusters: [{name: app, endpoints: [<origin>], connections: {idle: 0}}]
"""
CUTS = {
    "length": head("HTTP/1.1 200 OK", "Content-Length: 9000") + b"x" * 5000,
    "chunked": head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + chunk(b"x" * 5000),
    "inside a chunk": head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"2328\r\n" + b"x" * 5000,
}


@dataclass
class Stage:
    """One lbd before an endpoint that each test tells what to do."""

    lbd: Served
    origin: Origin
    world: World

    def behave(self, *steps: Step) -> None:
        self.origin.behave(list(steps))

    @property
    def last(self) -> Connection:
        """The first connection since `behave`."""
        first = self.origin.first
        return eventually(lambda: self.origin.connections[first:], "a connection to the endpoint")[0]

    def client(self, listener: str = "web", version: ssl.TLSVersion | None = None) -> TlsClient:
        return TlsClient(self.lbd.address(listener), self.world.client_context(version=version))


@pytest.fixture(scope="module")
def stage(world: World) -> Iterator[Stage]:
    with Origin([]) as origin, Served(CONFIG, site=world.pair("site"), origin=origin) as lbd:
        yield Stage(lbd, origin, world)


@versions
@pytest.mark.parametrize("together", [False, True])
def test_half_close_of_a_tunnel(stage: Stage, version: ssl.TLSVersion, together: bool) -> None:
    """close_notify says that the client is done sending: the endpoint sees an end and may still answer."""
    stage.behave(recv_all, send(b"late answer"))
    with stage.client("db", version) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, int(together))
        client.send(b"all that I have")
        with pytest.raises(ssl.SSLError, match="APPLICATION_DATA_AFTER_CLOSE_NOTIFY"):
            client.sock.unwrap()  # Python's way to say that the late answer came
        eventually(lambda: stage.last.ended == "fin", "the endpoint sees an end")
        assert stage.last.received == b"all that I have"


@pytest.mark.parametrize("politely", [True, False])
def test_the_client_goes_in_the_middle_of_its_body(stage: Stage, politely: bool) -> None:
    """The endpoint must see that the request is cut: an end before the length is reached."""
    stage.behave(recv_head)
    before = stage.lbd.errors("client_gone")
    client = stage.client()
    client.send(head("POST / HTTP/1.1", "Host: a.test", "Content-Length: 100000") + b"x" * 5000)
    eventually(lambda: stage.last.received.endswith(b"x" * 5000), "the endpoint has the first part")
    if politely:
        client.sock.settimeout(0.0)
        with pytest.raises((ssl.SSLWantReadError, ssl.SSLError)):
            client.sock.unwrap()
    client.close()
    eventually(lambda: stage.last.ended, "lbd ends the connection to the endpoint")
    assert stage.last.received.count(b"x") < 100000
    eventually(lambda: stage.lbd.errors("client_gone") == before + 1, "it is counted")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_client_goes_in_the_middle_of_the_response(stage: Stage, how: str) -> None:
    stage.behave(recv_head, send(CUTS["length"]))
    before = stage.lbd.errors("client_gone")
    client = stage.client()
    client.send(get())
    client.read_until(b"x" * 5000)
    getattr(client, how)()
    eventually(lambda: stage.last.ended, "lbd ends the connection to the endpoint")
    eventually(lambda: stage.lbd.errors("client_gone") == before + 1, "it is counted")


def cut_response(stage: Stage, cut: str, end: Step, request: bytes, version: ssl.TLSVersion) -> Response:
    stage.behave(recv_request, send(CUTS[cut]), end)
    before = stage.lbd.errors("upstream_truncated")
    with stage.client(version=version) as client:
        response = client.ask(request)
    eventually(lambda: stage.lbd.errors("upstream_truncated") == before + 1, "it is counted")
    return response


@versions
@pytest.mark.parametrize("end", [close, reset], ids=["close", "reset"])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_response_is_seen_as_cut(
    stage: Stage, cut: str, end: Step, version: ssl.TLSVersion
) -> None:
    """By HTTP's own framing: no last chunk, fewer bytes than announced."""
    response = cut_response(stage, cut, end, get(), version)
    assert (response.status, response.complete) == (200, False)
    assert response.body == b"x" * len(response.body)
    assert response.end is not None


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_response_is_seen_as_cut_over_http2(stage: Stage, cut: str) -> None:
    stage.behave(recv_request, send(CUTS[cut]), close)
    context = stage.world.client_context(alpn=("h2",))
    with TlsH2Client(stage.lbd.address(), context) as client:
        answer = client.start().fetch(1)
        assert (answer.status, answer.complete) == (200, False)
        assert answer.reset is not None


@versions
def test_a_cut_response_to_http_1_0_has_no_close_notify(stage: Stage, version: ssl.TLSVersion) -> None:
    """Only the end of the connection delimits it there: a close_notify would make half a response whole."""
    response = cut_response(stage, "chunked", close, head("GET / HTTP/1.0", "Host: a.test"), version)
    assert response.status == 200
    assert response.end in ("cut", "reset")


@versions
def test_a_whole_response_until_close_has_close_notify(stage: Stage, version: ssl.TLSVersion) -> None:
    """RFC 8446 6.1: an HTTP/1.0 client can only tell a whole response from a cut one by that."""
    stage.behave(recv_request, send(ok_until_close(b"y" * 70_000)), close)
    with stage.client(version=version) as client:
        response = client.ask(head("GET / HTTP/1.0", "Host: a.test"))
        assert (response.body, response.end) == (b"y" * 70_000, "fin")


@versions
def test_a_tunnel_that_resets_is_cut(stage: Stage, version: ssl.TLSVersion) -> None:
    stage.behave(send(b"220 hello\r\n"), lambda connection: connection.recv(), reset)
    with stage.client("db", version) as client:
        client.read_until(b"\r\n")
        client.send(b"x")
        assert client.recv() == b""
        assert client.end in ("cut", "reset")


@versions
def test_a_tunnel_that_ends_says_so(stage: Stage, version: ssl.TLSVersion) -> None:
    stage.behave(send(b"bye\r\n"), close)
    with stage.client("db", version) as client:
        assert client.read_until(b"\r\n") == b"bye\r\n"
        assert client.recv() == b""
        assert client.end == "fin"


def test_connection_close_ends_with_close_notify(stage: Stage) -> None:
    stage.behave(recv_request, send(ok()))
    with stage.client() as client:
        assert client.ask(get("/", "Connection: close")).status == 200
        assert client.recv() == b""
        assert client.end == "fin"


def test_draining_ends_idle_connections_with_close_notify(world: World, echo: EchoOrigin) -> None:
    with Served(SECURE, site=world.pair("site"), origin=echo) as lbd, \
            TlsClient(lbd.address(), world.client_context()) as client:
        assert client.ask(get()).status == 200
        lbd.stop()
        assert client.recv() == b""
        assert client.end == "fin"
