"""Row 20 and 23: what a broken or hostile endpoint sends. RFC 9112 6.3 item 5 (MUST 502), 9.2, 11.1.

An invalid response becomes 502 upstream_invalid; a valid one with more bytes behind it is passed on without
them; in both cases that connection is closed and its leftovers never reach anybody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.lbd import Lbd
from harness.messages import get, head, ok
from harness.origin import Origin, recv_head, send
from harness.waiting import eventually

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>], timeouts: {response: 2s, body: 2s}}]
"""
OK = "HTTP/1.1 200 OK"
TE = "Transfer-Encoding: chunked"
POISON = ok(b"poison")


def with_field(line: str, body: bytes = b"hello") -> bytes:
    return head(OK, line) + body


INVALID: dict[str, bytes] = {
    "cl-and-te": head(OK, "Content-Length: 5", TE) + b"0\r\n\r\n",
    "cl-two-differ": head(OK, "Content-Length: 5", "Content-Length: 6") + b"hello!",
    "cl-list-differs": with_field("Content-Length: 5, 6"),
    **{f"cl-{value!a}": with_field(f"Content-Length: {value}") for value in (
        "+5", "-5", "0x5", "5_0", "5.0", "5;", "", "x", "5 5", "\x0b5", "\xb2", "5\x00", str(2**64),
        str(2**64 + 5),
        "5" * 6000, "5\x1f")},
    **{f"te-{value!a}": with_field(f"Transfer-Encoding: {value}", b"0\r\n\r\n") for value in (
        "xchunked", "chunked, chunked", "chunked, identity", "\x0bchunked", '"chunked"', "chunked;", "",
        "chunked\x1f",
        "\xa0chunked", "gzip, chunked, x")},
    "te-two-fields": head(OK, TE, TE) + b"0\r\n\r\n",
    "te-on-10": head("HTTP/1.0 200 OK", TE) + b"0\r\n\r\n",
    "cl-bad-on-204": head("HTTP/1.1 204 No", "Content-Length: x"),
    "cr-in-value": with_field("X: a\rb"),
    "nul-in-value": with_field("X: a\x00b"),
    "control-in-value": with_field("X: a\x01b"),
    "nul-in-name": with_field("X\x00: a"),
    "space-before-colon": with_field("Content-Length : 5"),
    "empty-name": with_field(": a"),
    "no-colon": with_field("abc"),
    "bad-name": with_field("X(Y): a"),
    "lf-only": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "lf-field": with_field("X: a\nContent-Length: 5"),
    "lf-end": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello\r\n\r\n",
    "cr-cr-lf": b"HTTP/1.1 200 OK\r\r\nContent-Length: 5\r\n\r\nhello",
    "space-led-field": head(OK, " X: a", "Content-Length: 5") + b"hello",
    "fold": head(OK, "X: a", " b", "Content-Length: 5") + b"hello",
    "space-led-status": b" HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    **{f"status-line-{line!a}": head(line, "Content-Length: 5") + b"hello" for line in (
        "HTTP/1.1 2000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 +200 OK", "HTTP/1.1 099 No",
        "HTTP/1.1 000 No",
        "HTTP/1.1200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1  200 OK", "HTTP/2.0 200 OK", "HTTP/2 200",
        "http/1.1 200 OK",
        "HTTP/1.10 200 OK", "HTTP/0.9 200 OK", "ICY 200 OK", "200 OK", "HTTP/1.1", "HTTP/1.1 OK",
        "HTTP/1.1 200 O\x00K",
        "HTTP/1.1 200 O\rK", "HTTP/1.1 2\xb200 OK", "GET / HTTP/1.1")},
    "unasked-101": head("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket",
                        "Connection: Upgrade") + b"hello",
    "fields-5000": head(OK, *["X: a"] * 5000, "Content-Length: 0"),
    "field-1m": head(OK, "X: " + "a" * (1 << 20), "Content-Length: 0"),
}

EXTRA: dict[str, bytes] = {
    "after-length": ok(b"hello") + POISON,
    "after-length-zero": ok(b"") + POISON,
    "after-length-garbage": ok(b"hello") + b"\x00garbage",
    "after-length-crlf": ok(b"hello") + b"\r\n",
    "after-chunked": head(OK, TE) + b"5\r\nhello\r\n0\r\n\r\n" + POISON,
    "after-204": head("HTTP/1.1 204 No Content") + POISON,
    "after-304": head("HTTP/1.1 304 Not Modified", "Content-Length: 5") + b"hello" + POISON,
    "body-on-204": head("HTTP/1.1 204 No Content", "X: y") + b"hello",
    "after-404": head("HTTP/1.1 404 No", "Content-Length: 0") + POISON,
}


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin([recv_head, send(ok())]) as origin:
        yield origin


@pytest.fixture(scope="module")
def lbd(origin: Origin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


def assert_next_client_gets_a_new_connection(lbd: Lbd, origin: Origin) -> None:
    spoilt = origin.connections[-1]
    eventually(lambda: spoilt.ended, "lbd closes the connection that the endpoint spoilt")
    assert lbd.ask(get()).body == b"ok"
    assert origin.connections[-1] is not spoilt
    origin.close_all()


def misbehave_once(origin: Origin, data: bytes) -> None:
    origin.close_all()
    origin.behave([recv_head, send(data)], [recv_head, send(ok())])


@pytest.mark.parametrize("name", INVALID)
def test_invalid_response_becomes_502(lbd: Lbd, origin: Origin, name: str) -> None:
    misbehave_once(origin, INVALID[name])
    response = lbd.ask(get())
    assert (response.status, response.reason, response.complete) == (502, "upstream_invalid", True)
    assert_next_client_gets_a_new_connection(lbd, origin)


@pytest.mark.parametrize("name", EXTRA)
def test_bytes_after_a_response_reach_nobody(lbd: Lbd, origin: Origin, name: str) -> None:
    misbehave_once(origin, EXTRA[name])
    with lbd.connect() as client:
        first = client.ask(get())
        assert first.complete and b"poison" not in first.body
        assert client.ask(get()).body == b"ok", "the same client, on another upstream connection"


def test_body_on_head_is_not_read_as_the_next_response(lbd: Lbd, origin: Origin) -> None:
    misbehave_once(origin, POISON)
    with lbd.connect() as client:
        first = client.ask(head("HEAD / HTTP/1.1", "Host: a"))
        assert (first.status, first.body) == (200, b"")
        assert client.ask(get()).body == b"ok"


def test_bytes_on_an_idle_connection_close_it(lbd: Lbd, origin: Origin) -> None:
    origin.close_all()
    origin.behave([recv_head, send(ok())])
    assert lbd.ask(get()).body == b"ok"
    idle = origin.connections[-1]
    idle.send(POISON)
    eventually(lambda: idle.ended, "lbd closes an idle connection on which bytes arrive")
    assert lbd.ask(get()).body == b"ok"
    origin.close_all()


CUT: dict[str, bytes] = {  # valid head, then a body that breaks: the client must see a cut message
    "chunk-size": b"5\r\nhello\r\n0x1\r\na\r\n0\r\n\r\n",
    "chunk-size-minus": b"5\r\nhello\r\n-1\r\n",
    "chunk-size-overflow": b"5\r\nhello\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    "chunk-end": b"5\r\nhelloXX0\r\n\r\n",
    "chunk-lf": b"5\nhello\n0\n\n",
    "ext-lf": b"5\r\nhello\r\n1;a\nb\r\nx\r\n0\r\n\r\n",
    "ext-flood": b"5\r\nhello\r\n1;" + b"a" * 200_000 + b"\r\nx\r\n0\r\n\r\n",
    "trailer-nul": b"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n",
    "trailer-flood": b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
}


@pytest.mark.parametrize("name", CUT)
def test_broken_chunks_are_never_a_complete_response(lbd: Lbd, origin: Origin, name: str) -> None:
    misbehave_once(origin, head(OK, TE) + CUT[name])
    with lbd.connect() as client:
        response = client.ask(get())
        if response.status != 502:  # broken after the head went out
            assert not response.complete and response.end, response
    assert_next_client_gets_a_new_connection(lbd, origin)
