"""https_redirect: the same resource by https, whatever the request looks like (RFC 9110 15.4)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.messages import head, post
from http2.frames import block, headers
from http2.wire import H2Client
from tls.speaking import Served

CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout}
listeners:
  - {name: web, bind: "127.0.0.1:0", https_redirect: true}
  - {name: other, bind: "127.0.0.1:0", https_redirect: {port: 8443, status: 301}}
  - {name: six, bind: "[::1]:0", https_redirect: {port: 8443, status: 307}}
"""


@pytest.fixture(scope="module")
def lbd() -> Iterator[Served]:
    with Served(CONFIG) as lbd:
        yield lbd


REQUESTS = [
    (head("GET / HTTP/1.1", "Host: a.test"), "a.test", "/"),
    (head("GET /a/b?c=d&e=%20f HTTP/1.1", "Host: a.test"), "a.test", "/a/b?c=d&e=%20f"),
    (head("GET /a? HTTP/1.1", "Host: a.test"), "a.test", "/a?"),
    (head("GET /?x=http://evil.test/ HTTP/1.1", "Host: a.test:80"), "a.test", "/?x=http://evil.test/"),
    (head("GET /p HTTP/1.1", "Host: a.test:8080"), "a.test", "/p"),
    (head("GET /p HTTP/1.1", "Host: A.Test"), "A.Test", "/p"),
    (head("GET http://b.test/abs?q HTTP/1.1", "Host: b.test"), "b.test", "/abs?q"),
    (head("GET http://b.test:81/abs HTTP/1.1", "Host: b.test:81"), "b.test", "/abs"),
    (head("GET http://b.test HTTP/1.1", "Host: b.test"), "b.test", "/"),
    (head("GET http://b.test?q=1 HTTP/1.1", "Host: b.test"), "b.test", "/?q=1"),
    (head("GET /six HTTP/1.1", "Host: [2001:db8::1]"), "[2001:db8::1]", "/six"),
    (head("GET /six HTTP/1.1", "Host: [2001:db8::1]:8080"), "[2001:db8::1]", "/six"),
    (head("GET /v4 HTTP/1.1", "Host: 192.0.2.1:80"), "192.0.2.1", "/v4"),
    (head("GET /old HTTP/1.0", "Host: a.test"), "a.test", "/old"),
    (head("OPTIONS * HTTP/1.1", "Host: a.test"), "a.test", "/"),
    (head("GET //evil.test/ HTTP/1.1", "Host: a.test"), "a.test", "//evil.test/"),
    (head("GET /%0d%0aX-Injected:%20yes HTTP/1.1", "Host: a.test"), "a.test", "/%0d%0aX-Injected:%20yes"),
    (head("GET /a/../b HTTP/1.1", "Host: a.test"), "a.test", "/a/../b"),
]


@pytest.mark.parametrize(("request_bytes", "host", "rest"), REQUESTS, ids=lambda value: str(value)[2:40])
def test_location(lbd: Served, request_bytes: bytes, host: str, rest: str) -> None:
    for listener, status, port in (("web", 308, ""), ("other", 301, ":8443")):
        response = lbd.ask(request_bytes, listener)
        assert (response.status, response.one("location")) == (status, f"https://{host}{port}{rest}")
        assert response.complete
        assert response.all("strict-transport-security") == [], "RFC 6797 7.2: not over plain http"


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_methods(lbd: Served, method: str) -> None:
    with lbd.connect() as client:
        for _ in range(2):
            response = client.ask(head(f"{method} /m HTTP/1.1", "Host: a.test", "Content-Length: 0"))
            assert (response.status, response.one("location")) == (308, "https://a.test/m")
            assert response.body == b"" or method != "HEAD"


def test_without_a_host(lbd: Served) -> None:
    """HTTP/1.0: where the client has connected to is all that is known."""
    assert lbd.ask(head("GET /x HTTP/1.0")).one("location") == "https://127.0.0.1/x"
    assert lbd.ask(head("GET /x HTTP/1.0"), "other").one("location") == "https://127.0.0.1:8443/x"
    assert lbd.ask(head("GET /x HTTP/1.0"), "six").one("location") == "https://[::1]:8443/x"


@pytest.mark.parametrize("host", ["", "a.test/evil", "a test", "a.test\tx", "a@b.test", "a.test:99999",
                                  "[::1", "a.test, b.test", "evil.test?x", "a.test#x", "a.test\\evil"])
def test_a_host_that_is_none_is_refused(lbd: Served, host: str) -> None:
    """It would stand in Location."""
    response = lbd.ask(head("GET / HTTP/1.1", f"Host: {host}"))
    assert response.status == 400
    assert response.all("location") == []


def test_bodies_are_read_past(lbd: Served) -> None:
    """Small ones, so that the connection goes on; the client may also leave it at the redirect."""
    with lbd.connect() as client:
        for size in (0, 10, 5_000):
            assert client.ask(post("/up", b"x" * size)).status == 308
            if not client.is_open():
                break
        else:
            return
        client.read_until_close()
    response = lbd.ask(head("POST / HTTP/1.1", "Host: a.test", "Content-Length: 1000000",
                            "Expect: 100-continue"))
    assert response.status == 308


def test_http2_prior_knowledge(lbd: Served) -> None:
    with H2Client(lbd.address("other")) as client:
        pairs = ((":method", "GET"), (":scheme", "http"), (":path", "/two?x"), (":authority", "b.test:80"))
        client.start().send(headers(1, block(*pairs)))
        answer = client.read_answer(1)
        assert (answer.status, answer.all("location")) == (301, ["https://b.test:8443/two?x"])


def test_counted(lbd: Served) -> None:
    total = lbd.metric("lbd_requests_total", listener="six")
    assert lbd.ask(head("GET / HTTP/1.1", "Host: a.test"), "six").status == 307
    assert lbd.metric("lbd_requests_total", listener="six") == total + 1
