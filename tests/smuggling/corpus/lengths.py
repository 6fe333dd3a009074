"""Framing by Content-Length and Transfer-Encoding: rows 1 to 5. RFC 9112 6.1, 6.3; RFC 9110 8.6."""

from __future__ import annotations

from smuggling.corpus import Row, accept, either, latin, raw, refuse

POST = "POST / HTTP/1.1"
TE = "Transfer-Encoding: chunked"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: example.test\r\n\r\n"

BOTH: list[Row] = [
    refuse("cl-te", 1, raw(POST, "Content-Length: 5", TE, body=b"0\r\n\r\n")),
    refuse("te-cl", 1, raw(POST, TE, "Content-Length: 3", body=b"8\r\nSMUGGLED\r\n0\r\n\r\n")),
    refuse("cl-te-hidden", 1,
           raw(POST, f"Content-Length: {len(HIDDEN) + 5}", TE, body=b"0\r\n\r\n" + HIDDEN)),
    refuse("cl0-te", 1, raw(POST, "Content-Length: 0", TE, body=b"0\r\n\r\n")),
    refuse("te-cl-case", 1, raw(POST, "tRANSFER-eNCODING: chunked", "cONTENT-lENGTH: 3", body=b"0\r\n\r\n")),
    refuse("cl-te-identity", 1, raw(POST, "Content-Length: 5", "Transfer-Encoding: identity", body=b"hello"),
           400, 501),
    refuse("cl-te-empty", 1, raw(POST, "Content-Length: 5", "Transfer-Encoding:", body=b"hello"), 400, 501),
    refuse("cl-te-unknown", 1, raw(POST, "Content-Length: 5", "Transfer-Encoding: x", body=b"hello"), 400,
           501),
    refuse("get-cl-te", 1, raw("GET / HTTP/1.1", "Content-Length: 5", TE, body=b"0\r\n\r\n")),
    refuse("bad-cl-te", 1, raw(POST, "Content-Length: x", TE, body=b"0\r\n\r\n")),
    refuse("cl-nominated-te", 1,
           raw(POST, "Connection: Content-Length", "Content-Length: 5", TE, body=b"0\r\n\r\n")),
    refuse("te-nominated-cl", 1, raw(POST, "Connection: Transfer-Encoding", "Content-Length: 5", TE,
                                     body=b"0\r\n\r\n")),
]

CODINGS: dict[str, str | bytes] = {
    "xchunked": "xchunked", "chunkedx": "chunkedx", "identity": "identity", "gzip": "gzip",
    "gzip-chunked": "gzip, chunked", "chunked-gzip": "chunked, gzip", "chunked-identity": "chunked, identity",
    "identity-chunked": "identity, chunked", "twice": "chunked, chunked", "twice-nospace": "chunked,chunked",
    "comma-first": ",chunked", "comma-last": "chunked,", "quoted": '"chunked"', "single-quoted": "'chunked'",
    "param": "chunked;a=b", "semicolon": "chunked;", "vt-before": "\x0bchunked", "vt-after": "chunked\x0b",
    "ff": "\x0cchunked", "1f-after": "chunked\x1f", "1c-before": "\x1cchunked", "nbsp-before": "\xa0chunked",
    "nbsp-after": "chunked\xa0", "85-after": "chunked\x85", "nul-after": "chunked\x00",
    "nul-inside": "chun\x00ked",
    "empty": "", "blank": "  ", "cr-before": "\rchunked", "lf-before": b"\n chunked", "bs": "chunked\x08",
    "space-inside": "chun ked", "kelvin": "chun\u212aed".encode(), "utf8-bom": "\ufeffchunked".encode(),
    "plus": "+chunked", "dot": "chunked.", "two-words": "chunked x", "colon": ": chunked",
    "fold": b"\r\n chunked", "fold-tab": b"x\r\n\tchunked", "encoded": "chunke%64", "0": "0",
}
OBFUSCATED: list[Row] = [
    refuse(f"te-{name}", 2, raw(POST, b"Transfer-Encoding: " + latin(value), body=b"0\r\n\r\n"), 400, 501)
    for name, value in CODINGS.items()
] + [
    refuse("te-two-fields", 2, raw(POST, TE, TE, body=b"0\r\n\r\n"), 400, 501),
    refuse("te-two-fields-identity", 2, raw(POST, TE, "Transfer-Encoding: identity", body=b"0\r\n\r\n"), 400,
           501),
    refuse("te-two-fields-first-x", 2, raw(POST, "Transfer-Encoding: x", TE, body=b"0\r\n\r\n"), 400, 501),
    refuse("te-two-fields-empty", 2, raw(POST, TE, "Transfer-Encoding:", body=b"0\r\n\r\n"), 400, 501),
    refuse("te-space-colon", 2, raw(POST, "Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    refuse("te-led-by-space", 2, raw(POST, "X: y", " Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    refuse("te-bare-lf-before", 2, raw(POST, "X: y\nTransfer-Encoding: chunked", body=b"0\r\n\r\n")),
    refuse("te-bare-cr-before", 2, raw(POST, "X: y\rTransfer-Encoding: chunked", body=b"0\r\n\r\n")),
    accept("te-upper", 2, raw(POST, "Transfer-Encoding: CHUNKED", body=b"1\r\na\r\n0\r\n\r\n"), body=b"a"),
    accept("te-mixed", 2, raw(POST, "TRANSFER-encoding: cHuNkEd", body=b"1\r\na\r\n0\r\n\r\n"), body=b"a"),
    accept("te-ows", 2, raw(POST, "Transfer-Encoding:\t chunked \t", body=b"1\r\na\r\n0\r\n\r\n"), body=b"a"),
    accept("te-no-ows", 2, raw(POST, "Transfer-Encoding:chunked", body=b"1\r\na\r\n0\r\n\r\n"), body=b"a"),
]

OLD: list[Row] = [
    refuse("te-10", 3, raw("POST / HTTP/1.0", TE, body=b"0\r\n\r\n")),
    refuse("te-10-keepalive", 3, raw("POST / HTTP/1.0", "Connection: keep-alive", TE, body=b"0\r\n\r\n")),
    refuse("te-10-cl", 3, raw("POST / HTTP/1.0", TE, "Content-Length: 5", body=b"0\r\n\r\n")),
    refuse("te-10-get", 3, raw("GET / HTTP/1.0", TE, body=b"0\r\n\r\n")),
    refuse("te-10-unknown", 3, raw("POST / HTTP/1.0", "Transfer-Encoding: x", body=b"hello"), 400, 501),
]

NUMBERS: dict[str, str | bytes] = {
    "plus": "+5", "minus": "-5", "minus-zero": "-0", "hex": "0x5", "hex-digits": "a", "underscore": "1_0",
    "dot": "5.0",
    "exponent": "5e0", "list-same": "5, 5", "list-same-nospace": "5,5", "list-differs": "5, 6",
    "list-tail": "5,",
    "list-head": ",5", "empty": "", "blank": " ", "two-words": "5 5", "semicolon": "5;", "quoted": '"5"',
    "nul": "5\x00", "vt": "\x0b5", "ff": "5\x0c", "1f": "5\x1f", "nbsp": "\xa05", "85": "5\x85",
    "superscript": "\xb2", "arabic": "\u0665".encode(), "fullwidth": "\uff15".encode(), "2-63": str(2**63),
    "2-64": str(2**64), "2-64-plus-5": str(2**64 + 5), "19-digits": "1" + "0" * 18,
    "zeros-19": "0" * 18 + "5",
    "digits-6000": "5" * 6000, "zeros-6000": "0" * 6000 + "5", "word": "five", "percent": "%35",
    "colon": ":5",
}
LENGTHS: list[Row] = [
    refuse(f"cl-{name}", 4, raw(POST, b"Content-Length: " + latin(value), body=b"hello"))
    for name, value in NUMBERS.items()
] + [
    refuse("cl-get-minus", 4, raw("GET / HTTP/1.1", "Content-Length: -5")),
    refuse("cl-two-same", 4, raw(POST, "Content-Length: 5", "Content-Length: 5", body=b"hello")),
    refuse("cl-two-differ", 4, raw(POST, "Content-Length: 5", "Content-Length: 6", body=b"hello")),
    refuse("cl-two-zero", 4, raw(POST, "Content-Length: 0", "Content-Length: 44", body=HIDDEN)),
    refuse("cl-two-case", 4, raw(POST, "Content-Length: 5", "content-length: 6", body=b"hello")),
    refuse("cl-two-one-bad", 4, raw(POST, "Content-Length: 5", "Content-Length: x", body=b"hello")),
    refuse("cl-space-colon", 4, raw(POST, "Content-Length : 5", body=b"hello")),
    refuse("cl-fold", 4, raw(POST, "Content-Length:", " 5", body=b"hello")),
    refuse("cl-too-large", 4, raw(POST, "Content-Length: " + "9" * 18, body=b"hello"), 413),
    accept("cl-leading-zeros", 4, raw(POST, "Content-Length: 0005", body=b"hello"), body=b"hello"),
    accept("cl-ows", 4, raw(POST, "Content-Length:\t 5 \t", body=b"hello"), body=b"hello"),
]

METHODS = ("GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "TRACE", "WHATEVER")
BODIES: list[Row] = [
    *(accept(f"body-cl-{name}", 5, raw(f"{name} / HTTP/1.1", f"Content-Length: {len(HIDDEN)}", body=HIDDEN),
             body=HIDDEN) for name in METHODS if name != "TRACE"),
    *(accept(f"body-chunked-{name}", 5,
             raw(f"{name} / HTTP/1.1", TE, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
             body=HIDDEN)
      for name in METHODS if name != "TRACE"),
    either("body-cl-TRACE", 5, raw("TRACE / HTTP/1.1", f"Content-Length: {len(HIDDEN)}", body=HIDDEN), 400,
           405,
           body=HIDDEN),
    accept("post-no-length", 5, raw(POST), body=b""),
    accept("post-cl-zero", 5, raw(POST, "Content-Length: 0"), body=b""),
    accept("expect-with-body-at-once", 5,
           raw(POST, "Expect: 100-continue", "Content-Length: 5", body=b"hello"),
           body=b"hello"),
    accept("expect-upper", 5, raw(POST, "Expect: 100-CONTINUE", "Content-Length: 5", body=b"hello"),
           body=b"hello"),
    accept("expect-get-body", 5,
           raw("GET / HTTP/1.1", "Expect: 100-continue", "Content-Length: 44", body=HIDDEN),
           body=HIDDEN),
    either("expect-no-body", 5, raw("GET / HTTP/1.1", "Expect: 100-continue"), body=b""),
    either("expect-zero", 5, raw(POST, "Expect: 100-continue", "Content-Length: 0"), body=b""),
    either("expect-unknown", 5, raw(POST, "Expect: 200-ok", "Content-Length: 5", body=b"hello"), 400, 417,
           body=b"hello"),
    either("expect-obfuscated", 5,
           raw(POST, "Expect: y 100-continue", f"Content-Length: {len(HIDDEN)}", body=HIDDEN),
           400, 417, body=HIDDEN),
    either("expect-two", 5, raw(POST, "Expect: 100-continue", "Expect: 100-continue", "Content-Length: 5",
                                body=b"hello"), 400, 417, body=b"hello"),
]

ROWS = BOTH + OBFUSCATED + OLD + LENGTHS + BODIES
