"""Requests and responses end to end: versions, keep-alive, pipelining, every framing in both directions."""

from __future__ import annotations

import hashlib
import os

import pytest
from harness.http_origin import Answer, EchoOrigin, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import (
    get,
    head,
    ok,
    ok_chunked,
    ok_until_close,
    post,
    post_chunked,
)
from harness.origin import Origin, close, recv_request, send, send_slowly

PLAIN = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
BIG = os.urandom(1 << 20) * 3


def same(one: bytes, other: bytes) -> bool:
    """Compared by digest, so that a failure does not print megabytes."""
    return hashlib.sha256(one).digest() == hashlib.sha256(other).digest()


def test_keep_alive(plain: Lbd) -> None:
    with plain.connect() as client:
        for number in range(20):
            assert client.ask(get(f"/{number}")).json()["target"] == f"/{number}"
        assert client.is_open()


def test_upstream_connection_is_reused(plain: Lbd, echo: EchoOrigin) -> None:
    plain.ask(get("/first"))
    before = len(echo.connections)
    for _ in range(10):
        plain.ask(get("/again"))
    assert len(echo.connections) == before, "another client's exchange uses the idle connection"


def test_connection_close_is_honoured(plain: Lbd) -> None:
    with plain.connect() as client:
        response = client.ask(get("/", "Connection: close"))
        assert response.one("connection") == "close"
        assert client.read_until_close() == b"" and client.end == "fin"


def test_pipelined_requests_are_answered_in_order(plain: Lbd) -> None:
    requests = [post(f"/{n}", b"b" * n) if n % 3 else post_chunked(f"/{n}",
                                                                   b"c" * (n + 1)) for n in range(30)]
    with plain.connect() as client:
        client.send(b"".join(requests))
        assert [client.read_response().json()["target"] for _ in requests] == [f"/{n}" for n in range(30)]


def test_pipelined_with_close_in_the_middle(plain: Lbd, echo: EchoOrigin) -> None:
    with plain.connect() as client:
        client.send(get("/a") + get("/last", "Connection: close") + get("/never"))
        assert [client.read_response().json()["target"] for _ in range(2)] == ["/a", "/last"]
        assert client.read_until_close() == b""
    assert "/never" not in echo.targets()


def test_pipelined_good_then_bad(plain: Lbd) -> None:
    with plain.connect() as client:
        client.send(get("/a") + b"GET  /bad HTTP/1.1\r\n\r\n")
        assert client.read_response().json()["target"] == "/a"
        assert client.read_response().status == 400
        assert client.read_until_close() == b""


def test_old_client(plain: Lbd) -> None:
    with plain.connect() as client:
        response = client.ask(head("GET /old HTTP/1.0"))
        assert (response.status, response.json()["target"], response.complete) == (200, "/old", True)
        assert response.json()["version"] == "1.1", "the endpoint is spoken to in HTTP/1.1"
        assert client.end or client.read_until_close() == b""


def test_old_client_keep_alive(plain: Lbd) -> None:
    with plain.connect() as client:
        response = client.ask(head("GET /1 HTTP/1.0", "Host: a", "Connection: keep-alive"))
        assert (response.one("connection") or "").lower() == "keep-alive"
        assert client.ask(head("GET /2 HTTP/1.0", "Host: a",
                               "Connection: keep-alive")).json()["target"] == "/2"


def test_old_client_gets_no_chunks() -> None:
    with Origin([recv_request, send(ok_chunked(b"abc", b"def"))]) as origin, Lbd(PLAIN, origin=origin) as lbd:
        with lbd.connect() as client:
            client.send(head("GET / HTTP/1.0", "Host: a", "Connection: keep-alive"))
            raw = client.read_until_close()
        start, body = raw.split(b"\r\n\r\n", 1)
        assert b"transfer-encoding" not in start.lower()
        assert body == b"abcdef"


@pytest.mark.parametrize("wire", [
    ok(b"body").replace(b"HTTP/1.1", b"HTTP/1.0"), ok_until_close(b"body").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ok(b"body", "Connection: close"), ok_until_close(b"body"), ok_chunked(b"bo", b"dy"),
    ok_chunked(b"body", fields=("Connection: close",)),
], ids=["1.0 length", "1.0 until close", "length, close", "until close", "chunked", "chunked, close"])
def test_endpoint_framings(wire: bytes) -> None:
    """Whatever the endpoint uses, the client gets the whole body and may keep its connection."""
    with (
        Origin([recv_request, send_slowly(wire, 7), close]) as origin, Lbd(PLAIN, origin=origin) as lbd,
        lbd.connect() as client,
    ):
        for _ in range(2):
            response = client.ask(get())
            assert (response.body, response.complete, response.version) == (b"body", True, "1.1")
        assert client.is_open()


def test_until_close_becomes_chunked() -> None:
    with Origin([recv_request, send(ok_until_close(b"body")), close]) as origin, Lbd(PLAIN,
                                                                                     origin=origin) as lbd:
        response = lbd.ask(get())
        assert response.one("transfer-encoding") == "chunked" and response.one("content-length") is None


@pytest.mark.parametrize("pieces", [1, 7, 1 << 16])
def test_request_bodies(plain: Lbd, pieces: int) -> None:
    body = BIG[: 2000 if pieces < 100 else len(BIG)]
    digest = hashlib.sha256(body).hexdigest()
    chunks = [body[start : start + 70_000] for start in range(0, len(body), 70_000)]
    for request in (post("/", body), post_chunked("/", *chunks)):
        with plain.connect() as client:
            client.send_pieces(request, pieces)
            seen = client.read_response().json()
            assert (seen["length"], seen["sha256"]) == (len(body), digest)


def test_length_stays_length_and_chunked_stays_chunked(plain: Lbd) -> None:
    fields = dict(plain.ask(post("/", b"abc")).json()["headers"])
    assert fields["content-length"] == "3" and "transfer-encoding" not in fields
    fields = dict(plain.ask(post_chunked("/", b"abc")).json()["headers"])
    assert fields["transfer-encoding"] == "chunked" and "content-length" not in fields


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_large_response(chunked: bool) -> None:
    with (
        HttpOrigin(lambda _: Answer(body=BIG, chunked=chunked)) as origin, Lbd(PLAIN, origin=origin) as lbd,
        lbd.connect() as client,
    ):
        for _ in range(2):
            response = client.ask(get())
            assert response.complete and same(response.body, BIG)
        assert (response.one("content-length") is None) == chunked


def test_request_and_response_bodies_at_once(plain: Lbd) -> None:
    body = BIG[:300_000]
    with plain.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"))
        for start in range(0, len(body), 1000):
            client.send(b"3e8\r\n" + body[start : start + 1000] + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.read_response().json()["sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body(status: int) -> None:
    with (
        HttpOrigin(lambda _: Answer(status, [("etag", '"x"')])) as origin, Lbd(PLAIN, origin=origin) as lbd,
        lbd.connect() as client,
    ):
        for _ in range(2):
            response = client.ask(get())
            assert (response.status, response.body, response.one("etag")) == (status, b"", '"x"')
            assert response.one("transfer-encoding") is None
        assert client.is_open()


def test_304_keeps_the_length_of_the_representation() -> None:
    wire = head("HTTP/1.1 304 Not Modified", "Content-Length: 1234")
    with (
        Origin([recv_request, send(wire), recv_request, send(wire)]) as origin,
        Lbd(PLAIN, origin=origin) as lbd,
        lbd.connect() as client,
    ):
        for _ in range(2):
            response = client.ask(get())
            assert (response.status, response.complete, response.body) == (304, True, b"")


def test_head(plain: Lbd) -> None:
    with plain.connect() as client:
        for _ in range(2):
            response = client.ask(head("HEAD /h HTTP/1.1", "Host: a"))
            assert (response.status, response.body) == (200, b"")
            assert int(response.one("content-length") or 0) > 0
        assert client.ask(get("/g")).json()["target"] == "/g"


def test_status_phrase_and_unknown_status() -> None:
    wire = head("HTTP/1.1 299 Odd Thing", "Content-Length: 0")
    with Origin([recv_request, send(wire)]) as origin, Lbd(PLAIN,
                                                           origin=origin) as lbd, lbd.connect() as client:
        client.send(get())
        assert client.read_until(b"\r\n") == b"HTTP/1.1 299 Odd Thing\r\n"


def test_absolute_form(plain: Lbd) -> None:
    seen = plain.ask(head("GET http://Real.test:81/a?b=c HTTP/1.1", "Host: other.test")).json()
    assert seen["target"] == "/a?b=c"
    assert [value.lower() for name, value in seen["headers"] if name == "host"] == ["real.test:81"]


@pytest.mark.parametrize("line", ["OPTIONS * HTTP/1.1", "OPTIONS http://example.test HTTP/1.1"])
def test_options_star(plain: Lbd, line: str) -> None:
    """RFC 9112 3.2.4: a URI without path in OPTIONS means *."""
    seen = plain.ask(head(line, "Host: example.test")).json()
    assert (seen["method"], seen["target"]) == ("OPTIONS", "*")


def test_fields_pass_in_order_and_repeated() -> None:
    fields = [("set-cookie", "a=1"), ("x", "1"), ("set-cookie", "b=2"), ("x", ""), ("date", "now")]
    with HttpOrigin(lambda _: Answer(fields=fields)) as origin, Lbd(PLAIN, origin=origin) as lbd:
        response = lbd.ask(get())
        assert [pair for pair in response.fields if pair[0] in ("set-cookie", "x", "date")] == fields


TRAILING = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app, trailers: [X-Checksum]}]
clusters: [{name: app, endpoints: [<origin>]}]
"""


def test_trailers_of_the_list_pass_both_ways() -> None:
    def answer(_: Seen) -> Answer:
        return Answer(body=b"b", chunked=True,
                      trailers=[("x-checksum", "out"), ("x-other", "no"), ("set-cookie", "a=b")])

    with HttpOrigin(answer) as origin, Lbd(TRAILING, origin=origin) as lbd:
        request = post_chunked("/", b"a", trailers=("X-Checksum: in", "X-Other: no", "Authorization: x"),
                               fields=("TE: trailers",))
        assert lbd.ask(request).trailers == [("x-checksum", "out")]
        assert origin.requests[0].trailers == [("x-checksum", "in")]
        assert {"x-checksum", "x-other", "authorization"}.isdisjoint(dict(origin.requests[0].fields))


def test_trailers_are_dropped_by_default(plain: Lbd, echo: EchoOrigin) -> None:
    seen = plain.ask(post_chunked("/", b"abc",
                                  trailers=("X-Other: a", "Content-Length: 9", "Host: b"))).json()
    assert (seen["length"], seen["trailers"]) == (3, [])


def test_body_of_every_method_is_framed_the_same(plain: Lbd) -> None:
    with plain.connect() as client:
        for method in ("GET", "DELETE", "OPTIONS", "PUT", "WHATEVER"):
            seen = client.ask(post("/", b"body").replace(b"POST", method.encode(), 1)).json()
            assert (seen["method"], seen["length"]) == (method, 4)
