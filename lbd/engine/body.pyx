# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Body framing (RFC 9112 6 and 7), decoded in place.

Strategy: body_decode gets what was read and moves the payload together at the front of the same bytes, so one read
becomes at most one write whatever the sender's chunk sizes; chunk extensions are dropped. It stops behind the last
byte of the message, never reading into the next one.

Rules: a chunk size is 1 to 16 hexadecimal digits; each line ends in CR LF; data is followed by CR LF; extension bytes
are visible characters, blanks and quoted text; all are bounded per line and per body. The trailer section is collected
raw, and checked, for the caller to parse.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memmove

from lbd.engine.buffer cimport buffer_append, buffer_free, buffer_len, buffer_ptr
from lbd.engine.fields cimport parse_field_lines
from lbd.engine.http1 cimport BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, PARSE_DONE, Field, Head
from lbd.engine.path cimport hex_value
from lbd.engine.reasons cimport R_BAD_REQUEST

from lbd.engine.http1 import ProtocolError

cdef enum:
    S_SIZE = 0              # digits of a chunk size
    S_EXTENSION = 1
    S_SIZE_LF = 2
    S_DATA = 3
    S_DATA_CR = 4
    S_DATA_LF = 5
    S_TRAILER_START = 6     # first byte of a trailer line
    S_TRAILER = 7
    S_TRAILER_LF = 8
    S_END_LF = 9
    S_DONE = 10
    S_REFUSED = 11          # malformed: no byte after it is looked at


cdef int _chunk_line_byte(Body* body, uint8_t x) noexcept nogil:
    """One byte of a chunk-size line."""
    cdef int digit
    body.line += 1
    if body.line > CHUNK_LINE_MAX:
        return BODY_ERROR
    if body.state == S_SIZE:
        digit = hex_value(x)
        if digit >= 0:
            body.digits += 1
            if body.digits > 16 or body.remaining >> 59:
                return BODY_ERROR
            body.remaining = body.remaining << 4 | <uint64_t> digit
            return BODY_MORE
        if body.digits == 0:
            return BODY_ERROR
        if x == c'\r':
            body.state = S_SIZE_LF
        elif x == c';':
            body.state = S_EXTENSION
        else:
            return BODY_ERROR               # also blanks before ";": RFC 9112 7.1.1 calls that bad, some read it as the end
        return BODY_MORE
    if body.state == S_EXTENSION:
        body.extensions += 1
        if body.extensions > CHUNK_EXTENSIONS_MAX:
            return BODY_ERROR
        if x == c'\r':
            body.state = S_SIZE_LF
        elif (x < 0x20 and x != c'\t') or x == 0x7f:
            return BODY_ERROR
        return BODY_MORE
    if x != c'\n':                          # S_SIZE_LF
        return BODY_ERROR
    body.line = 0
    body.digits = 0
    body.state = S_DATA if body.remaining else S_TRAILER_START
    return BODY_MORE


cdef Head TRAILERS
cdef Field[TRAILER_FIELDS_MAX] TRAILER_FIELDS
TRAILERS.fields = TRAILER_FIELDS


cdef int _check_trailers(Body* body) noexcept nogil:
    """The section is complete: it must be well-formed, whether or not anybody wants it."""
    if buffer_len(&body.trailers) == 0:
        return BODY_DONE
    if not buffer_append(&body.trailers, b"\r\n", 2) or not parse_trailers(body, &TRAILERS):
        return BODY_ERROR
    return BODY_DONE


cdef int _trailer_byte(Body* body, uint8_t x) noexcept nogil:
    """One byte of the trailer section; lines are checked by the field parser once all is there."""
    if body.state == S_END_LF:
        if x != c'\n':
            return BODY_ERROR
        body.state = S_DONE
        return _check_trailers(body)
    if body.state == S_TRAILER_START and x == c'\r':
        body.state = S_END_LF
        return BODY_MORE
    if buffer_len(&body.trailers) >= TRAILERS_MAX:
        return BODY_ERROR
    if not buffer_append(&body.trailers, <const char*> &x, 1):
        return BODY_ERROR
    if body.state == S_TRAILER_LF:
        if x != c'\n':
            return BODY_ERROR
        body.state = S_TRAILER_START
    elif x == c'\r':
        body.state = S_TRAILER_LF
    elif x == c'\n':
        return BODY_ERROR
    else:
        body.state = S_TRAILER
    return BODY_MORE


cdef int _decode_chunked(Body* body, char* p, size_t n, size_t* consumed, size_t* payload) noexcept nogil:
    cdef size_t at = 0
    cdef size_t out = 0
    cdef size_t take
    cdef int status = BODY_MORE if body.state < S_DONE else BODY_ERROR
    while at < n and status == BODY_MORE:
        if body.state == S_DATA:
            take = n - at
            if take > body.remaining:
                take = <size_t> body.remaining
            if out != at:
                memmove(p + out, p + at, take)
            out += take
            at += take
            body.remaining -= take
            if body.remaining == 0:
                body.state = S_DATA_CR
        elif body.state < S_DATA:
            status = _chunk_line_byte(body, <uint8_t> p[at])
            at += 1
        elif body.state == S_DATA_CR or body.state == S_DATA_LF:
            if p[at] != (c'\r' if body.state == S_DATA_CR else c'\n'):
                status = BODY_ERROR
            body.state = S_DATA_LF if body.state == S_DATA_CR else S_SIZE
            at += 1
        else:
            status = _trailer_byte(body, <uint8_t> p[at])
            at += 1
    if status == BODY_ERROR:
        body.state = S_REFUSED
    consumed[0] = at
    payload[0] = out
    body.total += out
    return status


cdef int body_decode(Body* body, char* p, size_t n, size_t* consumed, size_t* payload) noexcept nogil:
    """Take what belongs to the body from p[:n]: its payload stands at p[:payload] afterwards. BODY_DONE at its end."""
    cdef size_t take
    if body.framing == BODY_CHUNKED:
        return _decode_chunked(body, p, n, consumed, payload)
    if body.framing == BODY_CLOSE:
        consumed[0] = payload[0] = n
        body.total += n
        return BODY_MORE
    take = n
    if body.framing != BODY_LENGTH:
        take = 0
    elif take > body.remaining:
        take = <size_t> body.remaining
    body.remaining -= take
    body.total += take
    consumed[0] = payload[0] = take
    return BODY_DONE if body.framing != BODY_LENGTH or body.remaining == 0 else BODY_MORE


cdef bint parse_trailers(Body* body, Head* head) noexcept nogil:
    """The field lines of a finished trailer section into head; False when they are malformed or too many."""
    if buffer_len(&body.trailers) == 0:
        head.n_fields = 0
        return True
    head.base = buffer_ptr(&body.trailers)
    return parse_field_lines(head.base, 0, buffer_len(&body.trailers), TRAILER_FIELDS_MAX, head) == PARSE_DONE


cdef class ChunkedDecoder:
    """The chunked decoder for Python: tests and fuzzing."""
    cdef Body body
    cdef Field[TRAILER_FIELDS_MAX] fields
    cdef readonly list trailers

    def __cinit__(self):
        body_init(&self.body, BODY_CHUNKED, 0)

    def __dealloc__(self):
        buffer_free(&self.body.trailers)

    def feed(self, bytes data not None):
        """(payload, bytes consumed, done); ProtocolError."""
        cdef bytearray copy = bytearray(data)
        cdef size_t consumed = 0
        cdef size_t payload = 0
        cdef int status = body_decode(&self.body, <char*> copy, len(data), &consumed, &payload)
        if status == BODY_ERROR:
            raise ProtocolError(R_BAD_REQUEST)
        if status == BODY_DONE:
            self._take_trailers()
        return bytes(copy[:payload]), consumed, status == BODY_DONE

    cdef _take_trailers(self):
        cdef Head head
        cdef uint32_t i
        head.fields = self.fields
        self.trailers = []
        parse_trailers(&self.body, &head)
        for i in range(head.n_fields):
            name = head.base[head.fields[i].name:head.fields[i].name + head.fields[i].name_len]
            value = head.base[head.fields[i].value:head.fields[i].value + head.fields[i].value_len]
            self.trailers.append((name, value))
