"""Content-Length against the DATA that comes. RFC 9113 8.1.1; RFC 9110 8.6."""

from __future__ import annotations

from http2.corpus import MALFORMED, SERVED, Row, row, status
from http2.frames import PADDED, Text, block, data, headers, padded, request, rst_stream

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: example.test\r\n\r\n"


def post(length: Text | None, path: str = "/cut", end: bool = False, method: str = "POST") -> bytes:
    fields = [] if length is None else [("content-length", length)]
    return headers(1, request(path, *fields, method=method), end=end)


def wrong(id: str, *frames: bytes) -> Row:
    return row(id, "8.1.1", MALFORMED, b"".join(frames))


TRAILER = headers(1, block(("x-t", "1")))
MISMATCHES: list[Row] = [
    wrong("less", post("5"), data(1, b"abc")),
    wrong("less-in-two", post("5"), data(1, b"abc", end=False), data(1, b"d")),
    wrong("none-but-empty-data", post("5"), data(1)),
    wrong("end-on-headers", post("5", end=True)),
    wrong("end-on-headers-of-get", post("5", end=True, method="GET")),
    wrong("end-on-headers-of-head", post("5", end=True, method="HEAD")),
    wrong("end-on-headers-of-options", post("5", end=True, method="OPTIONS")),
    wrong("end-on-headers-huge", post("999999999999999999", end=True)),
    wrong("more", post("5"), data(1, b"abcdef")),
    wrong("more-by-far", post("5"), data(1, bytes(16000))),
    # the endpoint has all that was announced before the excess comes: a proxy that streams cannot know
    wrong("more-in-two", post("5", "/setup"), data(1, b"abcde", end=False), data(1, b"f")),
    wrong("more-without-end", post("5"), data(1, b"abcdef", end=False)),
    wrong("more-is-a-request", post("5"), data(1, b"abcde" + HIDDEN)),
    wrong("zero-with-data", post("0", "/setup"), data(1, b"a")),
    wrong("zero-with-request", post("0", "/setup"), data(1, HIDDEN)),
    wrong("zero-with-data-of-get", post("0", "/setup", method="GET"), data(1, HIDDEN)),
    wrong("zero-with-data-without-end", post("0", "/setup"), data(1, b"a", end=False)),
    wrong("less-then-trailers", post("5"), data(1, b"abc", end=False), TRAILER),
    wrong("none-then-trailers", post("5"), TRAILER),
    wrong("more-then-trailers", post("5"), data(1, b"abcdef", end=False), TRAILER),
    wrong("padding-does-not-count", post("9"), data(1, padded(b"abc", 5), flags=PADDED)),
]

# Any spelling but digits, RFC 9110 8.6; each with as much DATA as a lenient reader would want.
BAD: dict[str, Text] = {
    "plus": "+5",
    "minus": "-5",
    "minus-zero": "-0",
    "hex": "0x5",
    "word": "five",
    "empty": "",
    "dot": "5.0",
    "underscore": "0_5",
    "space-inside": "5 5",
    "list": "5,6",
    "list-blank": "5, 6",
    "list-empty": "5,",
    "exponent": "5e0",
    "2-64-plus-5": str(2**64 + 5),
    "2-63": str(2**63),
    "6000-digits": "0" * 5999 + "5",
    "arabic": "\u0665".encode(),
    "superscript": b"\xb9",
    "quoted": '"5"',
    "semicolon": "5;",
    "nul": "5\0",
    "cr": "5\r",
    "crlf-te": "5\r\ntransfer-encoding: chunked",
    "space-first": " 5",
    "space-last": "5 ",
}
SPELLINGS: list[Row] = [
    row(
        f"spelled-{id}",
        "9110 8.6",
        MALFORMED | (status(431, 413) if len(value) > 15 else MALFORMED),
        post(value, "/bad") + data(1, b"hello"),
    )
    for id, value in BAD.items()
] + [
    row(f"spelled-{id}-no-body", "9110 8.6", MALFORMED, post(value, "/bad", end=True))
    for id, value in BAD.items()
    if id in ("plus", "minus-zero", "empty", "list", "word")
]


def two(first: Text, second: Text, path: str) -> bytes:
    return headers(
        1, request(path, ("content-length", first), ("content-length", second), method="POST"), end=False
    )


REPEATED: list[Row] = [
    row("two-other", "9110 8.6", MALFORMED, two("5", "6", "/bad") + data(1, b"hello")),
    row("two-other-order", "9110 8.6", MALFORMED, two("6", "5", "/bad") + data(1, b"hello")),
    row("two-zero-first", "9110 8.6", MALFORMED, two("0", "5", "/bad") + data(1, b"hello")),
    row("two-one-bad", "9110 8.6", MALFORMED, two("5", "x", "/bad") + data(1, b"hello")),
    row("two-spellings", "9110 8.6", MALFORMED | SERVED, two("5", "05", "/either") + data(1, b"hello")),
    row("two-same", "9110 8.6", MALFORMED | SERVED, two("5", "5", "/either") + data(1, b"hello")),
    row("list-same", "9110 8.6", MALFORMED | SERVED, post("5, 5", "/either") + data(1, b"hello")),
]

GOOD: list[Row] = [
    row("exact", "8.1.1", SERVED, post("5", "/setup") + data(1, b"hello")),
    row(
        "exact-in-pieces",
        "8.1.1",
        SERVED,
        post("5", "/setup")
        + b"".join(data(1, octet.to_bytes(1, "big"), end=False) for octet in b"hello")
        + data(1),
    ),
    row("exact-padded", "8.1.1", SERVED, post("3", "/setup") + data(1, padded(b"abc", 9), flags=PADDED)),
    row("exact-with-trailers", "8.1.1", SERVED, post("5", "/setup") + data(1, b"hello", end=False) + TRAILER),
    row("zero-end-on-headers", "8.1.1", SERVED, post("0", "/setup", end=True)),
    row("zero-empty-data", "8.1.1", SERVED, post("0", "/setup") + data(1)),
    row("none-with-data", "8.1.1", SERVED, post(None, "/setup") + data(1, b"hello")),
    row("none-with-data-of-get", "8.1.1", SERVED, post(None, "/setup", method="GET") + data(1, b"hello")),
    row(
        "none-with-data-of-delete", "8.1.1", SERVED, post(None, "/setup", method="DELETE") + data(1, b"hello")
    ),
    row("none-end-on-headers", "8.1.1", SERVED, post(None, "/setup", end=True)),
    row("none-with-request-inside", "8.1.1", SERVED, post(None, "/setup") + data(1, b"0\r\n\r\n" + HIDDEN)),
    row("exact-with-request-inside", "8.1.1", SERVED, post(str(len(HIDDEN)), "/setup") + data(1, HIDDEN)),
    row(
        "cut-by-reset",
        "8.1.1",
        SERVED,
        post("5") + data(1, b"abc", end=False) + rst_stream(1) + headers(3, request("/setup")),
        stream=3,
    ),
]
ROWS: list[Row] = MISMATCHES + SPELLINGS + REPEATED + GOOD
