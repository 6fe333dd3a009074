"""The codec on bytes that are nearly HTTP, and on any bytes.

Strategy: messages are put together from pieces that matter to a parser, then damaged. Whatever comes, the
codec answers with a result, with None for "more" or with ProtocolError; feeding in pieces changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from fuzz.budget import examples
from hypothesis import given
from hypothesis import strategies as st

from lbd.engine.body import ChunkedDecoder
from lbd.engine.http1 import ProtocolError, inspect_request, inspect_response
from lbd.engine.path import normal_path

EDGES = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"%2e",
    b"%",
    b"/",
    b"//",
    b"..",
    b"?",
    b"#",
    b"[",
    b"]",
    b"@",
    b"\\",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xa0",
    b"\xff",
    b"0",
    b"9" * 20,
    b"a" * 300,
)
START = (
    b"GET / HTTP/1.1",
    b"GET /a/../b?x=1 HTTP/1.1",
    b"POST /p HTTP/1.0",
    b"OPTIONS * HTTP/1.1",
    b"get / HTTP/1.1",
    b"GET http://a.test:80/x?y HTTP/1.1",
    b"GET https://[::1]/ HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1",
    b"GET /",
    b"",
    b"GET / HTTP/1.2",
    b"GET / HTTP/2.0",
    b"PRI * HTTP/2.0",
    b"M-X!~ /%41%2f HTTP/1.1",
    b"GET  / HTTP/1.1",
)
STATUS = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 304 ",
    b"HTTP/1.1 099 x",
    b"HTTP/1.1 600 x",
    b"HTTP/1.1 20",
    b"SSH-2.0-x",
    b"",
)
FIELDS = (
    b"Host: a.test",
    b"Host: [::1]:80",
    b"Host: a,b",
    b"Host:",
    b"Content-Length: 5",
    b"Content-Length: +5",
    b"Content-Length: 999999999999999999",
    b"Content-Length: 1000000000000000000",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked ",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer_Encoding: chunked",
    b"Connection: close, x-a",
    b"X-A: 1",
    b"Connection: upgrade, keep-alive",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Expect: 200-ok",
    b"TE: trailers",
    b"Trailer: x",
    b" folded",
    b"X-Forwarded-For: 1.2.3.4, ::1",
    b": empty",
    b"no colon",
    b"X : y",
    b"X\x00: y",
    b"X: \x0b",
    b"X: \xff",
    b"Cookie: " + b"a=b; " * 50,
)
CHUNKED = (
    b"0",
    b"5",
    b"A",
    b"ffffffffffffffff",
    b"10000000000000000",
    b"0x5",
    b"-1",
    b"5;a=b",
    b'5;a="\r\n"',
    b"5 ;x",
    b"hello",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"3\r\nabc\r\n",
    b"X: y\r\n",
    b"Content-Length: 1\r\n",
    b"\r\n",
    b"1;" + b"e" * 5000,
)
PATH_PIECES = (b".", b"a", b"%2E", b"%2f", b"%5c", b"%41", b"%zz", b";x=1")


def damaged(messages: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """As it is, or cut, or with a piece put in, or with bytes replaced."""

    def damage(message: bytes, at: int, much: int, piece: bytes, kind: int) -> bytes:
        at %= len(message) + 1
        return (
            message,
            message[:at],
            message[:at] + piece + message[at:],
            message[:at] + piece + message[at + much :],
        )[kind]

    return st.builds(
        damage,
        messages,
        st.integers(0, 1 << 16),
        st.integers(0, 40),
        st.sampled_from(EDGES),
        st.integers(0, 3),
    )


def heads(starts: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    lines = st.tuples(st.sampled_from(starts), st.lists(st.sampled_from(FIELDS), max_size=8))
    whole = lines.map(lambda parts: b"\r\n".join((parts[0], *parts[1], b"", b"")))
    return st.one_of(damaged(whole), damaged(damaged(whole)), st.binary(max_size=200))


def outcome(call: Callable[..., object], *values: object, **options: object) -> object:
    try:
        return call(*values, **options)
    except ProtocolError as error:
        assert 400 <= error.status <= 599 and error.reason
        return (error.status, error.reason)


@examples(400)
@given(heads(START), st.binary(max_size=20))
def test_request_heads(data: bytes, behind: bytes) -> None:
    whole = outcome(inspect_request, data)
    for end in range(len(data)):
        part = outcome(inspect_request, data[:end])
        if part is not None:  # once decided, more bytes change nothing
            assert outcome(inspect_request, data[: end + 1]) == part
            assert whole == part
            break
    if whole is not None:
        assert outcome(inspect_request, data + behind) == whole


@examples(150)
@given(heads(START), st.integers(64, 400), st.integers(1, 6))
def test_request_heads_under_small_limits(data: bytes, size: int, fields: int) -> None:
    result = outcome(inspect_request, data, request_line=size, head=size, fields=fields)
    if hasattr(result, "fields"):
        assert result.consumed <= size and len(result.fields) <= fields


@examples(500)
@given(heads(STATUS), st.sampled_from((b"GET", b"HEAD", b"CONNECT")), st.binary(max_size=20))
def test_response_heads(data: bytes, method: bytes, behind: bytes) -> None:
    whole = outcome(inspect_response, data, method)
    for end in range(len(data)):
        part = outcome(inspect_response, data[:end], method)
        if part is not None:
            assert whole == part
            break
    if whole is not None:
        assert outcome(inspect_response, data + behind, method) == whole


def decode(pieces: list[bytes]) -> tuple[bytes, int, object]:
    """Payload, bytes consumed, and how it ended: False for more, the trailers, or "refused"."""
    decoder = ChunkedDecoder()
    payload, consumed = b"", 0
    for piece in pieces:
        try:
            out, taken, done = decoder.feed(piece)
        except ProtocolError:
            with pytest.raises(ProtocolError):
                decoder.feed(b"0\r\n\r\n")  # refused for good
            return b"", 0, "refused"
        assert len(out) <= taken <= len(piece)
        payload, consumed = payload + out, consumed + taken
        if done:
            return payload, consumed, decoder.trailers
        assert taken == len(piece)
    return payload, consumed, False


CHUNKED_BODIES = damaged(
    st.lists(st.sampled_from(CHUNKED), max_size=10).map(lambda parts: b"\r\n".join((*parts, b"")))
)


@examples(400)
@given(st.one_of(CHUNKED_BODIES, st.binary(max_size=100)), st.lists(st.integers(0, 6000), max_size=6))
def test_chunked_bodies(data: bytes, cuts: list[int]) -> None:
    whole = decode([data])
    assert decode([data[at : at + 1] for at in range(len(data))]) == whole
    at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    assert decode([data[a:b] for a, b in itertools.pairwise(at)]) == whole


@examples(400)
@given(st.lists(st.sampled_from((*EDGES, *PATH_PIECES)), max_size=12))
def test_paths(parts: list[bytes]) -> None:
    path = b"/" + b"".join(parts)
    normal = normal_path(path)
    if normal is not None:
        assert len(normal) <= len(path)
        assert normal_path(normal) == normal
        assert not {b".", b".."} & set(normal.split(b"/")) and b"//" not in normal
