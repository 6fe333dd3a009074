# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Heads between HTTP/2 and the form of HTTP/1 heads (RFC 9113 8): collected, composed, and taken apart again.

What comes out of compose_* is not trusted: the parsers of HTTP/1 judge it as they judge what comes from a socket, so
a CR, a LF or a second Host that got this far ends there.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from lbd.engine.buffer cimport buffer_append, buffer_len, buffer_ptr
from lbd.engine.fields cimport equal_fold, is_name
from lbd.engine.http1 cimport (
    BODY_CHUNKED, K_CONNECTION, K_CONTENT_LENGTH, K_HOP, K_HOST, K_NOMINATED, K_PLAIN, K_TE, K_TRANSFER_ENCODING,
    K_UPGRADE, Head,
)
from lbd.engine.nghttp2 cimport NV
from lbd.engine.reactor cimport Reactor


cdef inline char* _put(char* out, const char* p, size_t n) noexcept:
    memcpy(out, p, n)
    return out + n


cdef inline bint _is(const uint8_t* name, size_t n, const char* literal, size_t m) noexcept:
    return n == m and memcmp(name, literal, m) == 0


cdef inline bint _keep(HeadBlock* b, Pseudo* pseudo, const uint8_t* value, size_t n) noexcept:
    pseudo.at = <uint32_t> buffer_len(&b.text)
    pseudo.len = <uint32_t> n
    if not buffer_append(&b.text, <const char*> value, n):
        return False
    b.fields = <uint32_t> buffer_len(&b.text)
    return True


cdef bint collect_field(HeadBlock* b, const uint8_t* name, size_t n, const uint8_t* value, size_t m) noexcept:
    """Add a field that nghttp2 has decoded; False when memory is refused."""
    if name[0] == c':':
        if _is(name, n, b":method", 7):
            return _keep(b, &b.method, value, m)
        if _is(name, n, b":path", 5):
            return _keep(b, &b.path, value, m)
        if _is(name, n, b":authority", 10):
            return _keep(b, &b.authority, value, m)
        if _is(name, n, b":scheme", 7):
            return _keep(b, &b.scheme, value, m)
        if _is(name, n, b":status", 7):
            return _keep(b, &b.status, value, m)
        return _keep(b, &b.protocol, value, m)      # nghttp2 lets only the known ones through
    if _is(name, n, b"host", 4) and b.authority.len:        # RFC 9113 8.3.1: must not differ; one is enough
        b.conflict |= m != b.authority.len or not equal_fold(<const char*> value, buffer_ptr(&b.text) + b.authority.at, m)
        return True
    if _is(name, n, b"content-length", 14):
        b.has_length = True
    if _is(name, n, b"cookie", 6):                  # may be split (RFC 9113 8.2.3)
        if b.cookies.data != NULL:
            buffer_append(&b.cookies, b"; ", 2)
        return buffer_append(&b.cookies, <const char*> value, m)
    if not (buffer_append(&b.text, <const char*> name, n) and buffer_append(&b.text, b": ", 2)
            and buffer_append(&b.text, <const char*> value, m) and buffer_append(&b.text, b"\r\n", 2)):
        return False
    return True


cdef bint asks_websocket(HeadBlock* b) noexcept:
    return is_name(buffer_ptr(&b.text) + b.protocol.at, b.protocol.len, b"websocket", 9)


cdef size_t compose_request(HeadBlock* b, char* out, size_t room, bint ended, Reactor reactor) noexcept:
    """The head that was received as an HTTP/1.1 request head; 0 when it does not fit or would not be one.

    Extended CONNECT (RFC 8441) becomes the upgrade that it stands for.
    """
    cdef char* text = buffer_ptr(&b.text) if b.text.data != NULL else NULL
    cdef char* start = out
    cdef size_t lines = buffer_len(&b.text) - b.fields
    cdef bint tunnel = b.protocol.len != 0
    if (text == NULL or lines + b.fields + buffer_len(&b.cookies) + 512 > room or b.path.len == 0 or b.conflict
            or not (is_name(text + b.scheme.at, b.scheme.len, b"https", 5)
                    or is_name(text + b.scheme.at, b.scheme.len, b"http", 4))):
        return 0
    if tunnel:
        out = _put(out, b"GET", 3)
    else:
        out = _put(out, text + b.method.at, b.method.len)
    out = _put(out, b" ", 1)
    out = _put(out, text + b.path.at, b.path.len)
    out = _put(out, b" HTTP/1.1\r\n", 11)
    if b.authority.len:
        out = _put(out, b"Host: ", 6)
        out = _put(out, text + b.authority.at, b.authority.len)
        out = _put(out, b"\r\n", 2)
    out = _put(out, text + b.fields, lines)
    if b.cookies.data != NULL:
        out = _put(out, b"cookie: ", 8)
        out = _put(out, buffer_ptr(&b.cookies), buffer_len(&b.cookies))
        out = _put(out, b"\r\n", 2)
    if tunnel:
        out = _put(out, b"Connection: Upgrade\r\nUpgrade: ", 30)
        out = _put(out, text + b.protocol.at, b.protocol.len)
        out = _put(out, b"\r\nSec-WebSocket-Key: ", 21)
        out = _put_key(out, reactor)
        out = _put(out, b"\r\n", 2)
    elif not ended and not b.has_length:
        out = _put(out, b"Transfer-Encoding: chunked\r\n", 28)
    out = _put(out, b"\r\n", 2)
    return <size_t> (out - start)


cdef size_t compose_response(HeadBlock* b, char* out, size_t room) noexcept:
    """The head that was received as an HTTP/1.1 response head without its end; 0 when it would not be one."""
    cdef char* text = buffer_ptr(&b.text) if b.text.data != NULL else NULL
    cdef char* start = out
    cdef size_t lines = buffer_len(&b.text) - b.fields
    if text == NULL or b.dropped or b.status.len != 3 or lines + 512 > room:
        return 0
    out = _put(out, b"HTTP/1.1 ", 9)
    out = _put(out, text + b.status.at, 3)
    out = _put(out, b" \r\n", 3)
    out = _put(out, text + b.fields, lines)
    return <size_t> (out - start)


cdef char* _put_key(char* out, Reactor reactor) noexcept:
    """A nonce as RFC 6455 4.1 wants it from a client: base64 of 16 bytes."""
    cdef const char* digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    cdef uint64_t bits = 0
    cdef int i
    for i in range(21):
        if i % 10 == 0:
            bits = reactor.random()
        out[i] = digits[bits & 63]
        bits >>= 6
    out[21] = b"AQgw"[bits & 3]                     # the last two bits, and four that must be zero
    out[22] = out[23] = c'='
    return out + 24


cdef int add_field(NV* nv, int n, const char* name, size_t name_len, const char* value, size_t value_len) noexcept:
    """Append a field; white space around the value goes. nghttp2 copies it and lower-cases the name."""
    while value_len and (value[0] == c' ' or value[0] == c'\t'):
        value += 1
        value_len -= 1
    nv[n].name = <const uint8_t*> name
    nv[n].name_len = name_len
    nv[n].value = <const uint8_t*> value
    nv[n].value_len = value_len
    nv[n].flags = 0
    return n + 1


cdef int add_line(NV* nv, int n, bytes line, size_t name_len) noexcept:
    """Append a field that is at hand as a line of HTTP/1, with its CR LF; the line must outlive the submission."""
    cdef const char* p = line
    return add_field(nv, n, p, name_len, p + name_len + 1, <size_t> len(line) - name_len - 3)


cdef int add_fields(NV* nv, int n, const Head* head, bint response, uint8_t framing) noexcept:
    """Append the fields of a parsed HTTP/1 head that may stand in HTTP/2 (RFC 9113 8.2.2)."""
    cdef uint32_t i
    cdef int kind
    for i in range(head.n_fields):
        kind = head.fields[i].kind
        if kind != K_PLAIN and (
                kind == K_HOP or kind == K_CONNECTION or kind == K_NOMINATED or kind == K_TRANSFER_ENCODING
                or kind == K_UPGRADE or kind == K_TE or kind == K_HOST
                or (kind == K_CONTENT_LENGTH and (framing == BODY_CHUNKED or (
                    response and (head.status < 200 or head.status == 204))))):
            continue
        if n >= NV_MAX:
            break
        nv[n].name = <const uint8_t*> head.base + head.fields[i].name
        nv[n].name_len = head.fields[i].name_len
        nv[n].value = <const uint8_t*> head.base + head.fields[i].value
        nv[n].value_len = head.fields[i].value_len
        nv[n].flags = 0
        n += 1
    return n


cdef int without_field(NV* nv, int n, const char* lower, size_t m) noexcept:
    """Leave out all fields of that name; how many are left."""
    cdef int i
    cdef int kept = 0
    for i in range(n):
        if not is_name(<const char*> nv[i].name, nv[i].name_len, lower, m):
            nv[kept] = nv[i]
            kept += 1
    return kept
