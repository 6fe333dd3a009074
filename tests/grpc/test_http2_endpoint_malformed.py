"""HTTP/2 endpoints that do not speak it, speak it wrongly, or flood: a 502, a 504, or a visible cut.

RFC 9113 3.4, 4.3, 5.1, 6, 8.1 to 8.3, 10.5. Frames are made by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.client import Response
from harness.lbd import Lbd
from harness.messages import get
from harness.origin import Connection, Origin, Step, close, recv_all, reset, send, send_forever, stall
from harness.waiting import TIMEOUT, eventually
from http2.frames import (
    END_HEADERS,
    INITIAL_WINDOW_SIZE,
    INTERNAL_ERROR,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PUSH_PROMISE,
    SETTINGS_ACK,
    Pair,
    block,
    continuation,
    data,
    frame,
    goaway,
    headers,
    literal,
    ping,
    rst_stream,
    settings,
    window_update,
)

ONE = """
admin: {bind: "127.0.0.1:0"}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters:
  - name: app
    protocol: http2
    endpoints: [<endpoint>]
    connections: {requests: 1}
    timeouts: {response: 500ms, body: 500ms}
"""


def recv_once(connection: Connection) -> None:
    connection.recv()


PREFACE = settings() + SETTINGS_ACK
HTTP1 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def fields(*pairs: Pair) -> bytes:
    return headers(1, block(*pairs), end=False)


def bad(*pairs: Pair) -> bytes:
    """A response with these fields and one octet of body."""
    return PREFACE + fields((":status", "200"), *pairs) + data(1, b"x")


def status(value: str) -> bytes:
    return PREFACE + fields((":status", value)) + data(1, b"x")


OK = fields((":status", "200"))
PART = PREFACE + OK + data(1, b"xyz", end=False)
MALFORMED: dict[str, bytes] = {
    "garbage": b"\xff\x00garbage" * 100,
    "http1": HTTP1,
    "no-settings": OK + data(1, b"x"),
    "settings-ack-first": SETTINGS_ACK + OK + data(1, b"x"),
    "settings-odd-size": frame(4, 0, 0, b"12345"),
    "settings-bad-window": settings((INITIAL_WINDOW_SIZE, 1 << 31)),
    "settings-bad-frame-size": settings((MAX_FRAME_SIZE, 100)),
    "push": PREFACE + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block((":method", "GET"))),
    "frame-too-large": PREFACE + frame(0, 0, 1, b"x" * 20000),
    "data-before-head": PREFACE + data(1, b"x"),
    "head-on-idle-stream": PREFACE + headers(7, block((":status", "200"))),
    "head-on-stream-zero": PREFACE + headers(0, block((":status", "200"))),
    "even-stream": PREFACE + headers(2, block((":status", "200"))),
    "broken-hpack": PREFACE + headers(1, b"\xff\xff\xff\xff\xff\xff"),
    "window-overflow": PREFACE + window_update(0, 2**31 - 1),
    "stream-window-overflow": PREFACE + window_update(1, 2**31 - 1),
    "continuation-alone": PREFACE + continuation(1, block((":status", "200"))),
    "broken-continuation": PREFACE + headers(1, block((":status", "200")), flags=0) + ping(),
    "no-status": PREFACE + fields(("content-type", "text/plain")) + data(1, b"x"),
    "two-statuses": bad((":status", "200")),
    "status-behind-fields": PREFACE + fields(("a", "b"), (":status", "200")) + data(1, b"x"),
    "status-not-a-number": status("2x0"),
    "status-too-long": status("2000"),
    "status-101": status("101"),
    "status-000": status("000"),
    "request-pseudo-field": bad((":path", "/")),
    "unknown-pseudo-field": bad((":x", "/")),
    "upper-case": bad(("X-Upper", "1")),
    "connection": bad(("connection", "close")),
    "transfer-encoding": bad(("transfer-encoding", "chunked")),
    "crlf-in-value": bad(("x", "a\r\nset-cookie: evil=1")),
    "nul-in-value": bad(("x", "a\0b")),
    "space-in-name": bad(("x y", "1")),
    "colon-in-name": bad(("x:y", "1")),
    "empty-name": bad(("", "1")),
    "two-lengths": PREFACE + fields((":status", "200"), ("content-length", "1"), ("content-length", "2")),
    "bad-length": bad(("content-length", "+1")),
    "length-without-body": PREFACE + headers(1, block((":status", "200"), ("content-length", "5"))),
    "interim-with-end": PREFACE + headers(1, block((":status", "103"))),
    "body-with-interim": status("103"),
    "endless-interim": PREFACE + fields((":status", "103")) * 2000,
}
# The head is good, so it may be out before the fault: then the cut must be visible.
MALFORMED_LATE: dict[str, bytes] = {
    "longer-than-said": PREFACE + fields((":status", "200"), ("content-length", "2")) + data(1, b"xyz"),
    "shorter-than-said": PREFACE + fields((":status", "200"), ("content-length", "9")) + data(1, b"xyz"),
    "trailers-without-end": PART + fields(("x", "y")),
    "pseudo-field-in-trailers": PART + headers(1, block((":status", "200"))),
    "crlf-in-trailers": PART + headers(1, block(("grpc-x", "a\r\nb: c"))),
    "padding-too-long": PREFACE + OK + frame(0, 0x9, 1, b"\xffxyz"),
    "unknown-frame-then-cut": PART + frame(0xEE, 0, 1, b"?") + rst_stream(1, 2),
    "goaway-inside-body": PART + goaway(INTERNAL_ERROR, 1),
}


@pytest.fixture(scope="module")
def misbehaving() -> Iterator[tuple[Origin, Lbd]]:
    with Origin([close]) as endpoint, Lbd(ONE, endpoint=endpoint) as lbd:
        yield endpoint, lbd
        assert lbd.metric("lbd_internal_errors_total") == 0


def ask_of(misbehaving: tuple[Origin, Lbd], *script: Step) -> Response:
    endpoint, lbd = misbehaving
    endpoint.behave(list(script))
    return lbd.ask(get("/", "X-Request: 1"))


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=MALFORMED)
def test_malformed_peer_is_a_502(misbehaving: tuple[Origin, Lbd], octets: bytes) -> None:
    response = ask_of(misbehaving, recv_once, send(octets), recv_all)
    assert response.complete
    assert (response.status, response.reason) in (
        (502, "upstream_invalid"), (502, "upstream_reset"), (502, "upstream_truncated"))
    assert b"evil" not in response.body and not response.all("set-cookie")


@pytest.mark.parametrize("octets", MALFORMED_LATE.values(), ids=MALFORMED_LATE)
def test_fault_behind_the_head_is_a_502_or_a_cut(misbehaving: tuple[Origin, Lbd], octets: bytes) -> None:
    response = ask_of(misbehaving, recv_once, send(octets), recv_all)
    assert response.status in (200, 502)
    assert (response.status == 502) == response.complete, response
    assert not response.trailers


@pytest.mark.parametrize("step", [close, reset], ids=["closed", "reset"])
def test_connection_ended_at_once(misbehaving: tuple[Origin, Lbd], step: Step) -> None:
    response = ask_of(misbehaving, step)
    assert (response.status, response.reason) in ((502, "upstream_reset"), (502, "connect_failed"))


def test_body_with_204_does_not_reach_the_next_response(misbehaving: tuple[Origin, Lbd]) -> None:
    """A 204 ends with its head; whatever lbd does about the rest, no client may get to see it."""
    endpoint, lbd = misbehaving
    endpoint.behave([recv_once, send(status("204")), recv_all],
                    [recv_once, send(PREFACE + OK + data(1, b"fine")), recv_all])
    with lbd.connect() as client:
        response = client.ask(get("/"))
        assert (response.status, response.body) == (204, b"") or response.status == 502
        client.send_while_accepted(get("/"))
        response = client.read_response()
        assert (response.status, response.body) == (200, b"fine") or (not response.status and response.end)


def test_silent_peer(misbehaving: tuple[Origin, Lbd]) -> None:
    response = ask_of(misbehaving, stall)
    assert (response.status, response.reason) == (504, "response_timeout")


def test_preface_and_nothing_more(misbehaving: tuple[Origin, Lbd]) -> None:
    response = ask_of(misbehaving, recv_once, send(PREFACE), recv_all)
    assert (response.status, response.reason) == (504, "response_timeout")


def test_head_and_nothing_more(misbehaving: tuple[Origin, Lbd]) -> None:
    response = ask_of(misbehaving, recv_once, send(PREFACE + OK + data(1, b"part", end=False)), recv_all)
    assert (response.status, response.body, response.complete) == (200, b"part", False)


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "continuation": (headers(1, literal(":status", "200"), end=False, flags=0),
                     continuation(1, literal("x", "y" * 4000), last=False)),
    "empty-continuation": (headers(1, literal(":status", "200"), end=False, flags=0),
                           continuation(1, b"", last=False)),
    "ping": (b"", ping()),
    "settings": (b"", settings((INITIAL_WINDOW_SIZE, 65535))),
    "empty-data": (OK, data(1, b"", end=False)),
    "interim": (b"", fields((":status", "103"))),
    "too-long-a-body": (fields((":status", "200"), ("content-length", "10")),
                        data(1, b"x" * 1000, end=False)),
}


@pytest.mark.parametrize(("start", "repeated"), FLOODS.values(), ids=FLOODS)
def test_floods_end(start: bytes, repeated: bytes) -> None:
    """lbd ends the connection by itself; its memory does not grow with the flood."""
    many = repeated * (65536 // len(repeated))
    script: list[Step] = [recv_once, send(PREFACE + start), send_forever(many)]
    config = ONE.replace("connections: {requests: 1}", "connections: {requests: none}")
    with Origin(script) as endpoint, Lbd(config, endpoint=endpoint) as lbd:
        before = lbd.rss()
        response = lbd.ask(get("/"))
        assert response.status in (200, 502, 504)
        assert response.status != 200 or not response.complete
        eventually(lambda: endpoint.connections[0].closed or endpoint.connections[0].ended
                   or not endpoint.threads[0].is_alive(), "lbd ends the connection", timeout=2 * TIMEOUT)
        assert lbd.rss() - before < 32 << 20


def test_unknown_frames_and_settings_are_ignored(misbehaving: tuple[Origin, Lbd]) -> None:
    odd = settings((0xF000, 7), (MAX_CONCURRENT_STREAMS, 10)) + SETTINGS_ACK + frame(0xEE, 0xFF, 0, b"?")
    answer = OK + frame(0xEE, 0xFF, 1, b"?") + data(1, b"fine")
    response = ask_of(misbehaving, recv_once, send(odd + answer), recv_all)
    assert (response.status, response.body) == (200, b"fine")


def test_response_in_single_bytes(misbehaving: tuple[Origin, Lbd]) -> None:
    octets = PREFACE + OK + data(1, b"fine", end=False) + headers(1, block(("x-checksum", "1")))
    steps: list[Step] = [send(octets[at : at + 1]) for at in range(len(octets))]
    response = ask_of(misbehaving, recv_once, *steps, recv_all)
    assert (response.status, response.body, response.complete) == (200, b"fine", True)


def test_response_before_the_request_is_complete(misbehaving: tuple[Origin, Lbd]) -> None:
    """An endpoint that speaks first: its SETTINGS come before lbd has said anything."""
    answer = SETTINGS_ACK + OK + data(1, b"fine")
    response = ask_of(misbehaving, send(settings()), recv_once, send(answer), recv_all)
    assert (response.status, response.body) == (200, b"fine")
