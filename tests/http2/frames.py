"""Builders of raw HTTP/2 bytes (RFC 9113 4, 6) and of header blocks (RFC 7541 6), valid or broken at will.

Blocks made by `block` are literals that leave the dynamic table alone, so that every corpus row can be
read by itself; `indexed` and friends build the other representations octet by octet."""

from __future__ import annotations

import struct
from typing import NamedTuple

from hpack.hpack import encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# frame types, RFC 9113 6; ALTSVC is RFC 7838 4, PRIORITY_UPDATE is RFC 9218 7.1
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
ALTSVC, PRIORITY_UPDATE = 0x0A, 0x10
# flags
ACK = END_STREAM = 0x01
END_HEADERS, PADDED, PRIORITIZED = 0x04, 0x08, 0x20
# settings, RFC 9113 6.5.2, RFC 8441 3, RFC 9218 2.1
(
    HEADER_TABLE_SIZE,
    ENABLE_PUSH,
    MAX_CONCURRENT_STREAMS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
) = range(1, 7)
ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES = 8, 9
# error codes, RFC 9113 7
(
    NO_ERROR,
    PROTOCOL_ERROR,
    INTERNAL_ERROR,
    FLOW_CONTROL_ERROR,
    SETTINGS_TIMEOUT,
    STREAM_CLOSED,
    FRAME_SIZE_ERROR,
    REFUSED_STREAM,
    CANCEL,
    COMPRESSION_ERROR,
    CONNECT_ERROR,
    ENHANCE_YOUR_CALM,
    INADEQUATE_SECURITY,
    HTTP_1_1_REQUIRED,
) = range(14)
MAX_WINDOW = 2**31 - 1

Text = str | bytes
Pair = tuple[Text, Text]


class Frame(NamedTuple):
    type: int
    flags: int
    stream: int
    payload: bytes


def latin(value: Text) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


# frames; lengths and stream numbers are taken as given, reserved bits included


def frame(type: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """One frame; `length` other than that of the payload makes it lie."""
    size = len(payload) if length is None else length
    return struct.pack("!BHBBI", size >> 16, size & 0xFFFF, type, flags, stream) + payload


def settings(*pairs: tuple[int, int], flags: int = 0, stream: int = 0) -> bytes:
    return frame(SETTINGS, flags, stream, b"".join(struct.pack("!HI", *pair) for pair in pairs))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def headers(stream: int, fragment: bytes, end: bool = True, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, fragment)


def continuation(stream: int, fragment: bytes = b"", last: bool = True) -> bytes:
    return frame(CONTINUATION, END_HEADERS if last else 0, stream, fragment)


def data(stream: int, payload: bytes = b"", end: bool = True, flags: int = 0) -> bytes:
    return frame(DATA, flags | (END_STREAM if end else 0), stream, payload)


def padded(payload: bytes, pad: int, claim: int | None = None, filler: bytes = b"\0") -> bytes:
    """A payload for frames with the PADDED flag; `claim` is the pad length when that is a lie."""
    return bytes([pad if claim is None else claim]) + payload + filler * pad


def prioritized(fragment: bytes, depends_on: int = 0, weight: int = 15) -> bytes:
    """A payload for HEADERS with the PRIORITY flag."""
    return struct.pack("!IB", depends_on, weight) + fragment


def priority(stream: int, depends_on: int = 0, weight: int = 15) -> bytes:
    return frame(PRIORITY, 0, stream, prioritized(b"", depends_on, weight))


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack("!I", code))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", increment))


def ping(payload: bytes = b"12345678", flags: int = 0, stream: int = 0) -> bytes:
    return frame(PING, flags, stream, payload)


def goaway(code: int = NO_ERROR, last: int = 0, debug: bytes = b"", stream: int = 0) -> bytes:
    return frame(GOAWAY, 0, stream, struct.pack("!II", last, code) + debug)


# header blocks


def integer(value: int, prefix: int, pattern: int = 0, excess: int = 0) -> bytes:
    """RFC 7541 5.1: the pattern sits in the bits above the prefix; `excess` adds octets without value."""
    octets = encode_integer(value, prefix)
    octets[0] |= pattern
    if excess:
        assert len(octets) > 1, "only integers longer than their prefix can be drawn out"
        octets[-1] |= 0x80
        octets += b"\x80" * (excess - 1) + b"\x00"
    return bytes(octets)


def string(value: Text, huffman: bool = False) -> bytes:
    """RFC 7541 5.2."""
    raw = latin(value)
    if huffman:
        raw = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(raw)
    return integer(len(raw), 7, 0x80 if huffman else 0) + raw


def indexed(index: int) -> bytes:
    return integer(index, 7, 0x80)


def literal(name: Text | int, value: Text, pattern: int = 0x00, huffman: bool = False) -> bytes:
    """RFC 7541 6.2: a name or its index; pattern 0x40 enters it into the table, 0x10 is never indexed."""
    prefix = 6 if pattern == 0x40 else 4
    if isinstance(name, int):
        return integer(name, prefix, pattern) + string(value, huffman)
    return bytes([pattern]) + string(name, huffman) + string(value, huffman)


def table_size(size: int) -> bytes:
    """A dynamic table size update, RFC 7541 6.3."""
    return integer(size, 5, 0x20)


def block(*pairs: Pair) -> bytes:
    return b"".join(literal(name, value) for name, value in pairs)


def request(
    path: Text = "/bad",
    *fields: Pair,
    method: Text = "GET",
    scheme: Text = "http",
    authority: Text = "example.test",
) -> bytes:
    """The block of a well-formed request, with more fields behind the pseudo-fields."""
    return block(
        (":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *fields
    )
