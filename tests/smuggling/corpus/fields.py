"""Field lines: rows 10 to 13. RFC 9112 2.2, 5.1, 5.2; RFC 9110 5.5, 7.6.1."""

from __future__ import annotations

from smuggling.corpus import Row, accept, either, latin, raw, refuse

GET = "GET / HTTP/1.1"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: example.test\r\n\r\n"

LINES: list[Row] = [
    refuse("lf-only", 10, b"GET / HTTP/1.1\nHost: example.test\n\n"),
    refuse("lf-request-line", 10, b"GET / HTTP/1.1\nHost: example.test\r\n\r\n"),
    refuse("lf-field", 10, raw(GET, "X: a\nY: b")),
    refuse("lf-end", 10, b"GET / HTTP/1.1\r\nHost: example.test\r\n\n"),
    refuse("lf-lf-end", 10, b"GET / HTTP/1.1\r\nHost: example.test\n\n"),
    refuse("lf-cr", 10, b"GET / HTTP/1.1\n\rHost: example.test\n\r\n\r"),
    refuse("cr-only", 10, b"GET / HTTP/1.1\rHost: example.test\r\r" + HIDDEN),
    refuse("cr-in-value", 10, raw(GET, "X: a\rb")),
    refuse("cr-hidden-field", 10, raw(GET, "X: a\rContent-Length: 44", body=HIDDEN)),
    refuse("cr-in-name", 10, raw(GET, "X\rY: a")),
    refuse("cr-end-of-value", 10, raw(GET, "X: a\r")),
    refuse("cr-cr-lf-line", 10, b"GET / HTTP/1.1\r\r\nHost: example.test\r\n\r\n"),
    refuse("cr-cr-lf-end", 10, b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\r\n"),
    refuse("cr-before-head", 10, b"\rGET / HTTP/1.1\r\nHost: example.test\r\n\r\n"),
    refuse("nul-in-value", 10, raw(GET, "X: a\x00b")),
    refuse("nul-in-name", 10, raw(GET, "X\x00: a")),
    refuse("nul-in-target", 10, raw("GET /\x00 HTTP/1.1")),
    refuse("nul-before-head", 10, b"\x00" + raw(GET)),
    *(refuse(f"control-{code:02x}-in-value", 10, raw(GET, f"X: a{chr(code)}b"))
      for code in (1, 7, 8, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)),
    refuse("fold-space", 10, raw(GET, "X: a", " b")),
    refuse("fold-tab", 10, raw(GET, "X: a", "\tb")),
    refuse("fold-empty", 10, raw(GET, "X:", " ")),
    refuse("fold-host", 10, raw(GET, "Host:", " example.test", host=False)),
    refuse("fold-first-field", 10, raw(GET, " Host: example.test", host=False)),
    refuse("fold-first-then-host", 10, raw(GET, " X: a", "Host: example.test", host=False)),
    refuse("fold-tab-first", 10, raw(GET, "\tX: a", "Host: example.test", host=False)),
    refuse("space-before-request", 10, b" " + raw(GET)),
    refuse("tab-before-request", 10, b"\t" + raw(GET)),
    either("crlf-before-request", 10, b"\r\n" + raw(GET)),
    refuse("lf-before-request", 10, b"\n" + raw(GET)),
    refuse("crlf-flood", 10, b"\r\n" * 50_000 + raw(GET), 400, 414, 431),
    accept("obs-text-value", 10, raw(GET, b"X: caf\xe9"), present=(("x", "caf\xe9"),)),
    accept("tab-in-value", 10, raw(GET, "X: a\tb"), present=(("x", "a\tb"),)),
    accept("empty-value", 10, raw(GET, "X:"), present=(("x", ""),)),
]

BAD_NAMES: dict[str, str | bytes] = {
    "space-before-colon": "X : a", "tab-before-colon": "X\t: a", "vt-before-colon": "X\x0b: a",
    "empty": ": a",
    "blank": " : a", "no-colon": "X", "no-colon-words": "X a", "space-inside": "X Y: a", "paren": "X(: a",
    "slash": "X/Y: a", "bracket": "X[0]: a", "at": "X@: a", "comma": "X,Y: a", "semicolon": "X;: a",
    "equals": "X=Y: a",
    "quote": '"X": a', "backslash": "X\\: a", "question": "X?: a", "brace": "X{}: a", "less": "<X>: a",
    "high": b"X\xff: a", "utf8": "Ⅹ: a".encode(), "del": "X\x7f: a", "nbsp": b"X\xa0: a", "esc": "X\x1b: a",
    "transfer-nbsp": b"Transfer-Encoding\xa0: chunked", "length-nul": "Content-Length\x00: 5",
    "only-colon": ":",
}
NAMES: list[Row] = [
    refuse(f"name-{name}", 11, raw(GET, latin(line))) for name, line in BAD_NAMES.items()
] + [
    refuse("name-host-space", 11, raw(GET, "Host : example.test", host=False)),
    accept("name-all-tchar", 11, raw(GET, "!#$%&'*+-.^`|~09azAZ: a"),
           present=(("!#$%&'*+-.^`|~09azaz", "a"),)),
    accept("value-colon", 11, raw(GET, "X: : a"), present=(("x", ": a"),)),
]

UNDERSCORES: list[Row] = [
    accept(f"underscore-{name}", 12, raw(GET, f"{name}: {value}"), absent=(name.lower(),))
    for name, value in {
        "Transfer_Encoding": "chunked", "Content_Length": "44", "X_Forwarded_For": "1.2.3.4", "_": "x",
        "X_Real_IP": "1.2.3.4", "_X": "y", "Connection_": "close", "Host_": "evil.test",
    }.items()
] + [
    accept("underscore-cl-and-cl", 12,
           raw("POST / HTTP/1.1", "Content_Length: 44", "Content-Length: 5", body=b"hello"),
           body=b"hello", absent=("content_length",)),
    accept("underscore-te-and-cl", 12,
           raw("POST / HTTP/1.1", "Transfer_Encoding: chunked", "Content-Length: 5",
                                           body=b"hello"), body=b"hello", absent=("transfer_encoding",)),
]

HOP = [
    accept(f"hop-{name.lower()}", 13, raw(GET, f"{name}: {value}"), absent=(name.lower(),))
    for name, value in {
        "Keep-Alive": "timeout=5", "Proxy-Connection": "keep-alive", "Upgrade": "foo/1", "TE": "gzip",
        "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA",
    }.items()
]
NOMINATED: list[Row] = HOP + [
    accept("nominated", 13, raw(GET, "Connection: X-Secret", "X-Secret: 1"), absent=("x-secret",)),
    accept("nominated-case", 13, raw(GET, "connection: x-SECRET", "X-Secret: 1"), absent=("x-secret",)),
    accept("nominated-before", 13, raw(GET, "X-Secret: 1", "Connection: X-Secret"), absent=("x-secret",)),
    accept("nominated-list", 13, raw(GET, "Connection: a,X-Secret ,\tB", "X-Secret: 1", "A: 1", "B: 2"),
           absent=("x-secret", "a", "b")),
    accept("nominated-two-fields", 13, raw(GET, "Connection: A", "Connection: B", "A: 1", "B: 2"),
           absent=("a", "b")),
    accept("nominated-twice-there", 13, raw(GET, "Connection: A", "A: 1", "A: 2"), absent=("a",)),
    accept("nominated-with-keep-alive", 13, raw(GET, "Connection: keep-alive, A", "A: 1"), absent=("a",)),
    accept("nominated-empty-items", 13, raw(GET, "Connection: ,, A ,", "A: 1"), absent=("a",)),
    accept("nominated-prefix-only", 13, raw(GET, "Connection: X-Sec", "X-Secret: 1"),
           present=(("x-secret", "1"),)),
    accept("nominated-authorization", 13, raw(GET, "Connection: Authorization", "Authorization: Basic eA=="),
           absent=("authorization",)),
    accept("nominated-cookie", 13, raw(GET, "Connection: Cookie", "Cookie: a=b"), absent=("cookie",)),
    either("nominated-host", 13, raw(GET, "Connection: Host"), present=(("host", "example.test"),)),
    either("nominated-length", 13, raw("POST / HTTP/1.1", "Connection: Content-Length", "Content-Length: 44",
                                       body=HIDDEN), body=HIDDEN),
    either("nominated-te", 13,
           raw("POST / HTTP/1.1", "Connection: Transfer-Encoding", "Transfer-Encoding: chunked",
                                   body=b"5\r\nhello\r\n0\r\n\r\n"), body=b"hello"),
    accept("nominated-forwarded-for", 13, raw(GET, "Connection: X-Forwarded-For", "X-Forwarded-For: 1.2.3.4"),
           present=(("x-forwarded-for", "127.0.0.1"),)),
    accept("nominated-forwarded-proto", 13, raw(GET, "Connection: X-Forwarded-Proto, X-Forwarded-Host"),
           present=(("x-forwarded-proto", "http"), ("x-forwarded-host", "example.test"))),
    refuse("connection-bad-byte", 13, raw(GET, "Connection: X\x00")),
]

ROWS = LINES + NAMES + UNDERSCORES + NOMINATED
