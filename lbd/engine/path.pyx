# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Normal form of a request path (RFC 3986 6.2.2), so that routes match what the endpoint will see.

Percent-encoded unreserved characters are decoded, other escapes get upper-case digits, dot segments are resolved and
runs of slashes merged. What cannot be told apart safely is refused: escapes of control bytes, bad escapes, climbing
above the root, and dot segments that appear only to a reader who decodes %2F or %5C or cuts ";parameters".
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from lbd.engine.http1 cimport Head


cdef int hex_value(uint8_t x) noexcept nogil:
    """Of a hexadecimal digit; -1 for any other byte."""
    if c'0' <= x <= c'9':
        return x - c'0'
    x |= 0x20
    if c'a' <= x <= c'f':
        return x - c'a' + 10
    return -1


cdef bint _unreserved(int x) noexcept nogil:
    return (c'0' <= x <= c'9' or c'a' <= x <= c'z' or c'A' <= x <= c'Z'
            or x == c'-' or x == c'.' or x == c'_' or x == c'~')


cdef int _decode(const char* p, size_t n, char* out, size_t* out_len) noexcept nogil:
    """Escapes to their normal form; output is never longer than input."""
    cdef size_t i = 0
    cdef size_t o = 0
    cdef int high, low, value
    cdef const char* digits = b"0123456789ABCDEF"
    while i < n:
        if p[i] != c'%':
            out[o] = p[i]
            o += 1
            i += 1
            continue
        if i + 2 >= n:
            return PATH_BAD
        high = hex_value(<uint8_t> p[i + 1])
        low = hex_value(<uint8_t> p[i + 2])
        if high < 0 or low < 0:
            return PATH_BAD
        value = high << 4 | low
        if value < 0x20 or value == 0x7f:
            return PATH_BAD
        if _unreserved(value):
            out[o] = <char> value
            o += 1
        else:
            out[o] = c'%'
            out[o + 1] = digits[high]
            out[o + 2] = digits[low]
            o += 3
        i += 3
    out_len[0] = o
    return PATH_SAME


cdef bint _hides_dots(const char* s, size_t n) noexcept nogil:
    """Would a reader who decodes separators or cuts parameters see a dot segment here?"""
    cdef size_t i = 0
    cdef size_t start = 0
    cdef size_t length
    cdef bint at_end
    while i <= n:
        at_end = (i == n or s[i] == c';' or (i + 2 < n and s[i] == c'%' and (
            memcmp(s + i, b"%2F", 3) == 0 or memcmp(s + i, b"%5C", 3) == 0)))
        if at_end:
            length = i - start
            if length <= 2 and length > 0 and s[start] == c'.' and s[start + length - 1] == c'.' and (
                    start > 0 or i < n):
                return True
            if i < n and s[i] == c'%':
                i += 2
            start = i + 1
        i += 1
    return False


cdef int normalise_path(const char* p, size_t n, char* out, size_t* out_len) noexcept nogil:
    """Write the normal form of p[:n] (which begins with "/") to out, room for n + 1 bytes. PATH_SAME, _CHANGED or _BAD."""
    cdef size_t length = 0
    cdef size_t i = 0
    cdef size_t o = 0
    cdef size_t start, m
    cdef bint more = True
    if _decode(p, n, out, &length) == PATH_BAD:
        return PATH_BAD
    while more:                                     # out[i] is "/" or the end; segments move down to out[o]
        i += 1
        start = i
        while i < length and out[i] != c'/':
            i += 1
        m = i - start
        more = i < length
        if m == 0 and more:
            continue
        if m == 1 and out[start] == c'.':
            if more:
                continue
            m = 0
        elif m == 2 and out[start] == c'.' and out[start + 1] == c'.':
            if o == 0:
                return PATH_BAD
            o -= 1
            while out[o] != c'/':
                o -= 1
            if more:
                continue
            m = 0
        elif _hides_dots(out + start, m):
            return PATH_BAD
        out[o] = c'/'
        o += 1
        while m:
            out[o] = out[start]
            o += 1
            start += 1
            m -= 1
    if o == 0:
        out[0] = c'/'
        o = 1
    out_len[0] = o
    return PATH_SAME if o == n and memcmp(out, p, n) == 0 else PATH_CHANGED


cdef int path_of(const Head* head, int mode, char* room, const char** path, size_t* path_len) noexcept nogil:
    """The path that routes match and endpoints get: where it stands (in room when PATH_CHANGED), or PATH_BAD."""
    cdef int status
    path[0] = head.base + head.path
    path_len[0] = head.path_len
    if head.path_len == 0:
        path[0] = b"/"
        path_len[0] = 1
        return PATH_SAME
    if head.path_plain:
        return PATH_SAME
    if head.path_len >= PATH_ROOM:
        return PATH_BAD
    status = normalise_path(head.base + head.path, head.path_len, room, path_len)
    if status == PATH_CHANGED and mode == PATH_REJECT:
        return PATH_BAD
    if status == PATH_CHANGED and mode == PATH_NORMALIZE:
        path[0] = room
        return PATH_CHANGED
    path_len[0] = head.path_len
    return PATH_BAD if status == PATH_BAD else PATH_SAME


def normal_path(bytes path):
    """The normal form of a path, or None when it is refused (for tests and explain)."""
    cdef bytearray out = bytearray(len(path) + 1)
    cdef size_t length = 0
    if not path.startswith(b"/"):
        return None
    if normalise_path(<const char*> path, len(path), <char*> out, &length) == PATH_BAD:
        return None
    return bytes(out[:length])
