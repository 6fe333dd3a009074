"""Header blocks that cannot be decoded, and odd ones that can. RFC 7541; RFC 9113 4.3."""

from __future__ import annotations

from http2.corpus import MALFORMED, SERVED, Row, connection, row, status, stream
from http2.frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    block,
    continuation,
    data,
    headers,
    indexed,
    integer,
    literal,
    request,
    rst_stream,
    string,
    table_size,
)

SETUP, BLOCK = request("/setup"), request("/bad")
OPEN = headers(1, request("/cut", method="POST"), end=False)
BROKEN = connection(COMPRESSION_ERROR)
EOS = b"\xff\xff\xff\xff"  # 30 one-bits are the symbol EOS, 2 more its padding
DYNAMIC = literal("x-one", "1", pattern=0x40)

BAD_FIELDS: dict[str, tuple[str, bytes]] = {
    "index-0": ("6.1", b"\x80"),
    "index-beyond-static": ("2.3.3", indexed(62)),
    "index-beyond-dynamic": ("2.3.3", DYNAMIC + indexed(63)),
    "index-huge": ("2.3.3", indexed(2**24)),
    "index-2-32": ("2.3.3", indexed(2**32 + 2)),  # 2 if it wraps: GET
    "index-2-64": ("2.3.3", indexed(2**64 + 2)),
    "name-beyond-static": ("2.3.3", literal(62, "x")),
    "name-beyond-static-indexing": ("2.3.3", literal(62, "x", pattern=0x40)),
    "name-beyond-static-never": ("2.3.3", literal(62, "x", pattern=0x10)),
    "name-huge": ("2.3.3", literal(2**28, "x")),
    "integer-overflow": ("5.1", b"\xff" + b"\xff" * 20 + b"\x7f"),
    "integer-drawn-out": ("5.1", integer(200, 7, 0x80, excess=64)),
    "integer-endless": ("5.1", b"\xff" + b"\x80" * 200),
    "integer-cut": ("5.1", b"\xff\x80"),
    "integer-cut-at-once": ("5.1", b"\xff"),
    "length-overflow": ("5.1", b"\x00\x7f" + b"\xff" * 12 + b"\x7f"),
    "length-2-32": ("5.1", b"\x00" + integer(2**32 + 1, 7) + b"a" + string("b")),
    "length-2-31": ("5.1", b"\x00" + integer(2**31, 7) + b"a" + string("b")),
    "name-cut": ("5.2", b"\x00\x05abc"),
    "name-missing": ("5.2", b"\x00"),
    "value-cut": ("5.2", b"\x00\x01a\x05bc"),
    "value-missing": ("5.2", b"\x00\x01a"),
    "value-of-indexed-name-missing": ("5.2", b"\x44"),
    "value-huge-length": ("5.2", b"\x00\x01a" + integer(2**24, 7) + b"b"),
    "huffman-cut": ("5.2", b"\x00\x01a\x85" + string("hello", huffman=True)[1:2]),
    "huffman-eos": ("5.2", b"\x00\x01a\x84" + EOS),
    "huffman-eos-in-middle": ("5.2", b"\x00\x01a\x85\x1f" + EOS),
    "huffman-eos-in-name": ("5.2", b"\x00\x84" + EOS + b"\x01a"),
    "huffman-padding-8-bits": (
        "5.2",
        b"\x00\x01a\x82\x1f\xff",
    ),  # 'a' is 00011: 3 bits of padding, then 8 more
    "huffman-padding-only": ("5.2", b"\x00\x01a\x81\xff"),
    "huffman-padding-zeros": ("5.2", b"\x00\x01a\x81\x18"),
    "huffman-padding-mixed": ("5.2", b"\x00\x01a\x81\x1d"),
    "huffman-padding-in-name": ("5.2", b"\x00\x81\x18\x01a"),
}
FIELDS: list[Row] = (
    [
        row(id, f"7541 {section}", BROKEN, headers(1, BLOCK + octets))
        for id, (section, octets) in BAD_FIELDS.items()
    ]
    + [
        row(f"{id}-in-trailers", f"7541 {section}", BROKEN, OPEN + headers(1, block(("x", "y")) + octets))
        for id, (section, octets) in BAD_FIELDS.items()
        if id in ("index-0", "huffman-eos", "value-cut", "integer-overflow")
    ]
    + [
        row("alone", "7541 6.1", BROKEN, headers(1, b"\x80")),
        row("in-continuation", "4.3", BROKEN, headers(1, BLOCK, flags=0) + continuation(1, b"\x80")),
        row(
            "cut-at-end-of-continuation",
            "4.3",
            BROKEN,
            headers(1, BLOCK, flags=0) + continuation(1, b"\x00\x05abc"),
        ),
        row(
            "cut-field-is-not-carried-over",
            "4.3",
            BROKEN,
            headers(1, request("/bad") + b"\x00\x05ab") + headers(3, b"cde" + string("x")),
        ),
        row("behind-a-malformed-field", "4.3", BROKEN, headers(1, block(("X-Bad", "1")) + BLOCK + b"\x80")),
        row(
            "on-a-reset-stream",
            "4.3",
            BROKEN | connection(STREAM_CLOSED),
            OPEN + rst_stream(1) + headers(1, b"\x80"),
        ),
    ]
)

UPDATES: list[Row] = [
    row("size-over-limit", "7541 6.3", BROKEN, headers(1, table_size(2**20) + BLOCK)),
    row(
        "size-over-limit-by-little",
        "7541 6.3",
        BROKEN,
        lambda client: headers(1, table_size(client.server_settings.get(1, 4096) + 1) + BLOCK),
    ),
    row("size-2-32", "7541 6.3", BROKEN, headers(1, table_size(2**32) + BLOCK)),
    row("size-2-64", "7541 6.3", BROKEN, headers(1, table_size(2**64) + BLOCK)),
    row("size-cut", "7541 5.1", BROKEN, headers(1, b"\x3f")),
    row("size-not-at-start", "7541 4.2", BROKEN, headers(1, BLOCK + table_size(100))),
    row("size-between-fields", "7541 4.2", BROKEN, headers(1, indexed(2) + table_size(0) + BLOCK)),
    row("size-0", "7541 4.2", SERVED, headers(1, table_size(0) + SETUP)),
    row(
        "size-at-limit",
        "7541 6.3",
        SERVED,
        lambda client: headers(1, table_size(client.server_settings.get(1, 4096)) + SETUP),
    ),
    row("size-0-then-limit", "7541 4.2", SERVED, headers(1, table_size(0) + table_size(1000) + SETUP)),
    row(
        "size-empties-the-table",
        "7541 4.3",
        BROKEN,
        headers(1, SETUP + DYNAMIC) + headers(3, table_size(0) + BLOCK + indexed(62)),
        stream=3,
    ),
    row(
        "entry-larger-than-table",
        "7541 4.4",
        BROKEN,
        headers(1, SETUP + DYNAMIC)
        + headers(3, table_size(60) + BLOCK + literal("x-large", "a" * 60, pattern=0x40) + indexed(62)),
        stream=3,
    ),
    row(
        "evicted-entry",
        "7541 4.4",
        BROKEN,
        headers(1, table_size(80) + SETUP + DYNAMIC + literal("x-two", "a" * 20, pattern=0x40))
        + headers(3, BLOCK + indexed(63)),
        stream=3,
    ),
]

HUFFMAN = b"".join(
    literal(name, value, huffman=True)
    for name, value in (
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/setup"),
        (":authority", "example.test"),
        ("x-many", "".join(map(chr, range(0x21, 0x7F)))),
    )
)
STATIC = indexed(2) + indexed(6) + literal(4, "/setup") + literal(1, "example.test")
GOOD: list[Row] = [
    row("huffman", "7541 5.2", SERVED, headers(1, HUFFMAN)),
    row("static", "7541 6.1", SERVED, headers(1, STATIC)),
    row("never-indexed", "7541 6.2.3", SERVED, headers(1, STATIC + literal("x-secret", "1", pattern=0x10))),
    row(
        "dynamic",
        "7541 6.2.1",
        SERVED,
        headers(1, STATIC + DYNAMIC) + headers(3, STATIC + indexed(62)),
        stream=3,
    ),
    row("dynamic-in-one-block", "7541 2.2", SERVED, headers(1, STATIC + DYNAMIC + indexed(62) * 3)),
    row(
        "dynamic-over-continuation",
        "7541 2.2",
        SERVED,
        headers(1, STATIC + DYNAMIC[:4], flags=0)
        + continuation(1, DYNAMIC[4:])
        + headers(3, STATIC + indexed(62)),
        stream=3,
    ),
    row(
        "dynamic-from-trailers",
        "7541 2.2",
        SERVED,
        headers(1, request("/setup", method="POST"), end=False)
        + headers(1, DYNAMIC)
        + headers(3, STATIC + indexed(62)),
        stream=3,
    ),
    row(
        "dynamic-from-a-reset-stream",
        "4.3",
        SERVED,
        headers(1, STATIC + DYNAMIC) + rst_stream(1) + headers(3, STATIC + indexed(62)),
        stream=3,
    ),
    row(
        "dynamic-from-a-malformed-request",
        "4.3",
        SERVED,
        headers(1, block((":oops", "/bad")) + DYNAMIC) + headers(3, STATIC + indexed(62)),
        stream=3,
    ),
    row(
        "entry-with-dynamic-name",
        "7541 6.2.1",
        SERVED,
        headers(1, STATIC + DYNAMIC + literal(62, "2", pattern=0x40) + indexed(62) + indexed(63)),
    ),
    row("empty-value", "7541 5.2", SERVED, headers(1, STATIC + literal("x-empty", ""))),
    row("empty-value-huffman", "7541 5.2", SERVED, headers(1, STATIC + literal("x-empty", "", huffman=True))),
    row("empty-name", "8.2.1", MALFORMED | BROKEN, headers(1, BLOCK + literal("", "x"))),
    row(
        "integer-drawn-out-a-little",
        "7541 5.1",
        SERVED | BROKEN,
        headers(1, STATIC + b"\x00" + integer(200, 7, excess=1) + b"a" * 200 + string("x")),
    ),
    row("empty-block", "8.3.1", MALFORMED, headers(1, b"")),
    row("only-size-update", "8.3.1", MALFORMED, headers(1, table_size(0))),
]

# RFC 9113 10.5.1: 431 or a stream error; a block that is too long to be decoded may end the connection.
REFUSED = (
    status(431)
    | stream(PROTOCOL_ERROR, ENHANCE_YOUR_CALM, 2, 7, 8)
    | connection(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, COMPRESSION_ERROR)
)
LARGE: list[Row] = [
    row(
        "one-value-100000",
        "10.5.1",
        REFUSED,
        headers(1, BLOCK + b"\x00\x01a" + integer(100000, 7) + b"b" * 16000, flags=0)
        + b"".join(continuation(1, b"b" * 14000, last=number == 5) for number in range(6)),
    ),
    row("many-small-fields", "10.5.1", REFUSED, headers(1, BLOCK + literal("a", "b") * 3000)),
    row(
        "one-entry-many-times",
        "10.5.1",
        REFUSED,
        headers(1, BLOCK + literal("x", "a" * 3800, pattern=0x40) + indexed(62) * 10000),
    ),
    row(
        "many-trailers",
        "10.5.1",
        REFUSED,
        OPEN + data(1, b"abc", end=False) + headers(1, literal("a", "b") * 3000),
    ),
]
ROWS: list[Row] = FIELDS + UPDATES + GOOD + LARGE
