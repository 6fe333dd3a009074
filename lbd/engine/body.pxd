# cython: language_level=3
"""Message bodies: where one ends, and its payload without the chunk lines. See body.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lbd.engine.buffer cimport Buffer, buffer_free
from lbd.engine.http1 cimport BODY_LENGTH, Head

cdef enum:
    # results of body_decode
    BODY_ERROR = -1
    BODY_MORE = 0
    BODY_DONE = 1
    CHUNK_LINE_MAX = 4096           # size and extensions of one chunk
    CHUNK_EXTENSIONS_MAX = 65536    # of one body
    TRAILERS_MAX = 8192
    TRAILER_FIELDS_MAX = 64

cdef struct Body:
    uint8_t framing                 # http1.Framing
    uint8_t state                   # of the chunk decoder
    uint8_t digits
    uint32_t line                   # bytes of the present chunk line
    uint32_t extensions             # bytes of extensions so far
    uint64_t remaining              # of the body (BODY_LENGTH) or the present chunk
    uint64_t total                  # payload bytes decoded
    Buffer trailers                 # raw trailer section, CRLFs included


cdef inline void body_init(Body* body, uint8_t framing, uint64_t length) noexcept nogil:
    buffer_free(&body.trailers)
    body.framing = framing
    body.state = 0
    body.digits = 0
    body.line = body.extensions = 0
    body.remaining = length if framing == BODY_LENGTH else 0
    body.total = 0


cdef int body_decode(Body* body, char* p, size_t n, size_t* consumed, size_t* payload) noexcept nogil
cdef bint parse_trailers(Body* body, Head* head) noexcept nogil
