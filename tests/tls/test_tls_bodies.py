"""Bodies through TLS: large ones both ways, pipelined and in pieces, and back-pressure."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import struct
import threading
from collections.abc import Iterator

import pytest
from harness.http_origin import Answer, HttpOrigin
from harness.lbd import Lbd
from harness.messages import get, head, post, post_chunked
from harness.origin import Origin, recv_head, send, send_forever, stall
from harness.waiting import eventually
from tls.speaking import SECURE, TLS12, TLS13, Served, TlsClient, TlsH2Client, World

MIB = 1 << 20
BODY = random.Random(7).randbytes(10 * MIB)
DIGEST = hashlib.sha256(BODY).hexdigest()
versions = pytest.mark.parametrize("version", [TLS12, TLS13])
TCP = SECURE.replace("    cluster: app", "    protocol: tcp\n    cluster: app")


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
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # a reset: a FIN would wait behind the bytes that nobody reads
        eventually(lambda: lbd.errors("client_gone") == 1, "the client is gone")
        origin.close_all()
