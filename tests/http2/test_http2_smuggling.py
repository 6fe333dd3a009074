"""HTTP/2 requests that would hide a second one in the HTTP/1.1 written for them. RFC 9113 10.3; hazard 18."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from http2.frames import Pair, block, data, headers, request
from http2.tap import Tap
from http2.wire import Answer, H2Client

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app, trailers: [X-Checksum]}]
clusters: [{name: app, endpoints: [<origin>]}]
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin
    assert origin.malformed == []
    assert SECRET not in [seen.target for seen in origin.requests]


@pytest.fixture(scope="module")
def lbd(origin: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


def ask(path: str, *fields: Pair) -> bytes:
    return headers(1, request(path, *fields))


def post(*fields: Pair) -> bytes:
    return headers(1, request("/", *fields, method="POST"), end=False)


SECRET = "/smuggled"
HIDDEN = f"GET {SECRET} HTTP/1.1\r\nHost: example.test\r\n\r\n".encode()
TAIL = f" HTTP/1.1\r\nHost: example.test\r\n\r\nGET {SECRET} HTTP/1.1\r\nX: y"
LINES = f"1\r\nContent-Length: 0\r\n\r\nGET {SECRET} HTTP/1.1\r\nHost: a\r\n\r\n"


def pseudo(**changes: str) -> bytes:
    pairs = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "example.test"}
    return headers(1, block(*(pairs | {f":{name}": value for name, value in changes.items()}).items()))


def wearing(*fields: Pair, body: bytes = HIDDEN) -> bytes:
    return post(*fields) + data(1, body)


SMUGGLED: dict[str, bytes] = {
    "in-value": ask("/", ("x", LINES)),
    "in-value-by-lf": ask("/", ("x", LINES.replace("\r\n", "\n"))),
    "in-value-by-cr": ask("/", ("x", LINES.replace("\r\n", "\r"))),
    "in-value-by-nul": ask("/", ("x", LINES.replace("\r\n", "\0"))),
    "in-cookie": ask("/", ("cookie", "a=b"), ("cookie", LINES)),
    "in-name": ask("/", (f"x: {LINES}y", "1")),
    "in-name-with-colon": ask("/", ("content-length: 0", "1")),
    "in-name-te": wearing(("transfer-encoding: chunked\r\nx", "1"), body=b"0\r\n\r\n" + HIDDEN),
    "in-path": pseudo(path="/" + TAIL),
    "in-query": pseudo(path="/?" + TAIL),
    "in-fragment": pseudo(path="/#" + TAIL),
    "in-method": pseudo(method=f"GET {SECRET} HTTP/1.1\r\nHost: a\r\n\r\nGET"),
    "in-method-by-space": pseudo(method=f"GET {SECRET}"),
    "in-method-with-version": pseudo(method=f"GET {SECRET} HTTP/1.1\r\nX:"),
    "in-scheme": pseudo(scheme=f"http://example.test{SECRET}?"),
    "in-scheme-by-crlf": pseudo(scheme="http" + TAIL),
    "in-authority": pseudo(authority="example.test\r\n\r\n" + HIDDEN.decode()),
    "in-authority-path": pseudo(authority=f"example.test{SECRET}"),
    "in-host": headers(
        1, block((":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a\r\n\r\n" + LINES))
    ),
    "in-absolute-path": pseudo(path=f"http://example.test{SECRET}"),
    "in-unknown-pseudo": headers(1, request("/") + block((":x", LINES))),
    "in-protocol": headers(
        1,
        block(
            (":method", "CONNECT"),
            (":protocol", LINES),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "example.test"),
        ),
        end=False,
    ),
    "cl-0": wearing(("content-length", "0")),
    "cl-shorter": wearing(("content-length", "5"), body=b"12345" + HIDDEN),
    "cl-shorter-in-pieces": post(("content-length", "5")) + data(1, b"12345", end=False) + data(1, HIDDEN),
    "cl-two": wearing(("content-length", "0"), ("content-length", str(len(HIDDEN)))),
    "cl-plus": wearing(("content-length", "+0")),
    "cl-list": wearing(("content-length", f"0, {len(HIDDEN)}")),
    "cl-with-crlf": wearing(("content-length", "0\r\nx: y")),
    "te-chunked": wearing(("transfer-encoding", "chunked"), body=b"0\r\n\r\n" + HIDDEN),
    "te-upper-case": wearing(("Transfer-Encoding", "chunked"), body=b"0\r\n\r\n" + HIDDEN),
    "te-name-with-space": wearing(("transfer-encoding ", "chunked"), body=b"0\r\n\r\n" + HIDDEN),
    "te-name-with-tab-first": wearing(("\ttransfer-encoding", "chunked"), body=b"0\r\n\r\n" + HIDDEN),
    "te-name-with-nul": wearing(("transfer-encoding\0", "chunked"), body=b"0\r\n\r\n" + HIDDEN),
    "te-beside-cl": wearing(
        ("content-length", str(5 + len(HIDDEN))), ("transfer-encoding", "chunked"), body=b"0\r\n\r\n" + HIDDEN
    ),
    "te-folded": wearing(("x", "y\r\n transfer-encoding: chunked"), body=b"0\r\n\r\n" + HIDDEN),
    "connection-upgrade": wearing(("connection", "upgrade, http2-settings"), ("upgrade", "h2c")),
    "in-trailer-value": post() + data(1, b"a", end=False) + headers(1, block(("x-checksum", LINES))),
    "in-trailer-name": post() + data(1, b"a", end=False) + headers(1, block((f"x-checksum: {LINES}x", "1"))),
    "in-trailer-te": post()
    + data(1, b"a", end=False)
    + headers(1, block(("transfer-encoding", "chunked"), ("x", LINES))),
    "second-head": post() + data(1, b"a", end=False) + headers(1, request(SECRET)),
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_nothing_is_smuggled(name: str, lbd: Lbd, origin: EchoOrigin) -> None:
    """Refused; and the requests behind it, on this and on other connections, get their own answers."""
    tap = Tap(origin)
    with H2Client(lbd.address()).start() as client:
        assert_refused(client.send(SMUGGLED[name]).read_answer(1))
        assert SECRET.encode() not in tap.octets()
        for number in (3, 5):
            assert client.ask(number, f"/after/{number}").json()["target"] == f"/after/{number}"
    for number in range(3):
        assert lbd.ask(get(f"/other/{number}")).json()["target"] == f"/other/{number}"
    assert SECRET.encode() not in tap.octets()


def assert_refused(answer: Answer) -> None:
    """405 and 501 are for CONNECT."""
    assert answer.status in (400, 405, 501) or answer.reset == 1, answer


BODIES: dict[str, tuple[tuple[Pair, ...], bytes]] = {
    "chunks-inside-a-chunk": ((), b"0\r\n\r\n" + HIDDEN),
    "request-inside-a-chunk": ((), HIDDEN),
    "chunks-inside-a-length": ((("content-length", str(5 + len(HIDDEN))),), b"0\r\n\r\n" + HIDDEN),
}


@pytest.mark.parametrize("name", BODIES)
def test_body_that_looks_like_a_request_stays_a_body(name: str, lbd: Lbd, origin: EchoOrigin) -> None:
    fields, body = BODIES[name]
    before = len(origin.requests)
    with H2Client(lbd.address()).start() as client:
        answer = client.send(post(*fields) + data(1, body)).read_answer(1)
        assert (answer.status, answer.json()["length"]) == (200, len(body))
        assert client.ask(3, "/after").json()["target"] == "/after"
    assert [(seen.target, seen.body) for seen in origin.requests[before:]] == [("/", body), ("/after", b"")]
