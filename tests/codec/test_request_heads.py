"""inspect_request: tables of heads that must be read one way, and of heads that must be refused."""

from __future__ import annotations

from typing import Any

import pytest
from codec.feeding import inspect_every_way, is_refused, lower, outcome
from harness.messages import get, head
from smuggling.corpus import Row, fields, lengths, targets

from lbd.engine.http1 import ProtocolError, inspect_request

HOST = "Host: example.test"
START = "GET / HTTP/1.1"

VALID: dict[str, tuple[bytes, dict[str, Any]]] = {
    "plain": (get("/a?b=c"), {
        "method": b"GET", "target": b"/a?b=c", "path": b"/a", "query": b"b=c", "authority": b"example.test",
        "version": (1, 1), "framing": "none", "content_length": 0, "keep_alive": True,
        "expect_continue": False,
        "upgrade": None}),
    "no-query": (get("/a"), {"path": b"/a", "query": None}),
    "empty-query": (get("/a?"), {"path": b"/a", "query": b""}),
    "two-question-marks": (get("/a?b?c"), {"path": b"/a", "query": b"b?c"}),
    "length": (head("POST / HTTP/1.1", HOST, "Content-Length: 7"),
               {"framing": "length", "content_length": 7}),
    "length-zero": (head("POST / HTTP/1.1", HOST, "Content-Length: 0"), {"content_length": 0}),
    "length-18-digits": (head("POST / HTTP/1.1", HOST, "Content-Length: " + "9" * 18),
                         {"content_length": 10**18 - 1}),
    "length-zeros": (head("POST / HTTP/1.1", HOST, "Content-Length: 0007"), {"content_length": 7}),
    "length-on-get": (head(START, HOST, "Content-Length: 7"), {"framing": "length", "content_length": 7}),
    "chunked": (head("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked"), {"framing": "chunked"}),
    "chunked-case": (head("POST / HTTP/1.1", HOST, "TRANSFER-ENCODING:\tChUnKeD "), {"framing": "chunked"}),
    "close": (head(START, HOST, "Connection: close"), {"keep_alive": False}),
    "close-in-list": (head(START, HOST, "Connection: x, CLOSE ,y"), {"keep_alive": False}),
    "close-in-second-field": (head(START, HOST, "Connection: x", "Connection: close"), {"keep_alive": False}),
    "closed-is-not-close": (head(START, HOST, "Connection: closed, xclose"), {"keep_alive": True}),
    "old": (head("GET / HTTP/1.0"), {"version": (1, 0), "keep_alive": False}),
    "old-keep-alive": (head("GET / HTTP/1.0", "Connection: Keep-Alive"),
                       {"version": (1, 0), "keep_alive": True}),
    "old-length": (head("POST / HTTP/1.0", "Content-Length: 3"), {"framing": "length", "content_length": 3}),
    "expect": (head("PUT / HTTP/1.1", HOST, "Expect: 100-Continue", "Content-Length: 1"),
               {"expect_continue": True}),
    "expect-old": (head("PUT / HTTP/1.0", HOST, "Expect: 100-continue", "Content-Length: 1"),
                   {"expect_continue": False}),
    "websocket": (head(START, HOST, "Connection: Upgrade", "Upgrade: websocket"), {"upgrade": b"websocket"}),
    "upgrade-not-nominated": (head(START, HOST, "Upgrade: websocket"), {"upgrade": None}),
    "star": (head("OPTIONS * HTTP/1.1", HOST), {"method": b"OPTIONS", "target": b"*"}),
    "absolute": (head("GET http://Real.test:81/a?b HTTP/1.1", HOST),
                 {"authority": b"real.test:81", "path": b"/a", "query": b"b"}),
    "absolute-no-path": (head("GET http://real.test HTTP/1.1", HOST),
                         {"authority": b"real.test", "path": b"/"}),
    "ipv6": (head(START, "Host: [::1]:80"), {"authority": b"[::1]:80"}),
    "method-token": (head("!#$%&'*+-.^_`|~a1 / HTTP/1.1", HOST), {"method": b"!#$%&'*+-.^_`|~a1"}),
    "fields-100": (head(START, HOST, *(f"X{n}: y" for n in range(99))), {}),
}


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str) -> None:
    data, expected = VALID[name]
    info = inspect_every_way(inspect_request, data)
    assert info is not None and not is_refused(info), info
    assert info.consumed == len(data)
    for attribute, value in expected.items():
        found = getattr(info, attribute)
        assert (found.lower() if attribute in ("authority",
                                               "upgrade") and found else found) == value, attribute


def test_fields_keep_order_and_bytes() -> None:
    info = inspect_request(head(START, HOST, "B: 1", "a:\t 2 \t", "B:", "C: caf\xe9: \t x"))
    assert lower(info.fields) == [
        (b"host", b"example.test"), (b"b", b"1"), (b"a", b"2"), (b"b", b""), (b"c", b"caf\xe9: \t x")]


def test_underscore_names() -> None:
    data = head(START, HOST, "X_Y: 1", "Z: 2")
    assert lower(inspect_request(data).fields) == [(b"host", b"example.test"), (b"z", b"2")]
    assert lower(inspect_request(data, underscore="keep").fields)[1] == (b"x_y", b"1")


HEADS = lengths.ROWS + fields.ROWS + targets.ROWS
REFUSED = [row for row in HEADS if row.expect == "refuse" and row.id != "cl-too-large"]


@pytest.mark.parametrize("row", [row for row in REFUSED if len(row.raw) < 3000], ids=str)
def test_refused_every_way(row: Row) -> None:
    result = inspect_every_way(inspect_request, row.raw + get("/smuggled"))
    assert is_refused(result) and result[1] in row.status, result


@pytest.mark.parametrize("row", [row for row in REFUSED if len(row.raw) >= 3000], ids=str)
def test_refused_large(row: Row) -> None:
    result = outcome(inspect_request, row.raw + get("/smuggled"))
    assert is_refused(result) and result[1] in row.status, result


ACCEPTED = [row for row in HEADS if row.expect == "accept"]


@pytest.mark.parametrize("row", ACCEPTED, ids=str)
def test_accepted_every_way(row: Row) -> None:
    info = inspect_every_way(inspect_request, row.raw)
    assert info is not None and not is_refused(info), info


LIMITS: dict[str, tuple[dict[str, int], bytes, int, str]] = {
    "request-line": ({"request_line": 64}, get("/" + "a" * 64), 414, "target_too_long"),
    "head": ({"head": 128}, get("/", "X: " + "a" * 128), 431, "head_too_large"),
    "fields": ({"fields": 3}, get("/", "A: 1", "B: 2", "C: 3"), 431, "head_too_large"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str) -> None:
    limit, data, status, reason = LIMITS[name]
    assert outcome(inspect_request, data, **limit) == ("refused", status, reason)
    assert not is_refused(outcome(inspect_request, data))
    for end in range(len(data)):  # refused at the latest when the limit is reached, head unfinished
        if is_refused(outcome(inspect_request, data[:end], **limit)):
            break
    else:
        assert name == "fields", "an unfinished head beyond its limit asks for more for ever"


def test_unfinished_head_is_bounded() -> None:
    assert outcome(inspect_request, b"GET /" + b"a" * 9000)[1] == 414
    assert outcome(inspect_request, get()[:-2] + b"X: " + b"a" * 40_000)[1] == 431


def test_error_tells_status_and_reason() -> None:
    with pytest.raises(ProtocolError) as caught:
        inspect_request(head("GET / HTTP/3.0", HOST))
    assert (caught.value.status, caught.value.reason) == (505, "version_refused")


def test_empty_needs_more() -> None:
    assert inspect_request(b"") is None
