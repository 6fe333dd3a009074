"""inspect_response: framing by status, method and fields (RFC 9112 6.3), and what must become a 502."""

from __future__ import annotations

from typing import Any

import pytest
from codec.feeding import inspect_every_way, is_refused, lower
from harness.messages import head, ok

from lbd.engine.http1 import inspect_response

OK = "HTTP/1.1 200 OK"
CL = "Content-Length: 5"
TE = "Transfer-Encoding: chunked"

VALID: dict[str, tuple[bytes, bytes, dict[str, Any]]] = {
    "length": (b"GET", head(OK, CL), {"status": 200, "reason": b"OK", "version": (1, 1), "framing": "length",
                                      "content_length": 5, "keep_alive": True}),
    "chunked": (b"GET", head(OK, TE), {"framing": "chunked", "keep_alive": True}),
    "until-close": (b"GET", head(OK), {"framing": "close", "keep_alive": False}),
    "head-length": (b"HEAD", head(OK, CL), {"framing": "none"}),
    "head-chunked": (b"HEAD", head(OK, TE), {"framing": "none"}),
    "head-nothing": (b"HEAD", head(OK), {"framing": "none"}),
    "204": (b"GET", head("HTTP/1.1 204 No Content"), {"framing": "none"}),
    "304": (b"GET", head("HTTP/1.1 304 Not Modified", CL), {"framing": "none"}),
    "100": (b"GET", head("HTTP/1.1 100 Continue"), {"status": 100, "framing": "none"}),
    "103": (b"GET", head("HTTP/1.1 103 Early Hints", "Link: </a>"), {"status": 103, "framing": "none"}),
    "old": (b"GET", head("HTTP/1.0 200 OK", CL),
            {"version": (1, 0), "framing": "length", "keep_alive": False}),
    "old-keep-alive": (b"GET", head("HTTP/1.0 200 OK", CL, "Connection: keep-alive"), {"keep_alive": True}),
    "old-until-close": (b"GET", head("HTTP/1.0 200 OK"), {"framing": "close", "keep_alive": False}),
    "close": (b"GET", head(OK, CL, "Connection: close"), {"keep_alive": False}),
    "no-phrase": (b"GET", head("HTTP/1.1 200 ", CL), {"status": 200, "reason": b""}),
    "phrase": (b"GET", head("HTTP/1.1 404 Not \t caf\xe9", CL), {"status": 404, "reason": b"Not \t caf\xe9"}),
    "599": (b"GET", head("HTTP/1.1 599 x", CL), {"status": 599}),
}

INVALID: dict[str, bytes] = {
    "cl-te": head(OK, CL, TE), "cl-differ": head(OK, CL, "Content-Length: 6"),
    "te-10": head("HTTP/1.0 200 OK", TE),
    "te-twice": head(OK, TE, TE), "te-list": head(OK, "Transfer-Encoding: chunked, chunked"),
    **{f"cl-{value!a}": head(OK, f"Content-Length: {value}") for value in (
        "", "+5", "-5", "0x5", "5_0", "5 5", "5,6", "\xb2", "\x0b5", "5\x1f", str(2**64), "1" * 19,
        "5" * 5000)},
    **{f"te-{value!a}": head(OK, f"Transfer-Encoding: {value}") for value in ("", "x", "\x0bchunked",
                                                                              "chunked\xa0", '"chunked"')},
    **{f"line-{line!a}": head(line, CL) for line in (
        "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 2 0 OK", "HTTP/1.1 \xb2\xb2\xb2 OK",
        "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK",
        "HTTP/2.0 200 OK", "HTTP/1.10 200 OK", "http/1.1 200 OK", "ICY 200 OK", "HTTP/1.1 099 x",
        "HTTP/1.1 000 x", "HTTP/1.1",
        "HTTP/1.1 200 a\x00b", "HTTP/1.1 200 a\rb", " HTTP/1.1 200 OK", "SSH-2.0-OpenSSH_9.2",
        "GET / HTTP/1.1")},
    "lf": b"HTTP/1.1 200 OK\nContent-Length: 5\n\n", "lf-field": head(OK, "A: b\nC: d", CL),
    "cr": head(OK, "A: b\rc", CL), "nul": head(OK, "A: \x00", CL), "fold": head(OK, "A: b", " c", CL),
    "space-colon": head(OK, "A : b", CL), "no-colon": head(OK, "Abc", CL), "empty-name": head(OK, ": b", CL),
    "space-first": head(OK, " A: b", CL), "bad-name": head(OK, "A(: b", CL),
    "tls": b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n",
}


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str) -> None:
    method, data, expected = VALID[name]
    info = inspect_every_way(inspect_response, data, method)
    assert info is not None and not is_refused(info), info
    assert {key: getattr(info, key) for key in expected} == expected
    assert info.consumed == len(data)


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str) -> None:
    result = inspect_every_way(inspect_response, INVALID[name])
    assert is_refused(result), result
    assert result[1:] == (502, "upstream_invalid")


def test_body_is_not_consumed() -> None:
    data = ok(b"hello")
    info = inspect_response(data)
    assert data[info.consumed :] == b"hello"


def test_fields() -> None:
    info = inspect_response(head(OK, "Set-Cookie: a=1", "set-cookie: b=2", "X:", "Y:\t z \t"))
    assert lower(info.fields) == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x", b""), (b"y", b"z")]
