"""Who is asked: :authority against Host, and CONNECT. RFC 9113 8.3.1, 8.5; RFC 8441 4; RFC 9110 7.1, 7.2."""

from __future__ import annotations

from http2.corpus import MALFORMED, SERVED, Expect, Row, row, status
from http2.corpus.requests import EITHER, INJECTED, LIKELY, pseudo
from http2.frames import Pair, Text, block, headers

BAD_AUTHORITIES: dict[str, Text] = {
    "userinfo": "user@example.test",
    "userinfo-password": "user:pw@example.test",
    "at-evil": "example.test@evil.test",
    "space": "a b",
    "space-first": " example.test",
    "space-last": "example.test ",
    "cr": "a\r",
    "lf": "a\n",
    "nul": "a\0",
    "tab": "a\tb",
    "crlf": "a\r\nx: y",
    "injection": "a" + INJECTED,
    "slash": "a/b",
    "question": "a?b",
    "hash": "a#b",
    "comma": "a,b",
    "port-word": "a:b",
    "port-twice": "a:80:80",
    "port-99999": "a:99999",
    "backslash": "a\\b",
    "open-bracket": "[::1",
    "bracket-tail": "[::1]x",
    "high": b"a\xff",
    "scheme": "http://a",
    "quote": 'a"b',
    "brace": "a{b}",
    "only-port": ":80",
}
AUTHORITIES: list[Row] = [
    *(pseudo(f"authority-{id}", "8.3.1", authority=value) for id, value in BAD_AUTHORITIES.items()),
    *(
        pseudo(f"host-{id}", "9110 7.2", ("host", value), without=(":authority",))
        for id, value in BAD_AUTHORITIES.items()
    ),
    pseudo("authority-empty", "8.3.1", authority=""),
    pseudo("host-empty", "8.3.1", ("host", ""), without=(":authority",)),
    pseudo(
        "authority-empty-host-given",
        "8.3.1",
        ("host", "example.test"),
        authority="",
        path=EITHER,
        expect=LIKELY,
    ),
    pseudo(
        "host-in-place",
        "8.3.1",
        ("host", "example.test"),
        without=(":authority",),
        path="/setup",
        expect=SERVED,
    ),
    pseudo("host-equal", "8.3.1", ("host", "example.test"), path="/setup", expect=SERVED),
    pseudo("host-equal-but-case", "8.3.1", ("host", "EXAMPLE.test"), path=EITHER, expect=LIKELY),
    pseudo("host-equal-but-port", "8.3.1", ("host", "example.test:80"), path=EITHER, expect=LIKELY),
    pseudo(
        "host-other", "8.3.1", ("host", "evil.test"), path=EITHER, expect=LIKELY
    ),  # then by :authority alone
    pseudo("host-empty-beside-authority", "8.3.1", ("host", ""), path=EITHER, expect=LIKELY),
    pseudo("two-hosts", "9110 7.2", ("host", "example.test"), ("host", "evil.test"), without=(":authority",)),
    pseudo(
        "two-hosts-same",
        "9110 7.2",
        ("host", "example.test"),
        ("host", "example.test"),
        without=(":authority",),
    ),
    pseudo("two-hosts-beside-authority", "9110 7.2", ("host", "example.test"), ("host", "evil.test")),
    pseudo("host-before-pseudo", "8.3", ("host", "a"), (":authority", "a"), without=(":authority",)),
]

REFUSED = MALFORMED | status(405, 501, 403, 404)  # lbd is no forward proxy


def connect(id: str, section: str, *pairs: Pair, expect: Expect = MALFORMED) -> Row:
    return row(id, section, expect, headers(1, block((":method", "CONNECT"), *pairs), end=False))


AUTHORITY, PATH, SCHEME = (":authority", "example.test:443"), (":path", "/bad"), (":scheme", "http")
PROTOCOL = (":protocol", "websocket")
CONNECTS: list[Row] = [
    connect("connect", "8.5", AUTHORITY, expect=REFUSED),
    connect("connect-no-port", "8.5", (":authority", "example.test"), expect=REFUSED),
    connect("connect-with-path", "8.5", AUTHORITY, PATH, expect=REFUSED),
    connect("connect-with-scheme", "8.5", AUTHORITY, SCHEME, expect=REFUSED),
    connect("connect-with-both", "8.5", AUTHORITY, SCHEME, PATH, expect=REFUSED),
    connect("connect-no-authority", "8.5", expect=REFUSED),
    connect("connect-host-only", "8.5", ("host", "example.test:443"), expect=REFUSED),
    connect("protocol-alone", "8441 4", PROTOCOL, AUTHORITY, expect=REFUSED),
    connect("protocol-no-path", "8441 4", PROTOCOL, AUTHORITY, SCHEME, expect=REFUSED),
    connect("protocol-no-scheme", "8441 4", PROTOCOL, AUTHORITY, PATH, expect=REFUSED),
    connect("protocol-twice", "8441 4", PROTOCOL, PROTOCOL, AUTHORITY, SCHEME, PATH, expect=REFUSED),
    connect("protocol-empty", "8441 4", (":protocol", ""), AUTHORITY, SCHEME, PATH, expect=REFUSED),
    connect("protocol-unknown", "8441 4", (":protocol", "oops"), AUTHORITY, SCHEME, PATH, expect=REFUSED),
    connect(
        "protocol-injection",
        "8441 4",
        (":protocol", "websocket" + INJECTED),
        AUTHORITY,
        SCHEME,
        PATH,
        expect=REFUSED,
    ),
    connect(
        "protocol-with-upgrade",
        "8441 4",
        PROTOCOL,
        AUTHORITY,
        SCHEME,
        PATH,
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        expect=REFUSED,
    ),
    pseudo("protocol-get", "8441 4", protocol="websocket"),
    pseudo("protocol-post", "8441 4", method="POST", protocol="websocket"),
]
ROWS: list[Row] = AUTHORITIES + CONNECTS
