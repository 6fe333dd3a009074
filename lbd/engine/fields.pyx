# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Field lines of HTTP/1 messages (RFC 9112 5): names, values, and the kinds of field that mean something to a proxy.

Strategy: a table tells the class of each byte; names are walked bytewise up to the colon, values are found by memchr
and checked by a loop that compilers vectorise. Fields that matter get a Kind by length and name; all others stay
untouched byte ranges, which the writer (rewrite.pyx) copies in runs.

Rules: a line ends in CR LF; a name is a token and the colon follows it at once; no obs-fold; no control byte but HT in
a value (RFC 9110 5.5).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr

from lbd.engine.http1 cimport (
    K_CLIENT_CERTIFICATE, K_CONNECTION, K_CONTENT_LENGTH, K_EXPECT, K_FORWARDED, K_FORWARDED_FOR, K_FORWARDED_HOST,
    K_FORWARDED_OTHER, K_FORWARDED_PROTO, K_HOP, K_HOST, K_KEEP_ALIVE, K_PLAIN, K_REQUEST_ID, K_TE, K_TRACE_ID,
    K_TRACEPARENT, K_TRACESTATE, K_TRAILER, K_TRANSFER_ENCODING,
    K_UNDERSCORE, K_UPGRADE, K_VIA, PARSE_DONE, PARSE_MORE, Field, Head,
)
from lbd.engine.reasons cimport R_BAD_REQUEST, R_HEAD_TOO_LARGE


cdef void _fill_class() noexcept:
    cdef int i
    for i in range(256):
        CLASS[i] = 0
        if 0x21 <= i <= 0x7e and i != c'#':
            CLASS[i] |= C_TARGET
    for i in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        CLASS[i] |= C_TOKEN
    for i in b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._":
        CLASS[i] |= C_HOST
    for i in b"0123456789":
        CLASS[i] |= C_DIGIT
    for i in b"0123456789abcdefABCDEF":
        CLASS[i] |= C_HEX
    for i in b'\\"<>':
        CLASS[i] |= C_PATH_BAD
    for i in b"%;":
        CLASS[i] |= C_SUSPECT
    CLASS[c'_'] |= C_UNDERSCORE

_fill_class()


cdef bint same_name(const char* a, const char* lower, size_t n) noexcept nogil:
    """Case-insensitive equality of n bytes; `lower` is a literal of lower-case letters, digits and dashes."""
    cdef size_t i
    cdef uint8_t x
    for i in range(n):
        x = <uint8_t> a[i]
        if c'A' <= x <= c'Z':
            x |= 0x20
        if x != <uint8_t> lower[i]:
            return False
    return True


cdef bint list_has(const char* value, size_t n, const char* lower, size_t m) noexcept nogil:
    """Does a comma-separated list hold this token?"""
    cdef size_t i = 0
    cdef size_t start
    while i < n:
        while i < n and (value[i] == c',' or value[i] == c' ' or value[i] == c'\t'):
            i += 1
        start = i
        while i < n and value[i] != c',' and value[i] != c' ' and value[i] != c'\t' and value[i] != c';':
            i += 1
        if i - start == m and same_name(value + start, lower, m):
            return True
        while i < n and value[i] != c',':
            i += 1
    return False


cdef int find_field(const Head* head, const char* lower, size_t n, int start) noexcept nogil:
    """Index of the first field of that name at or after start, or -1."""
    cdef int i
    for i in range(start, <int> head.n_fields):
        if head.fields[i].name_len == n and same_name(head.base + head.fields[i].name, lower, n):
            return i
    return -1


cdef bint _says_certificate(const char* name, size_t n) noexcept nogil:
    if n >= 13 and same_name(name, b"x-client-cert", 13):
        return n == 13 or name[13] == c'-'
    return (n == 11 or (n > 11 and name[11] == c'-')) and same_name(name, b"client-cert", 11)


cdef uint16_t _classify(const char* name, size_t n) noexcept nogil:
    if n >= 11 and (name[0] | 0x20 == c'c' or name[2] | 0x20 == c'c') and _says_certificate(name, n):
        return K_CLIENT_CERTIFICATE
    if n == 2 and same_name(name, b"te", 2):
        return K_TE
    elif n == 3 and same_name(name, b"via", 3):
        return K_VIA
    elif n == 4 and same_name(name, b"host", 4):
        return K_HOST
    elif n == 5 and same_name(name, b"proxy", 5):          # becomes HTTP_PROXY in CGI programs (CVE-2016-5385)
        return K_HOP
    elif n == 6 and same_name(name, b"expect", 6):
        return K_EXPECT
    elif n == 7:
        if same_name(name, b"trailer", 7):
            return K_TRAILER
        if same_name(name, b"upgrade", 7):
            return K_UPGRADE
    elif n == 9:
        if same_name(name, b"forwarded", 9):
            return K_FORWARDED
        if same_name(name, b"x-real-ip", 9):
            return K_FORWARDED_OTHER
        if same_name(name, b"x-span-id", 9):
            return K_TRACE_ID
    elif n == 10:
        if same_name(name, b"connection", 10):
            return K_CONNECTION
        if same_name(name, b"keep-alive", 10):
            return K_KEEP_ALIVE
        if same_name(name, b"tracestate", 10):
            return K_TRACESTATE
        if same_name(name, b"x-trace-id", 10):
            return K_TRACE_ID
    elif n == 11 and same_name(name, b"traceparent", 11):
        return K_TRACEPARENT
    elif n == 12:
        if same_name(name, b"x-request-id", 12):
            return K_REQUEST_ID
        if same_name(name, b"x-route-name", 12):
            return K_TRACE_ID
    elif n == 14:
        if same_name(name, b"content-length", 14):
            return K_CONTENT_LENGTH
        if same_name(name, b"http2-settings", 14):
            return K_HOP
    elif n == 15 and same_name(name, b"x-forwarded-for", 15):
        return K_FORWARDED_FOR
    elif n == 16:
        if same_name(name, b"x-forwarded-host", 16):
            return K_FORWARDED_HOST
        if same_name(name, b"x-forwarded-port", 16):
            return K_FORWARDED_OTHER
        if same_name(name, b"proxy-connection", 16):
            return K_HOP
        if same_name(name, b"x-parent-span-id", 16):
            return K_TRACE_ID
    elif n == 17:
        if same_name(name, b"transfer-encoding", 17):
            return K_TRANSFER_ENCODING
        if same_name(name, b"x-forwarded-proto", 17):
            return K_FORWARDED_PROTO
    elif n == 18 and same_name(name, b"x-forwarded-server", 18):
        return K_FORWARDED_OTHER
    elif n == 19 and same_name(name, b"proxy-authorization", 19):
        return K_HOP
    return K_PLAIN


cdef bint imitates(const char* name, size_t n) noexcept nogil:
    """Would the name, with - for _, be one that lbd acts on or speaks through? To CGI and WSGI both are the same name."""
    cdef char[64] dashed
    cdef size_t i
    if n > sizeof(dashed):
        return _says_certificate_in_any_spelling(name)
    for i in range(n):
        dashed[i] = c'-' if name[i] == c'_' else name[i]
    return _classify(dashed, n) != K_PLAIN


cdef bint _says_certificate_in_any_spelling(const char* name) noexcept nogil:
    """The only protected names without a longest length begin with X-Client-Cert- or Client-Cert-."""
    cdef char[16] start
    cdef size_t i
    for i in range(sizeof(start)):
        start[i] = c'-' if name[i] == c'_' else name[i]
    return _says_certificate(start, sizeof(start))


cdef bint is_clean(const char* p, size_t n) noexcept nogil:
    """No control byte but HT (RFC 9110 5.5 field-content; obs-text passes)."""
    cdef size_t i
    cdef uint8_t bad = 0
    cdef uint8_t x
    for i in range(n):
        x = <uint8_t> p[i]
        bad |= <uint8_t> ((x < 0x20) & (x != 9)) | <uint8_t> (x == 0x7f)
    return bad == 0


cdef bint is_name(const char* p, size_t n, const char* lower, size_t m) noexcept nogil:
    return n == m and same_name(p, lower, m)


cdef int parse_field_lines(const char* p, size_t at, size_t n, uint32_t max_fields, Head* head) noexcept nogil:
    """Field lines from p[at] to the empty line; fills head.fields and head.length. PARSE_*, or -R_BAD_REQUEST."""
    cdef Field* field
    cdef size_t start, end
    cdef const char* eol
    cdef uint8_t seen
    head.n_fields = 0
    while True:
        if at >= n:
            return PARSE_MORE
        if p[at] == c'\r':
            if at + 1 >= n:
                return PARSE_MORE
            if p[at + 1] != c'\n':
                return -<int> R_BAD_REQUEST
            head.length = <uint32_t> (at + 2)
            return PARSE_DONE
        start = at
        seen = 0
        while at < n and CLASS[<uint8_t> p[at]] & C_TOKEN:
            seen |= CLASS[<uint8_t> p[at]]
            at += 1
        if at >= n:
            return PARSE_MORE
        if p[at] != c':' or at == start or at - start > 65535:
            return -<int> R_BAD_REQUEST
        if head.n_fields >= max_fields:
            return -<int> R_HEAD_TOO_LARGE
        field = &head.fields[head.n_fields]
        field.name = <uint32_t> start
        field.name_len = <uint16_t> (at - start)
        at += 1
        eol = <const char*> memchr(p + at, c'\r', n - at)
        end = n if eol == NULL else <size_t> (eol - p)
        if not is_clean(p + at, end - at):
            return -<int> R_BAD_REQUEST
        if end + 1 >= n:
            return PARSE_MORE
        if p[end + 1] != c'\n':
            return -<int> R_BAD_REQUEST
        start = at
        at = end + 2
        while start < end and (p[start] == c' ' or p[start] == c'\t'):
            start += 1
        while end > start and (p[end - 1] == c' ' or p[end - 1] == c'\t'):
            end -= 1
        field.value = <uint32_t> start
        field.value_len = <uint32_t> (end - start)
        field.kind = K_UNDERSCORE if seen & C_UNDERSCORE else _classify(p + field.name, field.name_len)
        head.n_fields += 1


cdef bint equal_fold(const char* a, const char* b, size_t n) noexcept nogil:
    """Case-insensitive equality of n bytes."""
    cdef size_t i
    cdef uint8_t x, y
    for i in range(n):
        x = <uint8_t> a[i]
        y = <uint8_t> b[i]
        if c'A' <= x <= c'Z':
            x |= 0x20
        if c'A' <= y <= c'Z':
            y |= 0x20
        if x != y:
            return False
    return True
