"""Clients of either version before HTTP/2 endpoints: heads, bodies, trailers, 1xx, HEAD, 204, 304.

RFC 9113 8.1 to 8.3, 8.5, 8.6; RFC 9110 6.5, 8.6, 9.3.2, 15.2. What endpoints do wrong is in
test_http2_endpoint_faults."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import pytest
from h2_endpoint import Codes, H2Origin, Request
from harness.lbd import Lbd
from harness.messages import chunk, get, head, post, post_chunked
from harness.waiting import TIMEOUT, eventually
from http2.frames import data, headers
from http2.frames import request as block
from http2.wire import H2Client

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app, trailers: [X-Checksum]}]
clusters: [{name: app, protocol: http2, endpoints: [<endpoint>], connections: {max: 1}}]
"""
BODY = bytes(range(256)) * 4096  # 1 MiB


class Scripted(H2Origin):
    """One endpoint for all tests of this file: each sets .script to what it needs."""

    def expect(self, script: object) -> None:
        self.script = script  # type: ignore[assignment]
        self.at = "end"
        self.requests.clear()


@pytest.fixture(scope="module")
def origin() -> Iterator[Scripted]:
    with Scripted() as origin:
        yield origin
    assert origin.malformed == []


@pytest.fixture(scope="module")
def lbd(origin: Scripted) -> Iterator[Lbd]:
    with Lbd(CONFIG, endpoint=origin) as lbd:
        yield lbd


@pytest.fixture(autouse=True)
def fresh(origin: Scripted) -> None:
    origin.expect(lambda request: request.answer())


def pseudo(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.fields if name.startswith(":")}


def test_connection_preface(lbd: Lbd, origin: Scripted) -> None:
    lbd.ask(get("/"))
    (session,) = origin.sessions
    assert session.lbd_settings.get(Codes.ENABLE_PUSH) == 0
    assert session.lbd_settings.get(Codes.MAX_HEADER_LIST_SIZE, 1 << 30) <= 1 << 20
    assert session.lbd_settings.get(Codes.HEADER_TABLE_SIZE, 4096) <= 65536


def test_head_of_a_request(lbd: Lbd, origin: Scripted) -> None:
    lbd.ask(get("/a/b?c=%20d", "X-One: 1", "X-Two: a,  b", "X-One: 2", "Cookie: a=1; b=2"))
    (request,) = origin.requests
    assert pseudo(request) == {":method": "GET", ":scheme": "http", ":path": "/a/b?c=%20d",
                               ":authority": "example.test"}
    assert [value for name, value in request.fields if name == "x-one"] == ["1", "2"]
    assert request.one("x-two") == "a,  b"
    assert request.one("x-forwarded-for") == "127.0.0.1"
    assert "; ".join(value for name, value in request.fields if name == "cookie") == "a=1; b=2"
    assert all(name == name.lower() for name, _ in request.fields)
    assert "host" not in dict(request.fields)


def test_connection_fields_stay_behind(lbd: Lbd, origin: Scripted) -> None:
    lbd.ask(get("/", "Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "TE: trailers, deflate",
                "Proxy-Connection: keep-alive", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"))
    (request,) = origin.requests
    names = {name for name, _ in request.fields}
    assert names.isdisjoint({"connection", "x-hop", "keep-alive", "proxy-connection", "upgrade",
                             "transfer-encoding", "http2-settings"})
    assert request.one("te") in (None, "trailers")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_methods(lbd: Lbd, origin: Scripted, method: str) -> None:
    response = lbd.ask(head(f"{method} /m HTTP/1.1", "Host: h.test", "Content-Length: 0"))
    assert (response.status, response.body) == (200, b"ok")
    assert pseudo(origin.requests[0])[":method"] == method


def test_options_star(lbd: Lbd, origin: Scripted) -> None:
    assert lbd.ask(head("OPTIONS * HTTP/1.1", "Host: h.test")).status == 200
    assert pseudo(origin.requests[0])[":path"] == "*"


def test_body_with_length(lbd: Lbd, origin: Scripted) -> None:
    assert lbd.ask(post("/", BODY)).body == b"ok"
    (request,) = origin.complete
    assert request.one("content-length") == str(len(BODY))
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(BODY).digest()


def test_chunked_upload(lbd: Lbd, origin: Scripted) -> None:
    pieces = [BODY[start : start + 9000] for start in range(0, len(BODY), 9000)]
    assert lbd.ask(post_chunked("/", *pieces)).body == b"ok"
    (request,) = origin.complete
    assert request.one("content-length") is None
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(BODY).digest()


def test_empty_chunked_upload(lbd: Lbd, origin: Scripted) -> None:
    assert lbd.ask(post_chunked("/")).body == b"ok"
    assert origin.bodies() == [b""]


def test_upload_is_not_buffered(lbd: Lbd, origin: Scripted) -> None:
    origin.at = "head"
    origin.script = lambda request: None
    with lbd.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: h.test", "Transfer-Encoding: chunked"))
        request = eventually(lambda: origin.requests[:1], "the head")[0]
        for number in range(1, 11):
            client.send(chunk(b"x"))
            eventually(lambda number=number: len(request.body) == number, "the chunk")
        client.send(b"0\r\n\r\n")
        eventually(lambda: request.complete, "the end")
        request.answer(b"done")
        assert client.read_response("POST").body == b"done"


def test_trailers_of_a_request(lbd: Lbd, origin: Scripted) -> None:
    lbd.ask(post_chunked("/", b"abc", trailers=("X-Checksum: 1", "X-Secret: 2", "Content-Length: 7")))
    assert origin.complete[0].trailers == [("x-checksum", "1")]
    assert origin.bodies() == [b"abc"]


def test_response_with_length(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(BODY, ("content-length", str(len(BODY))), ("x-one", "1"))
    response = lbd.ask(get("/"))
    assert response.complete and response.one("content-length") == str(len(BODY))
    assert response.one("transfer-encoding") is None
    assert response.one("x-one") == "1"
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(BODY).digest()


def test_response_without_length_is_chunked(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(BODY)
    response = lbd.ask(get("/"))
    assert response.complete and response.one("transfer-encoding") == "chunked"
    assert response.one("content-length") is None
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(BODY).digest()


def test_response_without_body_keeps_the_connection(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(b"", status=404)
    with lbd.connect() as client:
        for _ in range(3):
            response = client.ask(get("/"))
            assert (response.status, response.body, response.complete) == (404, b"", True)


@pytest.mark.parametrize("status", [200, 299, 404])
def test_status_line_has_its_second_space(lbd: Lbd, origin: Scripted, status: int) -> None:
    """HTTP/2 has no reason phrase; HTTP/1.1 wants the space before it even so (RFC 9112 4)."""
    origin.script = lambda request: request.answer(status=status)
    with lbd.connect() as client:
        line = client.send(get("/")).read_until(b"\r\n")
    assert line.startswith(b"HTTP/1.1 %d " % status)


def test_response_to_http10_ends_by_close(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(b"until close")
    response = lbd.ask(head("GET / HTTP/1.0", "Host: h.test"))
    assert (response.body, response.end, response.all("transfer-encoding")) == (b"until close", "fin", [])


def test_response_is_not_buffered(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.head([(":status", "200")])
    with lbd.connect() as client:
        client.send(get("/"))
        client.read_until(b"\r\n\r\n")
        (request,) = origin.requests
        for number in range(10):
            request.data(b"%d" % number)
            assert client.read_exactly(6) == chunk(b"%d" % number)
        request.data(b"", end=True)
        assert client.read_exactly(5) == b"0\r\n\r\n"


def test_trailers_of_a_response(lbd: Lbd, origin: Scripted) -> None:
    trailers = [("x-checksum", "1"), ("x-secret", "2"), ("content-type", "text/html")]
    origin.script = lambda request: request.answer(b"abc", trailers=trailers)
    response = lbd.ask(get("/", "TE: trailers"))
    assert (response.body, response.trailers) == (b"abc", [("x-checksum", "1")])


def test_trailers_of_a_response_to_http2(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(b"abc", trailers=[("x-checksum", "1"), ("x-secret", "2")])
    with H2Client(lbd.address()).start() as client:
        answer = client.ask(1)
        assert (answer.body, answer.trailers, answer.complete) == (b"abc", [("x-checksum", "1")], True)


def test_head_request(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(b"", ("content-length", "1234"), ("etag", '"x"'))
    with lbd.connect() as client:
        for _ in range(2):
            response = client.ask(get("/").replace(b"GET", b"HEAD"))
            assert (response.status, response.one("content-length"), response.body) == (200, "1234", b"")
            assert response.one("etag") == '"x"'


def test_head_request_without_length(lbd: Lbd, origin: Scripted) -> None:
    """No length is made up: it is not 0 (RFC 9110 8.6)."""
    origin.script = lambda request: request.answer(b"")
    with lbd.connect() as client:
        for _ in range(2):
            response = client.ask(get("/").replace(b"GET", b"HEAD"))
            assert (response.status, response.all("content-length"), response.body) == (200, [], b"")


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body(lbd: Lbd, origin: Scripted, status: int) -> None:
    origin.script = lambda request: request.answer(b"", ("etag", '"x"'), status=status)
    with lbd.connect() as client:
        for _ in range(2):
            response = client.ask(get("/", 'If-None-Match: "x"'))
            assert (response.status, response.body, response.complete) == (status, b"", True)
            assert response.all("content-length") == response.all("transfer-encoding") == []


def test_not_modified_with_length(lbd: Lbd, origin: Scripted) -> None:
    """The length that a 200 would have had (RFC 9110 8.6)."""
    origin.script = lambda request: request.answer(b"", ("content-length", "77"), status=304)
    with lbd.connect() as client:
        for _ in range(2):
            response = client.ask(get("/"))
            assert (response.status, response.body) == (304, b"")


def test_early_hints(lbd: Lbd, origin: Scripted) -> None:
    def hint(request: Request) -> None:
        request.head([(":status", "103"), ("link", "</a.css>; rel=preload")])
        request.head([(":status", "103"), ("link", "</b.css>; rel=preload")])
        request.answer(b"page")

    origin.script = hint
    hints = [(103, [("link", f"</{name}.css>; rel=preload")]) for name in "ab"]
    response = lbd.ask(get("/"))
    assert (response.informational, response.body) == (hints, b"page")
    with H2Client(lbd.address()).start() as client:
        answer = client.ask(1)
        assert (answer.informational, answer.body) == (hints, b"page")


def test_expect_100_continue(lbd: Lbd, origin: Scripted) -> None:
    """The client gets its 100 before it sends the body, from whomever."""

    def go_on(request: Request) -> None:
        request.head([(":status", "100")])

    origin.at, origin.script = "head", go_on
    with lbd.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: h.test", "Content-Length: 4", "Expect: 100-continue"))
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        client.send(b"body")
        request = eventually(lambda: origin.complete[:1], "the body")[0]
        request.answer(b"thanks")
        response = client.read_response("POST")
        assert (response.status, response.body, bytes(request.body)) == (200, b"thanks", b"body")


def test_cookies_in_crumbs_are_joined(lbd: Lbd, origin: Scripted) -> None:
    """RFC 9113 8.2.3: what HTTP/1 clients set is one field; HTTP/2 clients may split theirs."""
    with H2Client(lbd.address()).start() as client:
        client.send(headers(1, block("/", ("cookie", "a=1"), ("cookie", "b=2"))))
        assert client.read_answer(1).status == 200
    cookies = [value for name, value in origin.requests[0].fields if name == "cookie"]
    assert "; ".join(cookies) == "a=1; b=2"


def test_set_cookies_stay_apart(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(b"", ("set-cookie", "a=1"), ("set-cookie", "b=2"))
    assert lbd.ask(get("/")).all("set-cookie") == ["a=1", "b=2"]


def test_early_response_to_an_upload(lbd: Lbd, origin: Scripted) -> None:
    """The endpoint answers before the body has ended: the client gets the answer, not a hang or a reset."""
    origin.at = "head"
    origin.script = lambda request: request.answer(b"too much", status=413)
    with lbd.connect() as client:
        client.send(head("POST / HTTP/1.1", "Host: h.test", "Content-Length: 1000000"))
        response = client.read_response("POST")
        assert (response.status, response.body) == (413, b"too much")


def test_requests_share_the_connection(lbd: Lbd, origin: Scripted) -> None:
    before = len(origin.sessions)
    go_on = threading.Event()

    def wait(request: Request) -> None:
        threading.Thread(target=lambda: go_on.wait(TIMEOUT) and request.answer(), daemon=True).start()

    origin.script = wait
    clients = [lbd.connect() for _ in range(20)]
    try:
        for client in clients:
            client.send(get("/"))
        eventually(lambda: len(origin.requests) == 20, "20 requests at a time")
        go_on.set()
        assert [client.read_response().body for client in clients] == [b"ok"] * 20
    finally:
        go_on.set()
        for client in clients:
            client.close()
    assert len(origin.sessions) <= before + 1


def test_client_that_does_not_read_stalls_nobody_else(lbd: Lbd, origin: Scripted) -> None:
    """One connection to the endpoint: its window must not be used up by the slow one."""
    origin.script = lambda request: request.answer(
        BODY * 16 if pseudo(request)[":path"] == "/slow" else b"quick")
    with H2Client(lbd.address()).start() as slow:
        slow.get(1, "/slow")
        slow.read_until_that(lambda: slow.window == 0, "all that the window takes")
        for _ in range(20):
            assert lbd.ask(get("/quick")).body == b"quick"
        with lbd.connect(receive_buffer=4096) as idle:
            idle.send(get("/slow"))
            idle.read_until(b"\r\n\r\n")
            for _ in range(20):
                assert lbd.ask(get("/quick")).body == b"quick"


def test_memory_for_a_client_that_does_not_read_is_bounded(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(BODY * 64)
    before = lbd.rss()
    with lbd.connect(receive_buffer=4096) as client:
        client.send(get("/slow"))
        request = eventually(lambda: origin.requests[:1], "the request")[0]
        session = request.session
        eventually(lambda: stands_still(session, request.stream), "the window is used up")
        assert lbd.rss() - before < 16 << 20
        left = session.pending[request.stream][0]
        assert len(left) > 48 << 20


def stands_still(session: object, stream: int) -> bool:
    """Has lbd stopped to open the window of the stream?"""
    return session.http.local_flow_control_window(stream) == 0  # type: ignore[attr-defined]


def test_client_gone_is_a_cancel(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: None
    with lbd.connect() as client:
        client.send(get("/"))
        request = eventually(lambda: origin.requests[:1], "the request")[0]
    eventually(lambda: request.reset is not None, "RST_STREAM")
    assert request.reset == 8
    assert request.session.goaway is None


def test_upgrade_is_refused_or_ignored(lbd: Lbd, origin: Scripted) -> None:
    """No way to ask an HTTP/2 endpoint for it (RFC 9113 8.6): never a 101."""
    response = lbd.ask(get("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
    assert response.status in (200, 426, 501)


def test_body_of_an_http2_client(lbd: Lbd, origin: Scripted) -> None:
    origin.script = lambda request: request.answer(bytes(request.body), ("x-trailers", str(request.trailers)))
    with H2Client(lbd.address()).start() as client:
        opening = headers(1, block("/", method="POST"), end=False)
        client.send(opening + data(1, b"abc", end=False) + data(1, b"def", end=False))
        client.send(headers(1, b"\0\x0ax-checksum\x011"))
        answer = client.read_answer(1)
        assert (answer.status, answer.body) == (200, b"abcdef")
        assert answer.all("x-trailers") == ["[('x-checksum', '1')]"]
