"""Requests that are malformed by their fields. RFC 9113 8.1, 8.2, 8.3; RFC 9110 5.

A malformed request must not be forwarded (8.1.1), and its fields would be written into an HTTP/1.1 head."""

from __future__ import annotations

from http2.corpus import MALFORMED, SERVED, Expect, Row, row, status
from http2.frames import Pair, Text, block, data, headers, request

PSEUDO: dict[str, Text] = {":method": "GET", ":scheme": "http", ":path": "/bad", ":authority": "example.test"}
OPEN = headers(1, request("/cut", method="POST"), end=False)
INJECTED = "\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: example.test\r\n\r\n"


def field(id: str, section: str, *pairs: Pair, expect: Expect = MALFORMED, path: str = "/bad") -> Row:
    """A good request with these fields more."""
    return row(id, section, expect, headers(1, request(path, *pairs)))


def pseudo(
    id: str,
    section: str,
    *more: Pair,
    expect: Expect = MALFORMED,
    without: tuple[str, ...] = (),
    **changes: Text,
) -> Row:
    """A request whose pseudo-fields are changed (method="..."), left out, or followed by more fields."""
    pairs = PSEUDO | {f":{name}": value for name, value in changes.items()}
    return row(
        id,
        section,
        expect,
        headers(1, block(*((name, value) for name, value in pairs.items() if name not in without), *more)),
    )


def order(id: str, section: str, *pairs: Pair, expect: Expect = MALFORMED) -> Row:
    return row(id, section, expect, headers(1, block(*pairs)))


P = list(PSEUDO.items())
LIKELY = MALFORMED | SERVED  # allowed by the RFC, but the HTTP/1.1 side may be stricter
EITHER = "/either"

CONNECTION_FIELDS: list[Row] = [
    field("connection", "8.2.2", ("connection", "keep-alive")),
    field("connection-close", "8.2.2", ("connection", "close")),
    field("connection-nominating", "8.2.2", ("connection", "x-forwarded-for"), ("x-other", "1")),
    field("connection-empty", "8.2.2", ("connection", "")),
    field("keep-alive", "8.2.2", ("keep-alive", "timeout=5")),
    field("proxy-connection", "8.2.2", ("proxy-connection", "keep-alive")),
    field("transfer-encoding-chunked", "8.2.2", ("transfer-encoding", "chunked")),
    field("transfer-encoding-identity", "8.2.2", ("transfer-encoding", "identity")),
    field("transfer-encoding-empty", "8.2.2", ("transfer-encoding", "")),
    field("upgrade-websocket", "8.2.2", ("upgrade", "websocket")),
    field("upgrade-h2c", "8.2.2", ("upgrade", "h2c"), ("http2-settings", "AAAA")),
    field("te-gzip", "8.2.2", ("te", "gzip")),
    field("te-chunked", "8.2.2", ("te", "chunked")),
    field("te-trailers-and-gzip", "8.2.2", ("te", "trailers, gzip")),
    field("te-gzip-behind-trailers", "8.2.2", ("te", "trailers"), ("te", "gzip")),
    field("te-trailers", "8.2.2", ("te", "trailers"), expect=SERVED, path="/setup"),
    field("te-trailers-case", "8.2.2", ("te", "Trailers"), expect=LIKELY, path=EITHER),
]

BAD_NAMES: dict[str, Text] = {
    "upper-case": "X-Bad",
    "upper-case-last": "x-baD",
    "upper-case-host": "Host",
    "upper-case-te": "Transfer-encoding",
    "upper-case-pseudo": ":Path",
    "space": "x bad",
    "space-first": " x-bad",
    "space-last": "x-bad ",
    "tab": "x\tbad",
    "colon": "x:bad",
    "colon-last": "x-bad:",
    "colon-value": "x: bad",
    "cr": "x\rbad",
    "lf": "x\nbad",
    "nul": "x\0bad",
    "nul-last": "x-bad\0",
    "crlf": "x: 1\r\ny",
    "crlf-request": "x: 1" + INJECTED + "y",
    "del": "x\x7fbad",
    "control-01": "\x01",
    "control-1f": "x\x1f",
    "high": b"x\x80bad",
    "utf-8": "x-b\u00e4d".encode(),
    "ff": b"\xff",
    "only-space": " ",
    "only-colon": ":",
    "two-colons": "::bad",
}
# RFC 9113 8.2.1 bans these no further than RFC 9110 5.1 does: they are no tokens.
BAD_TOKENS = {
    "paren": "x(bad",
    "comma": "x,bad",
    "slash": "x/bad",
    "quote": 'x"bad',
    "at": "x@bad",
    "equals": "x=bad",
    "bracket": "x[bad]",
    "brace": "x{bad}",
    "question": "x?bad",
    "backslash": "x\\bad",
    "semicolon": "x;bad",
}
BAD_VALUES: dict[str, Text] = {
    "cr": "a\rb",
    "lf": "a\nb",
    "nul": "a\0b",
    "crlf": "a\r\nb",
    "crlf-field": "a\r\ntransfer-encoding: chunked",
    "crlf-request": "a" + INJECTED,
    "cr-last": "a\r",
    "lf-last": "a\n",
    "nul-last": "a\0",
    "lf-first": "\na",
    "only-cr": "\r",
    "only-lf": "\n",
    "only-nul": "\0",
    "space-first": " a",
    "space-last": "a ",
    "tab-first": "\ta",
    "tab-last": "a\t",
    "only-space": " ",
    "only-tab": "\t",
    "fold": "a\r\n b",
}
NAMES: list[Row] = [
    *(field(f"name-{id}", "8.2.1", (name, "1")) for id, name in BAD_NAMES.items()),
    *(field(f"name-{id}", "9110 5.1", (name, "1")) for id, name in BAD_TOKENS.items()),
    *(field(f"value-{id}", "8.2.1", ("x-bad", value)) for id, value in BAD_VALUES.items()),
    *(
        field(f"cookie-{id}", "8.2.1", ("cookie", value), ("cookie", "b=c"))
        for id, value in BAD_VALUES.items()
        if id in ("crlf-request", "nul", "space-last")
    ),
    *(
        field(f"value-control-{code:02x}", "9110 5.5", ("x-bad", f"a{chr(code)}b"))
        for code in (1, 8, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)
    ),
    field("value-tab-inside", "8.2.1", ("x-good", "a\tb"), expect=SERVED, path="/setup"),
    field("value-space-inside", "8.2.1", ("x-good", "a  b"), expect=SERVED, path="/setup"),
    field("value-empty", "8.2.1", ("x-good", ""), expect=SERVED, path="/setup"),
    field("value-high", "9110 5.5", ("x-high", b"\x80\xff"), expect=LIKELY, path=EITHER),
    field("name-all-tchars", "9110 5.6.2", ("!#$%&'*+-.^`|~09az", "1"), expect=SERVED, path="/setup"),
]

PSEUDO_FIELDS: list[Row] = [
    *(pseudo(f"no-{name}", "8.3.1", without=(f":{name}",)) for name in ("method", "scheme", "path")),
    pseudo("none-at-all", "8.3.1", ("x-bad", "1"), without=tuple(PSEUDO)),
    pseudo("no-authority-no-host", "8.3.1", without=(":authority",)),
    *(pseudo(f"twice-{name[1:]}", "8.3", (name, value)) for name, value in P),
    *(
        pseudo(f"twice-other-{name[1:]}", "8.3", (name, other))
        for name, other in (
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/smuggled"),
            (":authority", "other.test"),
        )
    ),
    pseudo("unknown", "8.3", (":oops", "1")),
    pseudo("unknown-empty", "8.3", (":oops", "")),
    pseudo("status", "8.3", (":status", "200")),
    order("unknown-first", "8.3", (":oops", "1"), *P),
    *(
        order(
            f"{name[1:]}-after-field",
            "8.3",
            *[pair for pair in P if pair[0] != name],
            ("x-bad", "1"),
            (name, value),
        )
        for name, value in P
    ),
    order(
        "any-order",
        "8.3",
        *((name, "/setup" if name == ":path" else value) for name, value in reversed(P)),
        expect=SERVED,
    ),
    pseudo("empty-method", "8.3.1", method=""),
    *(
        pseudo(f"method-{id}", "9110 9.1", method=value)
        for id, value in {
            "space": "GET /smuggled",
            "cr": "GET\r",
            "lf": "G\nET",
            "nul": "G\0ET",
            "colon": "GET:",
            "slash": "GET/",
            "injection": "GET /smuggled HTTP/1.1" + INJECTED + "GET",
            "high": b"G\xc4T",
            "leading-space": " GET",
        }.items()
    ),
    pseudo("empty-path", "8.3.1", path=""),
    *(
        pseudo(f"path-{id}", "8.3.1", path=value)
        for id, value in {
            "no-slash": "bad",
            "question": "?bad",
            "star": "*",
            "star-more": "*/bad",
            "absolute": "http://evil.test/bad",
            "at": "@evil.test/bad",
            "colon-port": ":81/bad",
            "space": "/bad x",
            "space-first": " /bad",
            "space-last": "/bad ",
            "cr": "/bad\r",
            "lf": "/bad\n",
            "nul": "/bad\0",
            "tab": "/b\tad",
            "del": "/bad\x7f",
            "fragment": "/bad#x",
            "version": "/bad HTTP/1.1",
            "injection": "/bad HTTP/1.1" + INJECTED,
            "high": b"/bad\xff",
            "utf-8": "/b\u00e4d".encode(),
        }.items()
    ),
    pseudo("path-percent-00", "9110 4.2", path="/bad%00", expect=LIKELY),
    pseudo("path-percent-cut", "9110 4.2", path="/bad%0", expect=LIKELY),
    order(
        "star-options",
        "8.3.1",
        (":method", "OPTIONS"),
        (":scheme", "http"),
        (":path", "*"),
        (":authority", "example.test"),
        expect=SERVED,
    ),
    pseudo("star-post", "8.3.1", method="POST", path="*"),
    pseudo("empty-path-options", "8.3.1", method="OPTIONS", path=""),
    *(
        pseudo(f"scheme-{id}", "8.3.1", scheme=value)
        for id, value in {
            "empty": "",
            "space": "ht tp",
            "cr-lf": "http\r\n",
            "nul": "http\0",
            "url": "http://evil.test/bad?",
            "colon": "http:",
            "digit-first": "1http",
            "slash": "/",
            "at": "http@",
            "high": b"h\xe4ttp",
            "injection": "http" + INJECTED,
            "space-last": "http ",
        }.items()
    ),
    *(
        pseudo(f"scheme-{value}", "8.3.1", scheme=value, path=EITHER, expect=LIKELY | status(421, 403, 501))
        for value in ("https", "HTTP", "ftp", "x")
    ),
]


def trailer(id: str, section: str, *pairs: Pair, expect: Expect = MALFORMED, end: bool = True) -> Row:
    return row(id, section, expect, OPEN + data(1, b"abc", end=False) + headers(1, block(*pairs), end=end))


TRAILERS: list[Row] = [
    trailer("trailers-not-the-end", "8.1", ("x-bad", "1"), end=False),
    row(
        "trailers-not-the-end-then-data",
        "8.1",
        MALFORMED,
        OPEN + data(1, b"abc", end=False) + headers(1, block(("x-bad", "1")), end=False) + data(1, b"def"),
    ),
    row("second-request-on-open-stream", "8.1", MALFORMED, OPEN + headers(1, request("/bad"))),
    *(trailer(f"trailer-{name[1:]}", "8.1", (name, value)) for name, value in P),
    trailer("trailer-status", "8.1", (":status", "200")),
    trailer("trailer-unknown-pseudo", "8.1", (":oops", "1")),
    trailer("trailer-upper-case", "8.2.1", ("X-Bad", "1")),
    trailer("trailer-connection", "8.2.2", ("connection", "close")),
    trailer("trailer-transfer-encoding", "8.2.2", ("transfer-encoding", "chunked")),
    trailer("trailer-te", "8.2.2", ("te", "gzip")),
    *(
        trailer(f"trailer-name-{id}", "8.2.1", (BAD_NAMES[id], "1"))
        for id in ("crlf-request", "nul", "colon", "space")
    ),
    *(
        trailer(f"trailer-value-{id}", "8.2.1", ("x-bad", BAD_VALUES[id]))
        for id in ("crlf-request", "crlf-field", "nul", "lf", "space-last")
    ),
]
ROWS: list[Row] = CONNECTION_FIELDS + NAMES + PSEUDO_FIELDS + TRAILERS
