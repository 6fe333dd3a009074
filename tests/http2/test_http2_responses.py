"""Responses of endpoints as an HTTP/2 client gets them; cut ones never look complete.

RFC 9113 8.1, 8.2, 8.6; RFC 9112 6.3, 8; hazards 20, 21."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from harness.client import Fields
from harness.lbd import Lbd
from harness.messages import head, ok, ok_chunked, ok_until_close
from harness.origin import Origin, close, half_close, recv_all, recv_head, recv_request, reset, send
from harness.waiting import eventually
from http2.frames import headers, request, rst_stream
from http2.wire import H2Client

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app, trailers: [X-Checksum]}]
clusters: [{name: app, endpoints: [<origin>], timeouts: {response: 2s, body: 2s}}]
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin([recv_all]) as origin:
        yield origin


@pytest.fixture(scope="module")
def lbd(origin: Origin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


def asked(lbd: Lbd, origin: Origin, wire: bytes, method: str = "GET", after: object = close) -> H2Client:
    """The client once stream 1 is over; the endpoint sends these octets and closes."""
    origin.close_all()
    origin.behave([recv_request, send(wire), after])  # type: ignore[list-item]
    with H2Client(lbd.address()).start() as client:
        client.send(headers(1, request("/", method=method))).read_answer(1)
        client.settle()
        return client


@dataclass(frozen=True)
class Case:
    wire: bytes
    status: int = 200
    body: bytes = b""
    fields: Fields | None = None
    trailers: Fields | None = None
    method: str = "GET"


SAID = "HTTP/1.1 200 OK"
CASES = {
    "length": Case(ok(b"hello"), body=b"hello", fields=[("content-length", "5")]),
    "length-0": Case(ok(b""), fields=[("content-length", "0")]),
    "chunked": Case(ok_chunked(b"he", b"llo"), body=b"hello", fields=[]),
    "chunked-empty": Case(ok_chunked(), fields=[]),
    "until-close": Case(ok_until_close(b"hello"), body=b"hello", fields=[]),
    "head": Case(head(SAID, "Content-Length: 5"), method="HEAD", fields=[("content-length", "5")]),
    "head-chunked": Case(head(SAID, "Transfer-Encoding: chunked"), method="HEAD", fields=[]),
    "204": Case(head("HTTP/1.1 204 No Content"), status=204, fields=[]),
    "304-with-length": Case(
        head("HTTP/1.1 304 Not Modified", "Content-Length: 5"), status=304, fields=[("content-length", "5")]
    ),
    "unknown-status": Case(head("HTTP/1.1 599 Odd", "Content-Length: 0"), status=599),
    "names-in-lower-case": Case(
        head(SAID, "X-UPPER: Kept", "ETag: W/1", "Content-Length: 0"),
        fields=[("x-upper", "Kept"), ("etag", "W/1"), ("content-length", "0")],
    ),
    "repeated-fields": Case(
        head(SAID, "Set-Cookie: a=1", "X: 1", "Set-Cookie: b=2", "Content-Length: 0"),
        fields=[("set-cookie", "a=1"), ("x", "1"), ("set-cookie", "b=2"), ("content-length", "0")],
    ),
    "connection-fields-end-here": Case(
        head(
            SAID,
            "Connection: X-One, close",
            "X-One: 1",
            "Keep-Alive: timeout=5",
            "Upgrade: h2c",
            "Proxy-Connection: close",
            "X: y",
            "Content-Length: 0",
        ),
        fields=[("x", "y"), ("content-length", "0")],
    ),
    "trailers": Case(
        ok_chunked(b"hello", trailers=("X-Checksum: 1", "X-Other: no", "Content-Length: 9")),
        body=b"hello",
        trailers=[("x-checksum", "1")],
    ),
    "trailers-alone": Case(ok_chunked(trailers=("X-Checksum: 1",)), trailers=[("x-checksum", "1")]),
    "trailers-all-dropped": Case(ok_chunked(b"hello", trailers=("X-Other: no",)), body=b"hello", trailers=[]),
    "http-10": Case(head("HTTP/1.0 200 OK", "Content-Length: 2") + b"ok", body=b"ok"),
    "white-space-around-value": Case(
        head(SAID, "X: \t y \t", "Content-Length: 0"), fields=[("x", "y"), ("content-length", "0")]
    ),
    "bytes-behind-are-not-passed": Case(ok(b"hello") + b"more", body=b"hello"),
}
BY_LBD = {"via", "x-request-id", "server", "date"}


@pytest.mark.parametrize("name", CASES)
def test_response(name: str, lbd: Lbd, origin: Origin) -> None:
    case = CASES[name]
    answer = asked(lbd, origin, case.wire, case.method).answer(1)
    assert (answer.status, answer.body, answer.complete, answer.reset) == (case.status, case.body, True, None)
    if case.fields is not None:
        assert [pair for pair in answer.fields if pair[0] not in BY_LBD] == case.fields
    if case.trailers is not None:
        assert answer.trailers == case.trailers


def test_interim_responses_pass(lbd: Lbd, origin: Origin) -> None:
    hints = head("HTTP/1.1 103 Early Hints", "Link: </a>", "Connection: close") * 2
    answer = asked(lbd, origin, hints + ok(b"hello")).answer(1)
    assert answer.informational == [(103, [("link", "</a>")])] * 2
    assert (answer.status, answer.body, answer.complete) == (200, b"hello", True)


CUT: dict[str, bytes] = {
    "length": head(SAID, "Content-Length: 9") + b"hello",
    "length-without-body": head(SAID, "Content-Length: 9"),
    "chunk": head(SAID, "Transfer-Encoding: chunked") + b"9\r\nhello",
    "before-last-chunk": head(SAID, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
    "in-trailers": head(SAID, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nX-Checksum: 1",
    "bad-chunk-size": head(SAID, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0x1\r\na\r\n0\r\n\r\n",
    "bad-chunk-end": head(SAID, "Transfer-Encoding: chunked") + b"5\r\nhelloXX0\r\n\r\n",
}


@pytest.mark.parametrize("after", [close, half_close, reset])
@pytest.mark.parametrize("name", CUT)
def test_cut_response_is_not_complete(name: str, after: object, lbd: Lbd, origin: Origin) -> None:
    """RST_STREAM, or 502 as long as no head was passed on; the connection goes on."""
    client = asked(lbd, origin, CUT[name], after=after)
    answer = client.answer(1)
    assert client.end is None
    assert (answer.complete and answer.status == 502) or (
        not answer.complete and answer.reset not in (None, 0)
    )


BAD: dict[str, bytes] = {
    "nothing": b"",
    "half-head": b"HTTP/1.1 200 OK\r\nX: ",
    "not-http": b"SSH-2.0-OpenSSH\r\n\r\n",
    "version": head("HTTP/2.0 200 OK"),
    "status": head("HTTP/1.1 20 OK"),
    "two-lengths": head(SAID, "Content-Length: 5", "Content-Length: 6") + b"hello",
    "bad-length": head(SAID, "Content-Length: +5") + b"hello",
    "bare-cr": head(SAID, "X: a\rb", "Content-Length: 0"),
    "nul": head(SAID, "X: a\0b", "Content-Length: 0"),
    "bad-name": head(SAID, "X y: a", "Content-Length: 0"),
    "pseudo-name": head(SAID, ":status: 404", "Content-Length: 0"),
    "control": head(SAID, "X: a\x01b", "Content-Length: 0"),
    "length-and-chunked": head(SAID, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "101-unasked": head("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: upgrade")
    + b"raw",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_head_is_502(name: str, lbd: Lbd, origin: Origin) -> None:
    client = asked(lbd, origin, BAD[name])
    answer = client.answer(1)
    assert (answer.status, answer.complete, client.end) == (502, True, None)


def test_cancelled_request_is_cancelled_at_the_endpoint(lbd: Lbd, origin: Origin) -> None:
    """RST_STREAM while the endpoint works: its connection ends, those of others do not."""
    origin.close_all()
    origin.behave([recv_head, recv_all], [recv_request, send(ok(b"hello"))])
    first = len(origin.connections)
    with H2Client(lbd.address()).start() as client:
        client.get(1, "/slow")
        eventually(
            lambda: len(origin.connections) > first and origin.connections[first].head_end, "it has arrived"
        )
        client.send(rst_stream(1))
        eventually(lambda: origin.connections[first].ended, "the endpoint is let go")
        assert client.ask(3).body == b"hello"
