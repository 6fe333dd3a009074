"""Chunked bodies: rows 6 to 9. RFC 9112 7.1; RFC 9110 6.5.1."""

from __future__ import annotations

from smuggling.corpus import Row, accept, either, latin, raw, refuse

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: example.test\r\n\r\n"
END = b"0\r\n\r\n"


def post(body: bytes, *fields: str) -> bytes:
    return raw("POST / HTTP/1.1", "Transfer-Encoding: chunked", *fields, body=body)


BAD_SIZES: dict[str, str | bytes] = {
    "0x": "0x5", "plus": "+5", "minus": "-5", "minus-zero": "-0", "underscore": "0_5", "space-before": " 5",
    "tab-before": "\t5", "space-after": "5 ", "tab-after": "5\t", "space-inside": "0 5", "empty": "",
    "blank": " ",
    "not-hex": "g", "hex-tail": "5g", "dot": "5.0", "comma": "5,5", "nul": "5\x00", "vt": "\x0b5",
    "nbsp": "\xa05",
    "85": "5\x85", "1f": "5\x1f", "arabic": "\u0665".encode(), "fullwidth": "\uff15".encode(),
    "superscript": "\xb2",
    "quoted": '"5"', "17-digits": "1" + "0" * 16, "zeros-17": "0" * 16 + "5", "zeros-4000": "0" * 4000 + "5",
    "2-64-plus-5": "10000000000000005", "h": "5h", "percent": "%35", "cr": "5\r", "crlf-led": b"\r\n5",
    "colon": "5:",
}
HUGE = {"2-64-minus-1": "f" * 16, "2-63": "8" + "0" * 15, "2-63-minus-1": "7" + "f" * 15,
        "2-62": "4" + "0" * 15}
SIZES: list[Row] = [
    refuse(f"size-{name}", 6, post(latin(value) + b"\r\nhello\r\n" + END)) for name,
    value in BAD_SIZES.items()
] + [
    refuse(f"size-{name}", 6, post(value.encode() + b"\r\nhello\r\n" + END), 400, 413) for name,
    value in HUGE.items()
] + [
    refuse("size-second-bad", 6, post(b"1\r\na\r\n0x1\r\nb\r\n" + END)),
    refuse("last-size-minus", 6, post(b"1\r\na\r\n-0\r\n\r\n")),
    refuse("last-size-0x", 6, post(b"1\r\na\r\n0x0\r\n\r\n")),
    refuse("size-lf", 6, post(b"5\nhello\r\n" + END)),
    accept("size-upper-hex", 6, post(b"A\r\n0123456789\r\n" + END), body=b"0123456789"),
    accept("size-lower-hex", 6, post(b"a\r\n0123456789\r\n" + END), body=b"0123456789"),
    accept("size-16-digits", 6, post(b"0000000000000005\r\nhello\r\n" + END), body=b"hello"),
    accept("last-many-zeros", 6, post(b"5\r\nhello\r\n00000000\r\n\r\n"), body=b"hello"),
    accept("hidden-in-chunk", 6, post(b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + END), body=HIDDEN),
]

TERMINATORS: list[Row] = [
    refuse(f"end-{name}", 7, post(b"5\r\nhello" + end + END)) for name, end in {
        "letters": b"XX", "lf": b"\n", "cr": b"\r", "lf-lf": b"\n\n", "cr-cr": b"\r\r", "lf-cr": b"\n\r",
        "none": b"",
        "space": b" \r\n", "nul": b"\x00\x00", "longer": b"world\r\n", "cr-x": b"\rX", "x-lf": b"X\n",
    }.items()
] + [
    refuse("data-shorter", 7, post(b"6\r\nhello\r\n" + END)),
    refuse("last-lf", 7, post(b"5\r\nhello\r\n0\n\r\n")),
    refuse("last-lf-lf", 7, post(b"5\r\nhello\r\n0\n\n")),
    refuse("last-crlf-lf", 7, post(b"5\r\nhello\r\n0\r\n\n")),
    refuse("last-cr-cr-lf", 7, post(b"5\r\nhello\r\n0\r\r\n\r\n")),
    refuse("last-then-cr", 7, post(b"5\r\nhello\r\n0\r\n\rX")),
    refuse("lf-everywhere", 7, post(b"5\nhello\n0\n\n")),
    refuse("hidden-after-bad-end", 7, post(b"5\r\nhelloXX0\r\n\r\n" + HIDDEN)),
]

EXTENSIONS: list[Row] = [
    accept("ext-plain", 8, post(b"5;a=b\r\nhello\r\n" + END), body=b"hello"),
    accept("ext-quoted", 8, post(b'5;a="b c"\r\nhello\r\n' + END), body=b"hello"),
    accept("ext-no-value", 8, post(b"5;a\r\nhello\r\n" + END), body=b"hello"),
    accept("ext-last", 8, post(b"5\r\nhello\r\n0;a=b\r\n\r\n"), body=b"hello"),
    either("ext-bws", 8, post(b"5 ; a = b\r\nhello\r\n" + END), body=b"hello"),
    either("ext-empty", 8, post(b"5;\r\nhello\r\n" + END), body=b"hello"),
    either("ext-semicolons", 8, post(b"5;;;\r\nhello\r\n" + END), body=b"hello"),
    either("ext-open-quote", 8, post(b'5;a="\r\nhello\r\n' + END), body=b"hello"),
    either("ext-high-bytes", 8, post(b"5;a=\xff\xfe\r\nhello\r\n" + END), body=b"hello"),
    refuse("ext-lf", 8, post(b"5;a\nhello\r\n" + END)),
    refuse("ext-lf-then-crlf", 8, post(b"5;a\nb\r\nhello\r\n" + END)),
    refuse("ext-cr", 8, post(b"5;a\rb\r\nhello\r\n" + END)),
    refuse("ext-cr-cr-lf", 8, post(b"5;a\r\r\nhello\r\n" + END)),
    refuse("ext-nul", 8, post(b"5;a=\x00\r\nhello\r\n" + END)),
    refuse("ext-lf-hidden", 8, post(b"2;\nxx\r\n2d\r\n" + END + HIDDEN)),
    refuse("ext-last-lf", 8, post(b"5\r\nhello\r\n0;a\n\r\n")),
    refuse("ext-70k", 8, post(b"5;" + b"a" * 70_000 + b"\r\nhello\r\n" + END), 400, 413, 431),
    refuse("ext-flood", 8, post(b"1;%b\r\na\r\n" % (b"a" * 1000) * 1000 + END), 400, 413, 431),
]

DANGEROUS = {
    "content-length": "5", "transfer-encoding": "chunked", "host": "evil.test", "authorization": "Basic eA==",
    "cookie": "a=b", "x-forwarded-for": "1.2.3.4", "connection": "close", "content-encoding": "gzip",
    "te": "trailers", "expect": "100-continue", "x-internal-user": "admin", "content-type": "text/evil",
}
TRAILERS: list[Row] = [
    either(f"trailer-{name}", 9, post(b"5\r\nhello\r\n0\r\n%b\r\n\r\n" % f"{name}: {value}".encode()),
           body=b"hello",
           absent=(name,))
    for name, value in DANGEROUS.items()
] + [
    refuse(f"trailer-{name}", 9, post(b"5\r\nhello\r\n0\r\n" + trailer)) for name, trailer in {
        "lf": b"A: b\n\r\n", "lf-end": b"A: b\r\n\n", "cr": b"A: b\rc\r\n\r\n", "nul": b"A: b\x00\r\n\r\n",
        "no-colon": b"Abc\r\n\r\n", "empty-name": b": b\r\n\r\n", "space-colon": b"A : b\r\n\r\n",
        "fold": b"A: b\r\n c\r\n\r\n", "fold-first": b" A: b\r\n\r\n", "bad-name": b"A(: b\r\n\r\n",
    }.items()
] + [
    refuse("trailer-endless", 9, post(b"0\r\n" + b"A: b\r\n" * 20_000), 400, 413, 431),
    refuse("trailer-huge", 9, post(b"0\r\nA: " + b"b" * 100_000), 400, 413, 431),
]

ROWS = SIZES + TERMINATORS + EXTENSIONS + TRAILERS
