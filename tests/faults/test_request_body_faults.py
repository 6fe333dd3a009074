"""Endpoints that answer early or never read while the request body is sent; pooled connections that die."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from faults.stage import WITHIN, Stage, staged
from harness.messages import get, head, ok, post, post_chunked
from harness.origin import (
    close,
    half_close,
    notify,
    recv_all,
    recv_at_least,
    recv_head,
    recv_request,
    reset,
    send,
    stall,
    wait_for,
)
from harness.waiting import eventually

TOO_LARGE = head("HTTP/1.1 413 Content Too Large", "Content-Length: 2", "Connection: close") + b"no"
MIB = 1 << 20


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


@pytest.mark.parametrize("end", [close, half_close, stall, recv_all], ids=lambda step: step.__name__)
@pytest.mark.parametrize("start", ["length", "chunked"])
def test_early_answer_while_the_body_is_sent(stage: Stage, start: str, end: object) -> None:
    """The client has sent only half of its body: it gets the answer, and then its connection is closed."""
    stage.play([recv_at_least(40), send(TOO_LARGE), end])  # type: ignore[list-item]
    whole = post("/", b"x" * 1000) if start == "length" else post_chunked("/", b"x" * 500, b"y" * 500)
    with stage.lbd.connect() as client:
        client.send(whole[:-400])
        response = client.read_response()
        assert (response.status, response.body, response.complete) == (413, b"no", True)
        client.send_while_accepted(whole[-400:])
    stage.assert_recovered()


def test_early_answer_is_not_followed_by_the_rest_of_the_body_as_a_request(stage: Stage) -> None:
    stage.play([recv_at_least(40), send(head("HTTP/1.1 403 Forbidden", "Content-Length: 2") + b"no"),
                recv_all])
    hidden = get("/hidden")
    with stage.lbd.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: a", f"Content-Length: {len(hidden)}"))
        assert client.read_response().status == 403
        client.send_while_accepted(hidden + get("/after"))
        client.read_until_close() if client.read_response().status == 0 else None
    connections = stage.origin.connections[stage.origin.first :]
    for connection in connections[1:]:
        assert not bytes(connection.received).startswith(b"GET /hidden")
    stage.assert_recovered()


def test_endpoint_that_answers_early_and_reads_on_gets_the_whole_body(stage: Stage) -> None:
    """RFC 9112 9.5 allows to go on sending: a 200 before the body ends is a normal exchange."""
    stage.play([recv_head, send(ok(b"early")), recv_at_least(1000)])
    with stage.lbd.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: a", "Content-Length: 1000") + b"x" * 500)
        assert client.read_response().body == b"early"
        client.send_while_accepted(b"x" * 500)
    stage.assert_recovered()


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_endpoint_that_never_reads_a_large_body(stage: Stage, kind: str) -> None:
    """Back-pressure: the client is held back, memory stays flat, a timeout ends it."""
    stage.play([stall])
    piece = b"x" * MIB
    before = stage.lbd.rss()
    with stage.lbd.connect() as client:
        start = "Content-Length: 67108864" if kind == "length" else "Transfer-Encoding: chunked"
        client.send(head("POST / HTTP/1.1", "Host: a", start))
        client.sock.settimeout(WITHIN)
        frame = piece if kind == "length" else b"%x\r\n%b\r\n" % (MIB, piece)
        taken = sum(client.send_while_accepted(frame) for _ in range(64))
        assert taken < 64, "64 MiB were swallowed although the endpoint reads nothing"
        assert stage.lbd.rss() - before < 8 * MIB
        assert client.read_response().status in (0, 408, 502, 504)
    stage.assert_recovered()


@pytest.mark.parametrize("end", [close, reset], ids=["fin", "rst"])
def test_endpoint_that_leaves_in_the_middle_of_a_large_request_body(stage: Stage, end: object) -> None:
    stage.play([recv_at_least(100_000), end])  # type: ignore[list-item]
    with stage.lbd.connect() as client:
        sent = client.send_while_accepted(post("/", b"x" * 16 * MIB))
        response = client.read_response()
        assert (response.status, response.reason) == (502, "upstream_reset") or not sent
    stage.assert_recovered()


# Pooled connections that die


def test_idle_connection_closed_by_the_endpoint_is_not_used(stage: Stage) -> None:
    stage.play([recv_head, send(ok(b"first")), close], [recv_request, send(ok(b"second"))])
    assert stage.lbd.ask(get()).body == b"first"
    # A POST that crosses the end on its way may be lost and must not be sent twice; afterwards all is known.
    eventually(lambda: stage.origin.connections[-1].closed, "the endpoint has closed")
    assert stage.lbd.ask(post("/", b"body")).body == b"second"
    stage.assert_recovered()


@pytest.mark.parametrize("end", [close, reset], ids=["fin", "rst"])
@pytest.mark.parametrize("data", [get("/again"), head("HEAD /again HTTP/1.1", "Host: a"),
                                  head("OPTIONS /again HTTP/1.1", "Host: a")], ids=["GET", "HEAD", "OPTIONS"])
def test_idle_close_race_is_replayed(stage: Stage, end: object, data: bytes) -> None:
    """The endpoint ends the pooled connection just as the second request arrives: nobody notices."""
    stage.play([recv_head, send(ok(b"first")), recv_head, end],
               [recv_head, send(ok(b"again"))])  # type: ignore[list-item]
    with stage.lbd.connect() as client:
        assert client.ask(get()).body == b"first"
        response = client.ask(data)
        assert (response.status, response.complete) == (200, True)
    first, second = stage.origin.connections[stage.origin.first :]
    assert b"/again" in first.received and b"/again" in second.received
    stage.assert_recovered()


@pytest.mark.parametrize("end", [close, reset], ids=["fin", "rst"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "WHATEVER"])
def test_idle_close_race_never_sends_a_post_twice(stage: Stage, end: object, method: str) -> None:
    stage.play([recv_head, send(ok(b"first")), recv_head, end],
               [recv_head, send(ok(b"again"))])  # type: ignore[list-item]
    with stage.lbd.connect() as client:
        assert client.ask(get()).body == b"first"
        response = client.ask(post("/once", b"pay").replace(b"POST", method.encode(), 1))
        assert (response.status, response.reason) == (502, "upstream_reset")
    assert stage.received().count(f"{method} /once".encode()) == 1
    stage.assert_recovered()


def test_a_get_is_not_replayed_after_response_bytes(stage: Stage) -> None:
    stage.play([recv_head, send(ok(b"first")), recv_head, send(b"HTTP/1.1 2"), close],
               [recv_head, send(ok(b"again"))])
    with stage.lbd.connect() as client:
        assert client.ask(get()).body == b"first"
        response = client.ask(get("/again"))
        assert (response.status, response.reason) == (502, "upstream_reset")
    stage.assert_recovered()


def test_a_get_is_not_replayed_on_a_fresh_connection(stage: Stage) -> None:
    stage.play([recv_head, close], [recv_head, send(ok(b"again"))])
    assert stage.lbd.ask(get()).reason == "upstream_reset"
    stage.assert_recovered()


def test_an_unfinished_exchange_is_never_pooled(stage: Stage) -> None:
    """Row 23: the client leaves while its response is awaited; the next client must not get that response."""
    asked, answer = threading.Event(), threading.Event()
    stage.play([recv_head, notify(asked), wait_for(answer), send(ok(b"secret"))],
               [recv_head, send(ok(b"mine"))])
    with stage.lbd.connect() as leaving:
        leaving.send(get("/secret"))
        assert asked.wait(WITHIN)
    with stage.lbd.connect() as client:
        assert client.ask(get("/mine")).body == b"mine"
    answer.set()
    first = stage.origin.connections[stage.origin.first]
    eventually(lambda: first.ended, "the connection of the client that left is closed")
    stage.assert_recovered()
