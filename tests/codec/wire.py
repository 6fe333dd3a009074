"""Grammar-based generation of HTTP/1 messages, and mutations of their bytes (hypothesis strategies)."""

from __future__ import annotations

from hypothesis import strategies as st

TCHAR = "!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VCHAR = "".join(map(chr, range(0x21, 0x7F)))
# bytes that mean something to some parser
INTERESTING = [b"\r", b"\n", b"\r\n", b"\n\r", b"\x00", b" ", b"\t", b"\x0b", b"\x0c", b"\x1f", b"\x7f",
               b"\x80", b"\x85",
               b"\xa0", b"\xb2", b"\xff", b":", b",", b";", b"/", b"#", b"?", b"@", b"%", b"%00", b"\\", b'"',
               b"_", b"+", b"-",
               b"0", b"1", b"9", b"x", b"\r\n ", b"\r\n\t", b"\r\n\r\n", b"\nX: y\r\n", b"HTTP/1.1",
               b"chunked", b"Host: a\r\n",
               b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n",
               b"0x", b"0\r\n\r\n"]

token = st.text(TCHAR, min_size=1, max_size=12)
method = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "get", "M-SEARCH"]) | token
path = st.lists(st.text("abcXYZ019-._~!$&'()*+,;=:@", max_size=6),
                max_size=4).map(lambda parts: "/" + "/".join(parts))
query = st.none() | st.text("abc019-._~!$&'()*+,;=:@/?", max_size=10)
host = st.sampled_from(["a", "example.test", "a.b.c:80", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:80"])
target = st.one_of(
    st.tuples(path, query).map(lambda pair: pair[0] + ("" if pair[1] is None else "?" + pair[1])),
    st.tuples(host, path).map(lambda pair: f"http://{pair[0]}{pair[1]}"),
    st.just("*"),
)
ows = st.sampled_from(["", " ", "\t", "  ", " \t "])
value = st.text(VCHAR + " \t\xe9\xff", max_size=16).map(lambda text: text.strip(" \t"))
framing = st.sampled_from([
    ["Content-Length: 5"], ["Content-Length: 0"], ["Content-Length: 00012"], ["Transfer-Encoding: chunked"],
    ["transfer-encoding:CHUNKED"], [], [], ["Content-Length: 5", "Content-Length: 5"],
    ["Content-Length: 5, 5"],
    ["Content-Length: +5"], ["Transfer-Encoding: gzip, chunked"],
    ["Transfer-Encoding: chunked", "Content-Length: 5"],
    ["Content-Length: 123456789012345678"], ["Content-Length: 1234567890123456789"],
    ["Transfer-Encoding: chunked, chunked"],
    ["Content-Length: 5 "], ["Content-Length: \x0b5"], ["Transfer-Encoding : chunked"],
    ["Transfer-Encoding:\x0bchunked"],
])
plain_field = st.tuples(token, ows, value,
                        ows).map(lambda parts: f"{parts[0]}:{parts[1]}{parts[2]}{parts[3]}")
known_field = st.sampled_from(["Connection: close", "Connection: keep-alive, X", "Expect: 100-continue",
                               "X: y",
                               "Upgrade: websocket", "Connection: Upgrade", "Accept: */*", "Keep-Alive: 5"])
fields = st.lists(plain_field | known_field, max_size=5)


def to_head(lines: list[str]) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]))
    lines = [*draw(fields), *draw(framing), f"Host: {draw(host)}"]
    return to_head([f"{draw(method)} {draw(target)} {version}", *draw(st.permutations(lines))])


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([200, 200, 204, 304, 404, 500, 301, 100, 103, 599]))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]))
    phrase = draw(st.sampled_from([" OK", " ", "", " Not Found", " caf\xe9", " a\tb"]))
    lines = [*draw(fields), *draw(framing)]
    return to_head([f"{version} {status}{phrase}", *draw(st.permutations(lines))])


extension = st.sampled_from(["", "", "", ";a", ";a=b", ';a="b c"', "; a = b", ";"])
size_form = st.sampled_from(["{:x}", "{:X}", "0{:x}", "{:04x}", "{:016x}"])


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    wire = b""
    for data in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=5)):
        wire += (draw(size_form).format(len(data)) + draw(extension)).encode() + b"\r\n" + data + b"\r\n"
    wire += draw(st.sampled_from([b"0", b"00", b"0;a=b"])) + b"\r\n"
    trailers = draw(st.just([]) | st.lists(plain_field, max_size=3))
    return wire + "".join(f"{line}\r\n" for line in trailers).encode("latin-1") + b"\r\n"


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A valid message with one to three bytes or tokens inserted, replaced, removed or doubled."""
    data = draw(messages)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 3)))
        piece = draw(st.sampled_from(INTERESTING) | st.binary(min_size=1, max_size=2) | st.just(b""))
        data = data[:at] + (piece or data[at:until] * 2) + data[until:]
    return data
