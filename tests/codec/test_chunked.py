"""ChunkedDecoder: tables, every cut of the input, and what is refused."""

from __future__ import annotations

import pytest
from codec.feeding import decode
from smuggling.corpus import Row, chunks

from lbd.engine.body import ChunkedDecoder
from lbd.engine.http1 import ProtocolError

END = b"0\r\n\r\n"

VALID: dict[str, tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = {
    "empty": (END, b"", []),
    "one": (b"5\r\nhello\r\n" + END, b"hello", []),
    "two": (b"1\r\na\r\n2\r\nbc\r\n" + END, b"abc", []),
    "hex-upper": (b"A\r\n0123456789\r\n" + END, b"0123456789", []),
    "hex-lower": (b"a\r\n0123456789\r\n" + END, b"0123456789", []),
    "zeros": (b"0005\r\nhello\r\n000\r\n\r\n", b"hello", []),
    "16-digits": (b"0000000000000005\r\nhello\r\n" + END, b"hello", []),
    "extension": (b'5;a=b;c="d e"\r\nhello\r\n0;x\r\n\r\n', b"hello", []),
    "trailers": (b"5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n", b"hello", [(b"a", b"b"), (b"c", b"")]),
    "crlf-in-data": (b"7\r\n\r\n0\r\n\r\n\r\n" + END, b"\r\n0\r\n\r\n", []),
    "large": (b"10000\r\n" + b"x" * 65536 + b"\r\n" + END, b"x" * 65536, []),
}


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str) -> None:
    data, payload, trailers = VALID[name]
    for tail in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00"):
        assert decode(data + tail) == (payload, len(data), True, trailers)
    if len(data) < 1000:
        assert decode(data, range(len(data))) == (payload, len(data), True, trailers), "byte by byte"
        for end in range(len(data)):
            assert not decode(data[:end])[2], "a proper prefix is never done"
            assert decode(data, [end]) == (payload, len(data), True, trailers)


def body_of(row: Row) -> bytes:
    return row.raw.split(b"\r\n\r\n", 1)[1]


@pytest.mark.parametrize("row",
                         [row for row in chunks.ROWS if row.expect == "refuse" and len(row.raw) < 10_000
                                 and not row.id.startswith(("size-2-6", "data-shorter"))], ids=str)
def test_refused(row: Row) -> None:
    data = body_of(row) + b"\r\n\r\n"
    for cuts in ((), range(len(data))):
        with pytest.raises(ProtocolError) as caught:
            decode(data, cuts)
        assert caught.value.status in row.status


@pytest.mark.parametrize("row", [row for row in chunks.ROWS if row.expect == "accept"], ids=str)
def test_accepted(row: Row) -> None:
    payload, consumed, done, _ = decode(body_of(row))
    assert (payload, consumed, done) == (row.body, len(body_of(row)), True)


@pytest.mark.parametrize("size", ["8000000000000000", "ffffffffffffffff", "7fffffffffffffff"])
def test_sizes_near_2_64_never_end_early(size: str) -> None:
    """Refused, or really waited for: never wrapped to a small or negative number."""
    try:
        payload, _, done, _ = decode(size.encode() + b"\r\nhello\r\n" + END)
    except ProtocolError:
        return
    assert not done and payload == b"hello\r\n" + END


def test_refused_stays_refused() -> None:
    decoder = ChunkedDecoder()
    with pytest.raises(ProtocolError):
        decoder.feed(b"0x5\r\n")
    with pytest.raises(ProtocolError):
        decoder.feed(b"5\r\nhello\r\n" + END)


@pytest.mark.parametrize("flood", [b"5;" + b"a" * 70_000, b"1;%b\r\na\r\n" % (b"a" * 1000) * 1000,
                                   b"0\r\n" + b"A: b\r\n" * 20_000, b"0\r\nA: " + b"b" * 100_000,
                                   b"0" * 100_000],
                         ids=["extension", "extensions", "trailers", "trailer", "zeros"])
def test_overhead_is_bounded(flood: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(flood, range(0, len(flood), 4096))
