"""Request line, Host, absolute-form and upgrades: rows 14 to 16 and 19. RFC 9112 2.3, 3; RFC 9110 7.8."""

from __future__ import annotations

from smuggling.corpus import Row, accept, either, latin, raw, refuse

GET = "GET / HTTP/1.1"

BAD_HOSTS: dict[str, str | bytes] = {
    "space": "a b", "slash": "a/b", "question": "a?b", "hash": "a#b", "userinfo": "user@a", "comma": "a,b",
    "comma-space": "a, b", "port-word": "a:b", "port-99999": "a:99999", "port-minus": "a:-1",
    "port-plus": "a:+80",
    "port-twice": "a:80:80", "open-bracket": "[::1", "close-bracket": "::1]", "bracket-tail": "[::1]x",
    "bracket-port": "[::1]:x", "bracket-empty": "[]", "bracket-word": "[x]", "backslash": "a\\b",
    "less": "a<b>",
    "quote": 'a"b', "high": b"a\xff", "utf8": "b\u00fccher.test".encode(), "nul": "a\x00", "tab": "a\tb",
    "brace": "a{b}",
    "caret": "a^b", "pipe": "a|b", "backtick": "a`b", "percent-bad": "a%zz", "only-port": ":80",
    "ipv6-bare": "::1",
    "scheme": "http://a", "at-evil": "example.test@evil.test", "port-6digits": "a:000080x",
}
HOSTS: list[Row] = [
    refuse(f"host-{name}", 14, raw(GET, b"Host: " + latin(value), host=False)) for name,
    value in BAD_HOSTS.items()
] + [
    refuse("host-none", 14, raw(GET, host=False)),
    refuse("host-none-with-fields", 14, raw(GET, "X: y", host=False)),
    refuse("host-two", 14, raw(GET, "Host: other.test")),
    refuse("host-two-same", 14, raw(GET, "Host: example.test")),
    refuse("host-two-case", 14, raw(GET, "hOsT: other.test")),
    refuse("host-two-second-empty", 14, raw(GET, "Host:")),
    refuse("host-two-in-10", 14, raw("GET / HTTP/1.0", "Host: other.test")),
    refuse("host-none-absolute", 14, raw("GET http://example.test/ HTTP/1.1", host=False)),
    either("host-empty", 14, raw(GET, "Host:", host=False)),
    either("host-empty-port", 14, raw(GET, "Host: example.test:", host=False)),
    accept("host-port", 14, raw(GET, "Host: example.test:8080", host=False),
           present=(("host", "example.test:8080"),)),
    accept("host-ipv4", 14, raw(GET, "Host: 127.0.0.1:80", host=False), present=(("host", "127.0.0.1:80"),)),
    accept("host-ipv6", 14, raw(GET, "Host: [::1]:80", host=False), present=(("host", "[::1]:80"),)),
    accept("host-underscore", 14, raw(GET, "Host: a_b.test", host=False), present=(("host", "a_b.test"),)),
    accept("host-differs-absolute", 14, raw("GET http://real.test/x HTTP/1.1"), target="/x",
           present=(("host", "real.test"),)),
    accept("host-differs-absolute-port", 14, raw("GET http://real.test:81/x HTTP/1.1"), target="/x",
           present=(("host", "real.test:81"),)),
]

BAD_LINES: dict[str, str | bytes] = {
    "two-spaces": "GET  / HTTP/1.1", "two-spaces-version": "GET /  HTTP/1.1", "tab": "GET\t/ HTTP/1.1",
    "tab-version": "GET /\tHTTP/1.1", "vt": "GET\x0b/ HTTP/1.1", "ff": "GET / \x0cHTTP/1.1",
    "no-target": "GET HTTP/1.1",
    "empty-target": "GET  HTTP/1.1", "four-words": "GET / / HTTP/1.1", "space-in-target": "GET /a b HTTP/1.1",
    "trailing-space": "GET / HTTP/1.1 ", "trailing-tab": "GET / HTTP/1.1\t",
    "trailing-word": "GET / HTTP/1.1 x",
    "control-in-target": "GET /\x01 HTTP/1.1", "del-in-target": "GET /\x7f HTTP/1.1",
    "high-in-target": b"GET /\xff HTTP/1.1",
    "utf8-in-target": "GET /\u00fc HTTP/1.1".encode(), "nbsp": b"GET\xa0/ HTTP/1.1",
    "method-paren": "GE(T / HTTP/1.1",
    "method-colon": "GET: / HTTP/1.1", "method-slash": "G/T / HTTP/1.1", "method-quote": '"GET" / HTTP/1.1',
    "method-high": b"G\xffT / HTTP/1.1", "method-empty": " / HTTP/1.1", "method-bracket": "[GET] / HTTP/1.1",
    "method-nul": "GET\x00 / HTTP/1.1", "method-comma": "GET,POST / HTTP/1.1", "no-slash": "GET foo HTTP/1.1",
    "at-evil": "GET @evil.test HTTP/1.1", "host-only": "GET evil.test HTTP/1.1",
    "authority": "GET evil.test:80 HTTP/1.1",
    "query-only": "GET ?a=b HTTP/1.1", "fragment-only": "GET #a HTTP/1.1", "star": "GET * HTTP/1.1",
    "star-post": "POST * HTTP/1.1", "star-options-path": "OPTIONS *x HTTP/1.1",
    "backslash-first": "GET \\ HTTP/1.1",
    "dot-first": "GET ../x HTTP/1.1", "colon-first": "GET :80/x HTTP/1.1", "empty-line": "",
}
BAD_VERSIONS = (
    "HTTP/1.10", "HTTP/1.01", "HTTP/01.1", "HTTP/1.", "HTTP/.1", "HTTP/1", "HTTP/1,1", "HTTP/1.1x",
    "HTTP/1.1.1", "HTTP/-1.1",
    "HTTP/+1.1", "HTTP/1.\u00b9", "http/1.1", "Http/1.1", "HTTPS/1.1", "HTTP 1.1", "HTTP/ 1.1", "HTTP//1.1",
    "HTP/1.1",
    "HTTP/A.B", "XHTTP/1.1", "HTTP\\1.1", "ICY", "RTSP/1.0", "HTTP/1.1\x00",
)
WRONG_VERSIONS = ("HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0")
LINES: list[Row] = [
    refuse(f"line-{name}", 15, raw(latin(line))) for name, line in BAD_LINES.items()
] + [
    refuse(f"version-{version!a}", 15, raw(f"GET / {version}"), 400, 505) for version in BAD_VERSIONS
] + [
    refuse(f"version-{version}", 15, raw(f"GET / {version}"), 505) for version in WRONG_VERSIONS
] + [
    refuse("http-0.9", 15, b"GET /\r\n"),
    refuse("http-0.9-fields", 15, raw("GET /")),
    refuse("pri", 15, b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400, 505),
    refuse("tls-hello", 15, b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 64 + b"\r\n\r\n"),
    refuse("proxy-line", 15, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + raw(GET)),
    refuse("response-as-request", 15, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    refuse("target-9k", 15, raw("GET /" + "a" * 9000 + " HTTP/1.1"), 414),
    refuse("target-60k", 15, raw("GET /" + "a" * 60000 + " HTTP/1.1"), 414),
    refuse("method-9k", 15, raw("G" * 9000 + " / HTTP/1.1"), 400, 414, 501),
    refuse("head-40k", 15, raw(GET, "X: " + "a" * 40000), 431),
    refuse("fields-101", 15, raw(GET, *(f"X{n}: a" for n in range(101))), 431),
    refuse("fields-1000", 15, raw(GET, *["X: a"] * 1000), 431),
    accept("method-lower", 15, raw("get / HTTP/1.1")),
    accept("method-unknown", 15, raw("M-SEARCH / HTTP/1.1")),
    accept("fields-90", 15, raw(GET, *(f"X{n}: a" for n in range(90))), present=(("x89", "a"),)),
    accept("query-odd-bytes", 15, raw("GET /?a=[]|{}\"<>^` HTTP/1.1"), target="/?a=[]|{}\"<>^`"),
]

BAD_URIS = (
    "ftp://example.test/", "file:///etc/passwd", "gopher://a:70/_x", "javascript:alert(1)",
    "unix:/run/x.sock", "ws://a/",
    "http://", "http:///x", "http:/x", "http:x", "http:a", "http://user@a/", "http://user:pw@a/",
    "http://a:b/",
    "http://a:99999/", "http://[::1/", "http://a\\b/", "http://a,b/", "http://?x", "http://#x", "http://:80/",
    "://a/",
    "http//a/", "https:/\\a/", "http://a@evil.test:80@b/", "data:text/plain,x", "http://a<b>/",
)
URIS: list[Row] = [
    refuse(f"uri-{uri}", 16, raw(f"GET {uri} HTTP/1.1")) for uri in BAD_URIS
] + [
    refuse("connect", 16, raw("CONNECT evil.test:443 HTTP/1.1"), 405),
    refuse("connect-same-host", 16, raw("CONNECT example.test:80 HTTP/1.1", "Host: x", host=False), 405),
    refuse("connect-path", 16, raw("CONNECT / HTTP/1.1"), 400, 405),
    refuse("connect-uri", 16, raw("CONNECT http://evil.test/ HTTP/1.1"), 400, 405),
    refuse("connect-body", 16, raw("CONNECT a:1 HTTP/1.1", "Content-Length: 5", body=b"hello"), 400, 405),
    accept("uri-metadata", 16, raw("GET http://169.254.169.254/latest HTTP/1.1"), target="/latest",
           present=(("host", "169.254.169.254"),)),
    accept("uri-loopback-port", 16, raw("GET http://127.0.0.1:1/x?y HTTP/1.1"), target="/x?y",
           present=(("host", "127.0.0.1:1"),)),
    accept("uri-upper-scheme", 16, raw("GET HTTP://example.test/x HTTP/1.1"), target="/x"),
    accept("uri-no-path", 16, raw("GET http://example.test HTTP/1.1"), target="/"),
    accept("uri-query-no-path", 16, raw("GET http://example.test?a=b HTTP/1.1"), target="/?a=b"),
    either("uri-https", 16, raw("GET https://example.test/x HTTP/1.1"), target="/x"),
]

UPGRADES: list[Row] = [
    accept("h2c", 19,
           raw(GET, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
               "HTTP2-Settings: AAMAAABkAAQAAP__"),
           absent=("upgrade", "http2-settings")),
    accept("h2c-no-settings", 19, raw(GET, "Connection: Upgrade", "Upgrade: h2c"), absent=("upgrade",)),
    accept("h2c-case", 19, raw(GET, "Connection: upgrade", "Upgrade: H2C"), absent=("upgrade",)),
    accept("tls", 19, raw(GET, "Connection: Upgrade", "Upgrade: TLS/1.0"), absent=("upgrade",)),
    accept("unknown", 19, raw(GET, "Connection: Upgrade", "Upgrade: foo"), absent=("upgrade",)),
    accept("not-nominated", 19, raw(GET, "Upgrade: h2c", "HTTP2-Settings: x"),
           absent=("upgrade", "http2-settings")),
    either("websocket-and-h2c", 19, raw(GET, "Connection: Upgrade", "Upgrade: websocket, h2c",
                                        "Sec-WebSocket-Version: 13",
                                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
    refuse("upgrade-bad-byte", 19, raw(GET, "Connection: Upgrade", "Upgrade: h2c\x00")),
]

ROWS = HOSTS + LINES + URIS + UPGRADES
