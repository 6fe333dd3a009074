"""HTTP/2 requests as the endpoint sees them: HTTP/1.1, octet by octet, and the same for both versions.

RFC 9113 8.2.3, 8.3.1, 8.5, 10.3; RFC 9112 6; hazard 18. What must not come is in test_http2_smuggling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.messages import get
from http2.frames import PADDED, Pair, block, data, headers, literal, padded, request
from http2.tap import Tap
from http2.wire import H2Client

CONFIG = """
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app, trailers: [X-Checksum]}]
clusters: [{name: app, endpoints: [<origin>]}]
"""
ADDED = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "via"}  # by lbd, always
HOST = "host: example.test"
CHUNKED = "transfer-encoding: chunked"


@pytest.fixture(scope="module")
def origin() -> Iterator[EchoOrigin]:
    with EchoOrigin() as origin:
        yield origin
    assert origin.malformed == []


@pytest.fixture(scope="module")
def lbd(origin: EchoOrigin) -> Iterator[Lbd]:
    with Lbd(CONFIG, origin=origin) as lbd:
        yield lbd


def split(octets: bytes) -> tuple[str, list[str], bytes]:
    """Request line; field lines, names in lower case, without those that lbd adds, Host first; the rest."""
    head, _, rest = octets.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    pairs = [field.partition(": ") for field in fields]
    kept = [f"{name.lower()}: {value}" for name, _, value in pairs if name.lower() not in ADDED]
    return line, sorted(kept, key=lambda field: not field.startswith("host:")), rest


@dataclass(frozen=True)
class Case:
    id: str
    frames: bytes
    line: str
    fields: tuple[str, ...] = (HOST,)
    rest: bytes = b""

    def __str__(self) -> str:
        return self.id


def ask(path: str, *fields: Pair, method: str = "GET", end: bool = True) -> bytes:
    return headers(1, request(path, *fields, method=method), end=end)


def post(*fields: Pair) -> bytes:
    return ask("/", *fields, method="POST", end=False)


POST_LINE = "POST / HTTP/1.1"
CHECKSUM = headers(1, block(("x-checksum", "1")))
CASES = [
    Case("get", ask("/a?b=c&d=%20e"), "GET /a?b=c&d=%20e HTTP/1.1"),
    Case("head", ask("/", method="HEAD"), "HEAD / HTTP/1.1"),
    Case("any-method", ask("/", method="PROPFIND"), "PROPFIND / HTTP/1.1"),
    Case("options-star", ask("*", method="OPTIONS"), "OPTIONS * HTTP/1.1"),
    Case(
        "fields-in-order",
        ask("/", ("b", "1"), ("a", "2"), ("b", "3"), ("c", "")),
        "GET / HTTP/1.1",
        (HOST, "b: 1", "a: 2", "b: 3", "c: "),
    ),
    Case(
        "cookies-become-one",
        ask("/", ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")),
        "GET / HTTP/1.1",
        (HOST, "x: y", "cookie: a=1; b=2; c=3"),
    ),
    Case(
        "cookies-never-indexed",
        headers(1, request("/") + literal("cookie", "a=1", 0x10) + literal("cookie", "b=2", 0x10)),
        "GET / HTTP/1.1",
        (HOST, "cookie: a=1; b=2"),
    ),
    Case(
        "host-alone",
        headers(1, block((":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "h.test:81"))),
        "GET / HTTP/1.1",
        ("host: h.test:81",),
    ),
    Case("host-equal-is-not-doubled", ask("/", ("host", "example.test")), "GET / HTTP/1.1"),
    Case(
        "underscores-are-dropped", ask("/", ("transfer_encoding", "chunked"), ("x_y", "1")), "GET / HTTP/1.1"
    ),
    Case(
        "forged-forwarding-is-replaced",
        ask("/", ("x-forwarded-for", "6.6.6.6"), ("x", "y")),
        "GET / HTTP/1.1",
        (HOST, "x: y"),
    ),
    Case("http2-settings-is-dropped", ask("/", ("http2-settings", "AAAA")), "GET / HTTP/1.1"),
    Case(
        "body-with-length",
        post(("content-length", "5")) + data(1, b"hello"),
        POST_LINE,
        (HOST, "content-length: 5"),
        b"hello",
    ),
    Case(
        "body-with-length-in-pieces",
        post(("content-length", "5"))
        + data(1, b"he", end=False)
        + data(1, b"", end=False)
        + data(1, b"llo", end=False)
        + data(1),
        POST_LINE,
        (HOST, "content-length: 5"),
        b"hello",
    ),
    Case(
        "length-0", ask("/", ("content-length", "0"), method="POST"), POST_LINE, (HOST, "content-length: 0")
    ),
    Case(
        "body-without-length",
        post() + data(1, b"hello"),
        POST_LINE,
        (HOST, CHUNKED),
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Case(
        "body-of-get",
        ask("/", end=False) + data(1, b"hello"),
        "GET / HTTP/1.1",
        (HOST, CHUNKED),
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Case(
        "padding-is-no-body",
        post() + data(1, padded(b"hello", 9, filler=b"\0"), flags=PADDED),
        POST_LINE,
        (HOST, CHUNKED),
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Case(
        "trailers-of-the-list",
        post() + data(1, b"hello", end=False) + CHECKSUM,
        POST_LINE,
        (HOST, CHUNKED),
        b"5\r\nhello\r\n0\r\nx-checksum: 1\r\n\r\n",
    ),
    Case(
        "other-trailers-are-dropped",
        post()
        + data(1, b"hello", end=False)
        + headers(
            1,
            block(
                ("authorization", "x"),
                ("cookie", "a=b"),
                ("x", "y"),
                ("x-forwarded-for", "6.6.6.6"),
            ),
        ),
        POST_LINE,
        (HOST, CHUNKED),
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    Case(
        "trailers-after-length",
        post(("content-length", "5")) + data(1, b"hello", end=False) + CHECKSUM,
        POST_LINE,
        (HOST, "content-length: 5"),
        b"hello",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_request_as_the_endpoint_sees_it(case: Case, lbd: Lbd, origin: EchoOrigin) -> None:
    tap = Tap(origin)
    with H2Client(lbd.address()).start() as client:
        assert client.send(case.frames).read_answer(1).status == 200
    assert b"6.6.6.6" not in tap.octets()
    line, fields, rest = split(tap.octets())
    assert (line, tuple(fields), rest.replace(b"X-Checksum", b"x-checksum")) == (
        case.line,
        case.fields,
        case.rest,
    )


def test_nothing_frames_a_post_without_body(lbd: Lbd, origin: EchoOrigin) -> None:
    """RFC 9110 8.6 would like a length of 0; no body may be announced."""
    tap = Tap(origin)
    with H2Client(lbd.address()).start() as client:
        assert client.send(ask("/", method="POST")).read_answer(1).status == 200
    assert split(tap.octets()) in [(POST_LINE, [HOST], b""), (POST_LINE, [HOST, "content-length: 0"], b"")]


INSIDE = b"GET /smuggled HTTP/1.1\r\nHost: example.test\r\n\r\n"


def test_empty_data_does_not_end_the_body(lbd: Lbd, origin: EchoOrigin) -> None:
    """An empty DATA frame written as a chunk would be the last chunk, and the rest a request."""
    tap = Tap(origin)
    empty = data(1, end=False) + data(1, padded(b"", 3), end=False, flags=PADDED)
    with H2Client(lbd.address()).start() as client:
        client.send(post() + empty + data(1, b"abc", end=False))
        client.settle()
        client.send(empty)
        client.settle()
        answer = client.send(data(1, INSIDE, end=False) + empty + data(1)).read_answer(1)
        assert (answer.status, answer.json()["length"]) == (200, 3 + len(INSIDE))
    assert tap.octets().count(b"\r\n0\r\n\r\n") == 1 and tap.octets().endswith(b"\r\n0\r\n\r\n")


def test_te_is_trailers_or_nothing(lbd: Lbd) -> None:
    with H2Client(lbd.address()).start() as client:
        fields = client.send(ask("/", ("te", "trailers"))).read_answer(1).json()["headers"]
    assert [value for name, value in fields if name == "te"] in ([], ["trailers"])


def test_host_beside_another_authority(lbd: Lbd) -> None:
    """RFC 9113 8.3.1: refused, or :authority alone decides."""
    with H2Client(lbd.address()).start() as client:
        answer = client.send(ask("/", ("host", "evil.test"))).read_answer(1)
    if answer.status == 200:
        assert [value for name, value in answer.json()["headers"] if name == "host"] == ["example.test"]
    else:
        assert answer.status == 400 or answer.reset == 1


PATHS = [
    "/",
    "/?",
    "//",
    "//evil.test/x",
    "/a/../b",
    "/a/./b",
    "/../../etc",
    "/a//b",
    "/%2e%2e/a",
    "/a%2fb",
    "/a%5cb",
    "/a;b=c",
    "/a\\b",
    "/%00",
    "/a%zz",
    "/a%",
    "/%C3%A4",
    "/~a",
    "/a?b=/../c",
    "/a?b?c",
    "/a+b",
    "/a'\"b",
    "/a<b>",
    "/a|b",
    "/a^b",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths_mean_the_same_in_both_versions(path: str, lbd: Lbd, origin: EchoOrigin) -> None:
    """Differential: HTTP/1.1 gets the same status for it, and the endpoint sees the same target."""
    old, seen_old = lbd.ask(get(path)), origin.requests[-1:]
    with H2Client(lbd.address()).start() as client:
        new = client.ask(1, path)
    assert old.status in (200, 400)
    assert new.status == old.status or (old.status == 400 and new.reset == 1)
    if old.status == 200:
        assert origin.requests[-1].target == seen_old[0].target
