# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""HTTP/1 head codec (RFC 9112), one strict pass: bytes in, offsets into those bytes out.

Strategy: the start line here, the field lines in fields.pyx, then one walk over the fields that mean something to a
proxy, for framing, persistence and Host. Nothing is copied.

Rules, where RFC 9112 leaves a choice: the stricter one.
- Lines end in CR LF; no bare CR, LF or NUL; no obs-fold; no blank line before a request; a name is a token and the
  colon follows it at once (2.2, 5.1, 5.2).
- One Content-Length of 1 to 18 digits, or one Transfer-Encoding that is exactly "chunked", never both, never the
  latter in HTTP/1.0 (6.1, 6.3). Field order and spelling never change the framing.
- Exactly one Host in HTTP/1.1; host and port of a small grammar; an absolute-form target replaces it (3.2).
- An incomplete head is looked at again from its start: the caller asks only when a line end arrived, so the cost is
  bounded by the limit on fields times the limit on bytes.
"""

from collections import namedtuple

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp

from lbd.engine.fields cimport (
    C_DIGIT, C_HEX, C_HOST, C_PATH_BAD, C_SUSPECT, C_TARGET, C_TOKEN, CLASS, equal_fold, imitates, is_clean,
    is_name, list_has, parse_field_lines, same_name,
)
from lbd.engine.reasons cimport (
    R_BAD_REQUEST, R_HEAD_TOO_LARGE, R_METHOD_REFUSED, R_NOT_IMPLEMENTED, R_TARGET_TOO_LONG, R_UPSTREAM_INVALID,
    R_VERSION_REFUSED, reason_code, reason_status,
)

cdef int _content_length(const char* p, size_t n, int64_t* length) noexcept nogil:
    cdef int64_t value = 0
    cdef size_t i
    if n == 0 or n > 18:
        return -<int> R_BAD_REQUEST
    for i in range(n):
        if not CLASS[<uint8_t> p[i]] & C_DIGIT:
            return -<int> R_BAD_REQUEST
        value = value * 10 + (p[i] - c'0')
    length[0] = value
    return PARSE_DONE


cdef int _transfer_encoding(const char* p, size_t n) noexcept nogil:
    """Exactly "chunked"; another well-formed coding is 501 (RFC 9112 6.1), anything doubtful 400."""
    cdef size_t i
    if is_name(p, n, b"chunked", 7):
        return PARSE_DONE
    if n == 0 or list_has(p, n, b"chunked", 7):
        return -<int> R_BAD_REQUEST
    for i in range(n):
        if not CLASS[<uint8_t> p[i]] & C_TOKEN:
            return -<int> R_BAD_REQUEST
    return -<int> R_NOT_IMPLEMENTED


cdef int _connection(Head* head, const Field* field, int* nominated) noexcept nogil:
    """Options of a Connection field; the names it nominates are marked as hop-by-hop (RFC 9110 7.6.1)."""
    cdef const char* value = head.base + field.value
    cdef size_t n = field.value_len
    cdef size_t i = 0
    cdef size_t start, m
    cdef uint32_t f
    cdef Field* other
    while i < n:
        while i < n and (value[i] == c',' or value[i] == c' ' or value[i] == c'\t'):
            i += 1
        start = i
        while i < n and CLASS[<uint8_t> value[i]] & C_TOKEN:
            i += 1
        m = i - start
        while i < n and (value[i] == c' ' or value[i] == c'\t'):
            i += 1
        if i < n and value[i] != c',':
            return -<int> R_BAD_REQUEST
        if m == 0:
            continue
        if is_name(value + start, m, b"close", 5):
            head.keep_alive = False
            nominated[0] |= 1 << 16                     # "close" wins over "keep-alive"
        elif is_name(value + start, m, b"keep-alive", 10):
            if head.minor == 0 and not nominated[0] & (1 << 16):
                head.keep_alive = True
        else:
            nominated[0] += 1
            if (nominated[0] & 0xffff) > MAX_NOMINATED:
                return -<int> R_BAD_REQUEST
            for f in range(head.n_fields):
                other = &head.fields[f]
                if other.name_len != m or not equal_fold(head.base + other.name, value + start, m):
                    continue
                if other.kind == K_UPGRADE:
                    head.upgrade = <int> f
                elif other.kind == K_PLAIN or other.kind == K_EXPECT or other.kind >= K_TRACEPARENT:
                    other.kind = K_NOMINATED            # never framing, Host or what lbd itself adds
    return PARSE_DONE


cdef int _framing(Head* head, bint keep_underscore, int* host) noexcept nogil:
    """Everything the fields say about framing, persistence and Host; the same for requests and responses."""
    cdef uint32_t i
    cdef Field* field
    cdef int status
    cdef int nominated = 0
    cdef bint connection = False
    cdef bint coding = False
    head.content_length = -1
    host[0] = -1
    for i in range(head.n_fields):
        field = &head.fields[i]
        if field.kind == K_PLAIN or field.kind >= K_TRACEPARENT:
            continue
        if field.kind == K_HOST:
            if host[0] >= 0:
                return -<int> R_BAD_REQUEST
            host[0] = <int> i
            continue
        head.special = True
        if field.kind == K_CONTENT_LENGTH:
            if head.content_length >= 0:
                return -<int> R_BAD_REQUEST
            status = _content_length(head.base + field.value, field.value_len, &head.content_length)
            if status < 0:
                return status
        elif field.kind == K_TRANSFER_ENCODING:
            if coding:
                return -<int> R_BAD_REQUEST
            status = _transfer_encoding(head.base + field.value, field.value_len)
            if status < 0:
                return status
            coding = True
        elif field.kind == K_CONNECTION:
            connection = True
        elif field.kind == K_KEEP_ALIVE:
            head.announced = <int> i
            field.kind = K_HOP
        elif field.kind == K_EXPECT:
            if not is_name(head.base + field.value, field.value_len, b"100-continue", 12):
                return -<int> R_BAD_REQUEST
            head.expect_continue = head.minor == 1
        elif field.kind == K_TE:
            head.te_trailers |= list_has(head.base + field.value, field.value_len, b"trailers", 8)
        elif field.kind >= K_FORWARDED_FOR and field.kind <= K_REQUEST_ID:
            head.n_forwarded += 1
        elif field.kind == K_UNDERSCORE and keep_underscore and not imitates(head.base + field.name, field.name_len):
            field.kind = K_PLAIN
    if coding:
        if head.minor == 0 or head.content_length >= 0:
            return -<int> R_BAD_REQUEST
        head.framing = BODY_CHUNKED
    elif head.content_length >= 0:
        head.framing = BODY_LENGTH
    if connection:
        for i in range(head.n_fields):
            if head.fields[i].kind == K_CONNECTION:
                status = _connection(head, &head.fields[i], &nominated)
                if status < 0:
                    return status
    return PARSE_DONE


cdef int _authority(const char* p, size_t n, Head* head) noexcept nogil:
    """host [":" port] (RFC 3986 3.2 without userinfo); fills head.authority."""
    cdef size_t i = 0
    cdef size_t start
    cdef uint32_t port = 0
    if n == 0 or n > 1000:
        return -<int> R_BAD_REQUEST
    if p[0] == c'[':
        i = 1
        while i < n and (CLASS[<uint8_t> p[i]] & C_HEX or p[i] == c':' or p[i] == c'.'):
            i += 1
        if i >= n or p[i] != c']' or i < 3:
            return -<int> R_BAD_REQUEST
        i += 1
    else:
        while i < n and CLASS[<uint8_t> p[i]] & C_HOST:
            i += 1
        if i == 0:
            return -<int> R_BAD_REQUEST
    head.host_len = <uint32_t> i
    if i < n:
        if p[i] != c':':
            return -<int> R_BAD_REQUEST
        i += 1
        start = i
        while i < n and CLASS[<uint8_t> p[i]] & C_DIGIT:
            port = port * 10 + <uint32_t> (p[i] - c'0') if port < 100000 else port
            i += 1
        if i < n or i == start or port > 65535:
            return -<int> R_BAD_REQUEST
    head.authority = p
    head.authority_len = <uint32_t> n
    return PARSE_DONE


cdef uint8_t _method(const char* p, size_t n) noexcept nogil:
    if n == 3:
        if memcmp(p, b"GET", 3) == 0:
            return M_GET
        if memcmp(p, b"PUT", 3) == 0:
            return M_PUT
    elif n == 4:
        if memcmp(p, b"POST", 4) == 0:
            return M_POST
        if memcmp(p, b"HEAD", 4) == 0:
            return M_HEAD
    elif n == 5:
        if memcmp(p, b"PATCH", 5) == 0:
            return M_PATCH
        if memcmp(p, b"TRACE", 5) == 0:
            return M_TRACE
    elif n == 6:
        if memcmp(p, b"DELETE", 6) == 0:
            return M_DELETE
    elif n == 7:
        if memcmp(p, b"OPTIONS", 7) == 0:
            return M_OPTIONS
        if memcmp(p, b"CONNECT", 7) == 0:
            return M_CONNECT
    return M_OTHER


cdef int _target(const char* p, size_t start, size_t end, Head* head) noexcept nogil:
    """origin-form, absolute-form, or "*" for OPTIONS (RFC 9112 3.2)."""
    cdef size_t at = start
    cdef size_t authority
    cdef uint8_t seen = 0
    cdef uint8_t previous
    cdef int status
    head.target = <uint32_t> start
    head.target_len = <uint32_t> (end - start)
    head.path_plain = True
    if p[at] != c'/':
        if end - start == 1 and p[at] == c'*':
            head.path = <uint32_t> start
            head.path_len = 1
            return PARSE_DONE if head.method == M_OPTIONS else -<int> R_BAD_REQUEST
        if end - at > 7 and same_name(p + at, b"http://", 7):
            at += 7
        elif end - at > 8 and same_name(p + at, b"https://", 8):
            at += 8
        else:
            return -<int> R_BAD_REQUEST
        authority = at
        while at < end and p[at] != c'/' and p[at] != c'?':
            at += 1
        status = _authority(p + authority, at - authority, head)
        if status < 0:
            return status
        head.absolute = True
    head.path = <uint32_t> at
    previous = 0
    while at < end and p[at] != c'?':
        seen |= CLASS[<uint8_t> p[at]]
        if previous == c'/' and (p[at] == c'/' or p[at] == c'.'):
            head.path_plain = False
        previous = <uint8_t> p[at]
        at += 1
    if seen & C_PATH_BAD:
        return -<int> R_BAD_REQUEST
    if seen & C_SUSPECT:
        head.path_plain = False
    head.path_len = <uint32_t> (at - head.path)
    if at < end:
        head.has_query = True
        head.query = <uint32_t> at + 1
        head.query_len = <uint32_t> (end - at - 1)
    return PARSE_DONE


cdef int _request_line(const char* p, size_t n, const Limits* limits, Head* head) noexcept nogil:
    """Returns the offset behind the line, 0 for more, or minus a Reason."""
    cdef size_t at = 0
    cdef size_t target
    cdef int status
    while at < n and CLASS[<uint8_t> p[at]] & C_TOKEN:
        at += 1
    if at > 32:
        return -<int> R_BAD_REQUEST
    if at >= n:
        return 0
    if p[at] != c' ' or at == 0:
        return -<int> R_BAD_REQUEST
    head.method_len = <uint32_t> at
    head.method = _method(p, at)
    at += 1
    target = at
    while at < n and CLASS[<uint8_t> p[at]] & C_TARGET:
        at += 1
    if at + 11 > limits.request_line:
        return -<int> R_TARGET_TOO_LONG
    if at >= n:
        return 0
    if p[at] != c' ' or at == target:
        return -<int> R_BAD_REQUEST
    if n - at < 11:                                     # " HTTP/1.1" CR LF
        return 0 if memcmp(p + at, b" HTTP/", min(n - at, 6)) == 0 else -<int> R_BAD_REQUEST
    if memcmp(p + at, b" HTTP/", 6) or p[at + 7] != c'.' or p[at + 9] != c'\r' or p[at + 10] != c'\n':
        return -<int> R_BAD_REQUEST
    if not (CLASS[<uint8_t> p[at + 6]] & C_DIGIT and CLASS[<uint8_t> p[at + 8]] & C_DIGIT):
        return -<int> R_BAD_REQUEST
    if p[at + 6] != c'1' or p[at + 8] > c'1':
        return -<int> R_VERSION_REFUSED
    head.minor = <uint8_t> (p[at + 8] - c'0')
    if head.method == M_CONNECT:
        return -<int> R_METHOD_REFUSED
    status = _target(p, target, at, head)
    return status if status < 0 else <int> at + 11


cdef inline void _reset(Head* head, const char* p) noexcept nogil:
    head.base = p
    head.authority = NULL
    head.authority_len = head.host_len = 0
    head.method = M_OTHER
    head.has_query = head.absolute = head.expect_continue = head.te_trailers = head.special = False
    head.query_len = 0
    head.upgrade = head.announced = -1
    head.n_forwarded = 0
    head.framing = BODY_NONE


cdef int parse_request(const char* p, size_t n, const Limits* limits, Head* head) noexcept nogil:
    """PARSE_DONE with head filled, PARSE_MORE, or minus a Reason. head.fields must hold limits.fields entries."""
    cdef int at, status
    cdef int host = -1
    _reset(head, p)
    at = _request_line(p, n, limits, head)
    if at <= 0:
        return at
    head.fields_start = <uint32_t> at
    head.keep_alive = head.minor == 1
    status = parse_field_lines(p, <size_t> at, n, limits.fields, head)
    if status == PARSE_MORE:
        return -<int> R_HEAD_TOO_LARGE if n >= limits.head else PARSE_MORE
    if status < 0:
        return status
    if head.length > limits.head:
        return -<int> R_HEAD_TOO_LARGE
    status = _framing(head, limits.keep_underscore, &host)
    if status < 0:
        return status
    if host < 0:
        return PARSE_DONE if head.minor == 0 else -<int> R_BAD_REQUEST
    if head.absolute:                                   # RFC 9112 3.2.2: replaces Host, which must be valid all the same
        at = <int> head.authority_len
        p = head.authority
        status = _authority(head.base + head.fields[host].value, head.fields[host].value_len, head)
        return status if status < 0 else _authority(p, <size_t> at, head)
    return _authority(head.base + head.fields[host].value, head.fields[host].value_len, head)


cdef int parse_response(const char* p, size_t n, uint8_t method, Head* head) noexcept nogil:
    """PARSE_DONE, PARSE_MORE or -R_UPSTREAM_INVALID. head.fields must hold RESPONSE_FIELDS_MAX entries."""
    cdef const char* eol
    cdef size_t end
    cdef int host = -1
    cdef int status
    _reset(head, p)
    if n < 15:                                          # "HTTP/1.1 200" CR LF and one more
        return PARSE_MORE if memcmp(p, b"HTTP/1.", min(n, 7)) == 0 else -<int> R_UPSTREAM_INVALID
    if memcmp(p, b"HTTP/1.", 7) or (p[7] != c'1' and p[7] != c'0') or p[8] != c' ':
        return -<int> R_UPSTREAM_INVALID
    for end in range(9, 12):
        if not CLASS[<uint8_t> p[end]] & C_DIGIT:
            return -<int> R_UPSTREAM_INVALID
    head.minor = <uint8_t> (p[7] - c'0')
    head.status = <uint16_t> ((p[9] - c'0') * 100 + (p[10] - c'0') * 10 + (p[11] - c'0'))
    if head.status < 100 or head.status > 599 or (p[12] != c' ' and p[12] != c'\r'):
        return -<int> R_UPSTREAM_INVALID
    eol = <const char*> memchr(p + 12, c'\r', n - 12)
    end = n if eol == NULL else <size_t> (eol - p)
    if not is_clean(p + 12, end - 12):
        return -<int> R_UPSTREAM_INVALID
    if end + 1 >= n:
        return PARSE_MORE if n < RESPONSE_HEAD_MAX else -<int> R_UPSTREAM_INVALID
    if p[end + 1] != c'\n':
        return -<int> R_UPSTREAM_INVALID
    head.reason = 13 if end > 13 else <uint32_t> end
    head.reason_len = <uint32_t> end - head.reason
    head.fields_start = <uint32_t> end + 2
    head.keep_alive = head.minor == 1
    status = parse_field_lines(p, end + 2, n, RESPONSE_FIELDS_MAX, head)
    if status == PARSE_MORE:
        return PARSE_MORE if n < RESPONSE_HEAD_MAX else -<int> R_UPSTREAM_INVALID
    if status < 0 or _framing(head, True, &host) < 0:
        return -<int> R_UPSTREAM_INVALID
    return _response_framing(method, head)


cdef int _response_framing(uint8_t method, Head* head) noexcept nogil:
    """RFC 9112 6.3: HEAD, 1xx, 204, 304 have no body whatever the fields say; without a length it ends at the close."""
    if head.status < 200 or head.status == 204 or head.status == 304 or method == M_HEAD:
        head.framing = BODY_NONE
    elif head.framing == BODY_NONE:
        head.framing = BODY_CLOSE
        head.keep_alive = False
    return PARSE_DONE


# The codec for Python: tests, fuzzing, explain -------------------------------------------------------------------

class ProtocolError(ValueError):
    """What the codec refuses: `status` and `reason` (code) of the answer."""

    def __init__(self, int reason):
        self.status = reason_status(reason)
        self.reason = reason_code(reason).decode()
        super().__init__(f"{self.status} {self.reason}")


RequestInfo = namedtuple("RequestInfo", (
    "method target path query authority version fields consumed framing content_length keep_alive expect_continue "
    "upgrade"))
ResponseInfo = namedtuple("ResponseInfo", (
    "status reason version fields consumed framing content_length keep_alive"))
FRAMINGS = ("none", "length", "chunked", "close")

cdef Field[MAX_FIELDS] INSPECTED


cdef list _fields(bytes data, Head* head):
    cdef Field field
    cdef int i
    cdef list found = []
    for i in range(<int> head.n_fields):
        field = head.fields[i]
        if field.kind == K_UNDERSCORE:
            continue
        found.append((data[field.name:field.name + field.name_len], data[field.value:field.value + field.value_len]))
    return found


def inspect_request(bytes data not None, *, int request_line=8192, int head=32768, int fields=100, underscore="drop"):
    """The head at the start of data, None when it is incomplete; ProtocolError."""
    cdef Limits limits
    cdef Head h
    cdef int status
    limits.request_line = request_line
    limits.head = head
    limits.fields = min(fields, MAX_FIELDS)
    limits.keep_underscore = underscore == "keep"
    h.fields = INSPECTED
    status = parse_request(<const char*> data, len(data), &limits, &h)
    if status == PARSE_MORE:
        return None
    if status < 0:
        raise ProtocolError(-status)
    upgrade = None
    if h.upgrade >= 0:
        upgrade = data[h.fields[h.upgrade].value:h.fields[h.upgrade].value + h.fields[h.upgrade].value_len]
    return RequestInfo(
        data[:h.method_len], data[h.target:h.target + h.target_len], data[h.path:h.path + h.path_len] or b"/",
        data[h.query:h.query + h.query_len] if h.has_query else None,
        h.authority[:h.authority_len] if h.authority != NULL else b"", (1, h.minor), _fields(data, &h), h.length,
        FRAMINGS[h.framing], h.content_length if h.framing == BODY_LENGTH else 0, bool(h.keep_alive),
        bool(h.expect_continue), upgrade)


def inspect_response(bytes data not None, bytes method=b"GET"):
    """The response head at the start of data, None when it is incomplete; ProtocolError."""
    cdef Head h
    cdef int status
    h.fields = INSPECTED
    status = parse_response(<const char*> data, len(data), _method(<const char*> method, len(method)), &h)
    if status == PARSE_MORE:
        return None
    if status < 0:
        raise ProtocolError(-status)
    return ResponseInfo(
        h.status, data[h.reason:h.reason + h.reason_len], (1, h.minor), _fields(data, &h), h.length,
        FRAMINGS[h.framing], h.content_length if h.framing == BODY_LENGTH else 0, bool(h.keep_alive))
