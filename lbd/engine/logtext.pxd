# cython: language_level=3
"""Text of log lines: numbers, durations, and bytes of clients made harmless. Callers have made room."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from lbd.engine.observer cimport Text

cdef enum:
    ESCAPED = 6                     # bytes that one byte of a text becomes, at most


cdef inline char* put(char* out, const char* text) noexcept nogil:
    cdef size_t n = strlen(text)
    memcpy(out, text, n)
    return out + n


cdef inline char* put_number(char* out, uint64_t value) noexcept nogil:
    cdef char[24] digits
    cdef int n = 0
    while True:
        digits[n] = c'0' + <char> (value % 10)
        n += 1
        value //= 10
        if value == 0:
            break
    while n:
        n -= 1
        out[0] = digits[n]
        out += 1
    return out


cdef inline char* put_seconds(char* out, uint64_t us) noexcept nogil:
    """Seconds with six decimals."""
    cdef int i
    cdef uint64_t rest = us % 1000000
    out = put_number(out, us // 1000000)
    out[0] = c'.'
    for i in range(6, 0, -1):
        out[i] = c'0' + <char> (rest % 10)
        rest //= 10
    return out + 7


cdef inline void put_hex(char* out, uint64_t value) noexcept nogil:
    """Sixteen lower-case digits."""
    cdef const char* digits = b"0123456789abcdef"
    cdef int i
    for i in range(15, -1, -1):
        out[i] = digits[value & 15]
        value >>= 4


cdef inline bint _are_plain(uint64_t eight) noexcept nogil:
    """Is none of eight bytes a control byte, a quote, a backslash, DEL or past ASCII? By subtraction in all at once:
    what a byte borrows from the next only matters when it has itself been found."""
    cdef uint64_t ones = 0x0101010101010101ULL
    return ((eight | (eight - ones * 0x20) | ((eight ^ ones * 0x22) - ones) | ((eight ^ ones * 0x5c) - ones)
             | ((eight ^ ones * 0x7f) - ones)) & ones * 0x80) == 0


cdef inline char* _put_code(char* out, uint32_t code) noexcept nogil:
    """A code point below 2^16 as \\uXXXX."""
    cdef const char* hexadecimal = b"0123456789abcdef"
    out[0] = c'\\'
    out[1] = c'u'
    out[2] = hexadecimal[code >> 12 & 15]
    out[3] = hexadecimal[code >> 8 & 15]
    out[4] = hexadecimal[code >> 4 & 15]
    out[5] = hexadecimal[code & 15]
    return out + 6


cdef inline size_t _sequence(const uint8_t* p, size_t n, uint32_t* code) noexcept nogil:
    """Length of the UTF-8 sequence at p (RFC 3629 4), 0 when there is none; p[0] is past ASCII."""
    cdef size_t length, i
    cdef uint32_t least
    if 0xc2 <= p[0] <= 0xdf:
        length, least, code[0] = 2, 0x80, p[0] & 0x1f
    elif 0xe0 <= p[0] <= 0xef:
        length, least, code[0] = 3, 0x800, p[0] & 0x0f
    elif 0xf0 <= p[0] <= 0xf4:
        length, least, code[0] = 4, 0x10000, p[0] & 0x07
    else:
        return 0
    if n < length:
        return 0
    for i in range(1, length):
        if p[i] & 0xc0 != 0x80:
            return 0
        code[0] = code[0] << 6 | p[i] & 0x3f
    if code[0] < least or code[0] > 0x10ffff or 0xd800 <= code[0] <= 0xdfff:
        return 0
    return length


cdef inline char* _put_past_ascii(char* out, const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """A sequence of UTF-8 as it is, unless terminals act on it (C1, separators, turns of direction); else one byte."""
    cdef uint32_t code = 0
    cdef size_t length = _sequence(p, n, &code)
    used[0] = length if length else 1
    if length == 0:
        return _put_code(out, p[0])
    if code < 0xa0 or 0x2028 <= code <= 0x202e or 0x2066 <= code <= 0x2069:
        return _put_code(out, code)
    memcpy(out, p, length)
    return out + length


cdef inline char* put_escaped(char* out, const char* text, size_t n, bint ascii) noexcept nogil:
    """Text inside quotes, for JSON and combined alike: at most n * ESCAPED bytes. Bytes that are no UTF-8, and with ascii
    all past ASCII, are written as if they were Latin-1."""
    cdef const uint8_t* p = <const uint8_t*> text
    cdef uint64_t eight
    cdef size_t used
    while n:
        if n >= 8:
            memcpy(&eight, p, 8)
            if _are_plain(eight):
                memcpy(out, p, 8)
                out += 8
                p += 8
                n -= 8
                continue
        used = 1
        if p[0] == c'"' or p[0] == c'\\':
            out[0] = c'\\'
            out[1] = <char> p[0]
            out += 2
        elif p[0] < 0x20 or p[0] == 0x7f or (p[0] >= 0x80 and ascii):
            out = _put_code(out, p[0])
        elif p[0] >= 0x80:
            out = _put_past_ascii(out, p, n, &used)
        else:
            out[0] = <char> p[0]
            out += 1
        p += used
        n -= used
    return out


cdef inline char* put_text(char* out, const Text* text, bint ascii, size_t longest) noexcept nogil:
    return put_escaped(out, text.p, min(text.n, longest), ascii) if text.p != NULL else out
