"""Bodies through TLS: large ones both ways, back-pressure, ends and cuts that the client can tell apart."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from harness.client import Response
from harness.http_origin import Answer, EchoOrigin, HttpOrigin
from harness.lbd import Lbd
from harness.messages import chunk, get, head, ok, ok_until_close, post, post_chunked
from harness.origin import Origin, close, recv_all, recv_head, recv_request, reset, send, send_forever, stall
from harness.waiting import eventually
from tls.speaking import SECURE, TLS12, TLS13, Served, TlsClient, TlsH2Client, World

MIB = 1 << 20
BODY = random.Random(7).randbytes(10 * MIB)
DIGEST = hashlib.sha256(BODY).hexdigest()
versions = pytest.mark.parametrize("version", [TLS12, TLS13])
TCP = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", protocol: tcp, cluster: app, tls: {certificates: [<site>]}}]
clusters: [{name: app, endpoints: [<origin>]}]
"""


def serving(world: World, origin: object, config: str = SECURE) -> Served:
    return Served(config, site=world.pair("site"), origin=origin)


@pytest.fixture(scope="module")
def large(world: World) -> Iterator[Served]:
    """/chunked and /length answer with BODY."""
    with HttpOrigin(lambda seen: Answer(body=BODY, chunked=seen.target == "/chunked")) as origin, \
            serving(world, origin) as lbd:
        yield lbd


@versions
@pytest.mark.parametrize("path", ["/length", "/chunked"])
def test_ten_mebibytes_down(large: Served, world: World, version: ssl.TLSVersion, path: str) -> None:
    with TlsClient(large.address(), world.client_context(version=version)) as client:
        for _ in range(2):
            response = client.ask(get(path))
            assert response.complete
            assert response.body == BODY


def test_ten_mebibytes_down_over_http2(large: Served, world: World) -> None:
    with TlsH2Client(large.address(), world.client_context(alpn=("h2",))) as client:
        client.start((4, 1 << 24)).grant(0, 1 << 24)
        answer = client.fetch(1, "/length")
        assert (answer.complete, answer.body == BODY) == (True, True)


@versions
@pytest.mark.parametrize("chunked", [False, True])
def test_ten_mebibytes_up(secure: Served, world: World, version: ssl.TLSVersion, chunked: bool) -> None:
    pieces = [BODY[at : at + 70_000] for at in range(0, len(BODY), 70_000)]
    data = post_chunked("/up", *pieces) if chunked else post("/up", BODY)
    with TlsClient(secure.address(), world.client_context(version=version)) as client:
        for _ in range(2):
            client.send(data)
            report = client.read_response("POST").json()
            assert (report["length"], report["sha256"]) == (len(BODY), DIGEST)


@versions
def test_both_ways_at_once(world: World, version: ssl.TLSVersion) -> None:
    """A tunnel that echoes: neither direction waits for the other."""

    def mirror(connection) -> None:  # type: ignore[no-untyped-def]
        while data := connection.sock.recv(1 << 16):
            connection.sock.sendall(data)

    with Origin([mirror]) as origin, serving(world, origin, TCP) as lbd, \
            TlsClient(lbd.address(), world.client_context(version=version)) as client:
        # not from two threads: an SSLSocket of Python is not made for that
        for start in range(0, len(BODY), 1 << 16):
            piece = BODY[start : start + (1 << 16)]
            client.send(piece)
            assert client.read_exactly(len(piece)) == piece


@versions
def test_pipelining(secure: Served, world: World, version: ssl.TLSVersion) -> None:
    requests = b"".join(
        post(f"/p{index}", b"x" * index * 700) if index % 3 else get(f"/p{index}") for index in range(60)
    )
    with TlsClient(secure.address(), world.client_context(version=version)) as client:
        client.send(requests)  # the answers are small enough to wait in the kernel
        for index in range(60):
            report = client.read_response("POST").json()
            assert report["target"] == f"/p{index}"
            assert report["length"] == (index * 700 if index % 3 else 0)
        assert client.is_open()


@versions
def test_requests_cut_at_every_record(secure: Served, world: World, version: ssl.TLSVersion) -> None:
    """One record per byte: heads and chunk lines in pieces."""
    data = post_chunked("/pieces", b"hello", b"world" * 20)
    with TlsClient(secure.address(), world.client_context(version=version)) as client:
        client.send_pieces(data)
        assert client.read_response("POST").json()["length"] == 105


def test_slow_reader_is_back_pressure(world: World) -> None:
    """The endpoint is stopped, not buffered for: lbd's memory stays bounded. Who reads gets more."""
    piece = b"z" * (1 << 16)
    whole = [recv_head, send(head("HTTP/1.1 200 OK", f"Content-Length: {256 * MIB}")), send_forever(piece)]
    with Origin(whole) as origin, serving(world, origin) as lbd:
        base = lbd.rss()
        context = world.client_context()
        clients = [TlsClient(lbd.address(), context, receive_buffer=65536) for _ in range(4)]
        for client in clients:
            client.send(get())
            client.read_until(b"\r\n\r\n")
        before = settled(lbd)
        assert lbd.rss() - base < 16 * MIB
        got = 0
        while got < 8 * MIB:
            got += len(clients[0].recv())
        eventually(lambda: lbd.cpu() > before, "lbd goes on")
        assert lbd.rss() - base < 16 * MIB
        for client in clients:
            client.close()
        eventually(lambda: lbd.metric("lbd_connections_open", listener="web") == 0, "all are over")
        origin.closing.set()
        origin.close_all()


def settled(lbd: Lbd) -> float:
    """Its CPU time once that stands still: it waits for somebody."""
    last = -1.0

    def still() -> bool:
        nonlocal last
        previous, last = last, lbd.cpu()
        threading.Event().wait(0.05)
        return previous == last and last == lbd.cpu()

    eventually(still, "lbd waits")
    return last


def test_slow_endpoint_is_back_pressure(world: World) -> None:
    with Origin([recv_head, stall], receive_buffer=65536) as origin, serving(world, origin) as lbd:
        base = lbd.rss()
        with TlsClient(lbd.address(), world.client_context()) as client:
            client.send(head("POST / HTTP/1.1", "Host: a.test", f"Content-Length: {256 * MIB}"))
            client.sock.settimeout(0.5)
            sent = 0
            with pytest.raises(TimeoutError):
                while sent < 128 * MIB:
                    client.sock.sendall(BODY[:MIB])
                    sent += MIB
            assert lbd.rss() - base < 16 * MIB
        origin.closing.set()
        eventually(lambda: lbd.errors("client_gone") == 1, "the client is gone")


@versions
@pytest.mark.parametrize("together", [False, True])
def test_half_close_of_a_tunnel(world: World, version: ssl.TLSVersion, together: bool) -> None:
    """close_notify says that the client is done sending: the endpoint sees an end and may still answer."""
    with Origin([recv_all, send(b"late answer")]) as origin, serving(world, origin, TCP) as lbd, \
            TlsClient(lbd.address(), world.client_context(version=version)) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, int(together))
        client.send(b"all that I have")
        with pytest.raises(ssl.SSLError, match="APPLICATION_DATA_AFTER_CLOSE_NOTIFY"):
            client.sock.unwrap()  # Python's way to say that the late answer came
        eventually(lambda: origin.received == b"all that I have", "the endpoint has it")
        assert origin.connections[0].ended == "fin"


@pytest.mark.parametrize("politely", [True, False])
def test_the_client_goes_in_the_middle_of_its_body(world: World, politely: bool) -> None:
    """The endpoint must see that the request is cut: an end before the length is reached."""
    with Origin([recv_head]) as origin, serving(world, origin) as lbd:
        client = TlsClient(lbd.address(), world.client_context())
        client.send(head("POST / HTTP/1.1", "Host: a.test", "Content-Length: 100000") + b"x" * 5000)
        eventually(lambda: origin.received.endswith(b"x" * 5000), "the endpoint has the first part")
        if politely:
            client.sock.settimeout(0.0)
            with pytest.raises((ssl.SSLWantReadError, ssl.SSLError)):
                client.sock.unwrap()
        client.close()
        eventually(lambda: origin.connections[0].ended, "lbd ends the connection to the endpoint")
        assert origin.received.count(b"x") < 100000
        eventually(lambda: lbd.errors("client_gone") == 1, "it is counted")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_client_goes_in_the_middle_of_the_response(world: World, how: str) -> None:
    part = head("HTTP/1.1 200 OK", "Content-Length: 100000") + b"x" * 5000
    with Origin([recv_head, send(part)]) as origin, serving(world, origin) as lbd:
        client = TlsClient(lbd.address(), world.client_context())
        client.send(get())
        client.read_until(b"x" * 5000)
        getattr(client, how)()
        eventually(lambda: origin.connections[0].ended, "lbd ends the connection to the endpoint")
        eventually(lambda: lbd.errors("client_gone") == 1, "it is counted")


CUTS = {
    "length": head("HTTP/1.1 200 OK", "Content-Length: 9000") + b"x" * 5000,
    "chunked": head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + chunk(b"x" * 5000),
    "inside a chunk": head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + b"2328\r\n" + b"x" * 5000,
}


def cut_response(world: World, script: list, request: bytes, version: ssl.TLSVersion) -> Response:  # type: ignore[type-arg]
    with Origin(script) as origin, serving(world, origin) as lbd:
        with TlsClient(lbd.address(), world.client_context(version=version)) as client:
            response = client.ask(request)
        reason = "upstream_truncated"
        eventually(lambda: lbd.errors(reason) == 1, "it is counted")
    return response


@versions
@pytest.mark.parametrize("end", [close, reset], ids=["close", "reset"])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_response_is_seen_as_cut(
    world: World, cut: str, end: object, version: ssl.TLSVersion
) -> None:
    """By HTTP's own framing: no last chunk, fewer bytes than announced."""
    response = cut_response(world, [recv_request, send(CUTS[cut]), end], get(), version)
    assert (response.status, response.complete) == (200, False)
    assert response.body == b"x" * len(response.body)
    assert response.end is not None


@versions
def test_a_cut_response_to_http_1_0_has_no_close_notify(world: World, version: ssl.TLSVersion) -> None:
    """Only the end of the connection delimits it there: a close_notify would make half a response whole."""
    script = [recv_request, send(CUTS["chunked"]), close]
    response = cut_response(world, script, head("GET / HTTP/1.0", "Host: a.test"), version)
    assert response.status == 200
    assert response.end in ("cut", "reset")


@versions
def test_a_whole_response_until_close_has_close_notify(world: World, version: ssl.TLSVersion) -> None:
    """RFC 8446 6.1: an HTTP/1.0 client can only tell a whole response from a cut one by that."""
    with Origin([recv_request, send(ok_until_close(b"y" * 70_000)), close]) as origin, \
            serving(world, origin) as lbd, \
            TlsClient(lbd.address(), world.client_context(version=version)) as client:
        response = client.ask(head("GET / HTTP/1.0", "Host: a.test"))
        assert (response.body, response.end) == (b"y" * 70_000, "fin")


@versions
def test_a_tunnel_that_resets_is_cut(world: World, version: ssl.TLSVersion) -> None:
    with Origin([send(b"220 hello\r\n"), lambda c: c.recv(), reset]) as origin, \
            serving(world, origin, TCP) as lbd, \
            TlsClient(lbd.address(), world.client_context(version=version)) as client:
        client.read_until(b"\r\n")
        client.send(b"x")
        assert client.recv() == b""
        assert client.end in ("cut", "reset")


@versions
def test_a_tunnel_that_ends_says_so(world: World, version: ssl.TLSVersion) -> None:
    with Origin([send(b"bye\r\n"), close]) as origin, serving(world, origin, TCP) as lbd, \
            TlsClient(lbd.address(), world.client_context(version=version)) as client:
        assert client.read_until(b"\r\n") == b"bye\r\n"
        assert client.recv() == b""
        assert client.end == "fin"


def test_connection_close_ends_with_close_notify(secure: Served, echo: EchoOrigin, world: World) -> None:
    with TlsClient(secure.address(), world.client_context()) as client:
        assert client.ask(get("/", "Connection: close")).status == 200
        assert client.recv() == b""
        assert client.end == "fin"
    with Origin([recv_request, send(ok())]) as origin, serving(world, origin) as lbd, \
            TlsClient(lbd.address(), world.client_context()) as client:
        assert client.ask(get()).body == b"ok"
        lbd.stop()
        assert client.recv() == b""
        assert client.end == "fin", "draining ends an idle connection in order"
