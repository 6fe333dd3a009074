"""The origins of the demo, asked by the standard library's client."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from lbd.cli import demo_origin
from lbd.cli.demo_origin import CHUNKS, MAX_ECHO, DemoOrigins


@pytest.fixture
def client() -> Iterator[http.client.HTTPConnection]:
    with DemoOrigins(("red", "green")) as origins:
        host, _, port = origins.addresses["green"].partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        yield connection
        connection.close()


def get(client: http.client.HTTPConnection, path: str, **fields: str) -> http.client.HTTPResponse:
    client.request("GET", path, headers={name.replace("_", "-"): value for name, value in fields.items()})
    return client.getresponse()


def test_it_says_who_it_is_and_what_it_saw(client: http.client.HTTPConnection) -> None:
    response = get(client, "/hello?a=1", X_Forwarded_For="192.0.2.1", Accept="x/y", Via="1.1 lbd")
    assert response.status == 200
    assert response.getheader("x-origin") == "green"
    assert response.read().decode().splitlines() == [
        "I am green.",
        "GET /hello?a=1",
        f"host: {client.host}:{client.port}",
        "x-forwarded-for: 192.0.2.1",
        "via: 1.1 lbd",
    ]


def test_a_connection_serves_many_requests(client: http.client.HTTPConnection) -> None:
    get(client, "/1").read()
    before = client.sock
    assert b"GET /2" in get(client, "/2").read()
    assert client.sock is before
    assert before is not None


def test_stream_is_chunked(client: http.client.HTTPConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_origin, "CHUNK_PAUSE", 0.0)
    response = get(client, "/stream")
    assert response.getheader("transfer-encoding") == "chunked"
    lines = response.read().decode().splitlines()
    assert lines == [f"chunk {number} of {CHUNKS} from green" for number in range(1, CHUNKS + 1)]


def test_slow_answers_after_its_pause(
    client: http.client.HTTPConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_origin, "SLOW", 0.01)
    assert b"GET /slow" in get(client, "/slow").read()


@pytest.mark.parametrize(
    ("length", "status"), [(0, 200), (70_000, 200), (MAX_ECHO, 200), (MAX_ECHO + 1, 413)]
)
def test_echo(client: http.client.HTTPConnection, length: int, status: int) -> None:
    body = b"x" * length
    client.request("POST", "/echo", body=body)
    response = client.getresponse()
    assert response.status == status
    assert (response.read() == body) is (status == 200)


def raw(client: http.client.HTTPConnection, data: bytes) -> bytes:
    """What comes back for some bytes until the origin closes."""
    with socket.create_connection((client.host, client.port or 0), timeout=10) as sock:
        sock.sendall(data)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_pipelined_requests_are_answered_in_order(client: http.client.HTTPConnection) -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(50))
    answer = raw(client, requests + b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    seen = [line for line in answer.splitlines() if line.startswith(b"GET /")]
    assert seen == [b"GET /%d" % number for number in range(50)] + [b"GET /last"]


def test_expect_continue(client: http.client.HTTPConnection) -> None:
    head = (
        b"POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n"
        b"content-length: 2\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection((client.host, client.port or 0), timeout=10) as sock:
        sock.sendall(head)
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"hi")
        assert b"".join(iter(lambda: sock.recv(65536), b"")).endswith(b"\r\n\r\nhi")


def test_garbage_closes_the_connection(client: http.client.HTTPConnection) -> None:
    assert raw(client, b"\x16\x03\x01 nonsense\r\n\r\n") == b""


def test_the_thread_and_its_connections_end_with_the_block() -> None:
    before = threading.active_count()
    with DemoOrigins(("red",)) as origins:
        host, _, port = origins.addresses["red"].partition(":")
        sock = socket.create_connection((host, int(port)), timeout=10)
        sock.sendall(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    assert threading.active_count() == before
    with sock:
        assert is_closed(sock)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
