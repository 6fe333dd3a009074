# cython: language_level=3
"""HTTP/1 towards clients. See downstream_http1.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport Buffer
from lbd.engine.exchange cimport Downstream, Exchange
from lbd.engine.http1 cimport Head
from lbd.engine.reactor cimport Stream

cdef enum:
    D_IDLE = 0              # between exchanges; bytes in inbuf: part of a head
    D_BUSY = 1              # an exchange is under way
    D_LINGER = 2            # the last response is out: reading on, so that it is not lost to a reset


cdef class Http1Downstream(Downstream):
    cdef Exchange exchange
    cdef Buffer inbuf               # read and not yet used: a partial head, body bytes, the next requests
    cdef Body body                  # of the request
    cdef uint32_t lingered          # bytes thrown away in D_LINGER
    cdef uint32_t pending_head      # bytes of the response head that stand in the worker's scratch area
    cdef uint64_t body_started      # ms
    cdef uint8_t state
    cdef uint8_t framing            # of the response being written
    cdef bint served                # a request has been read on it
    cdef bint close_after           # the connection ends with this response
    cdef bint body_unread           # the answer came before the end of the request
    cdef bint unparsed              # inbuf may hold a whole head that nobody has looked at
    cdef bint in_loop               # guards against recursion through responses made at once

    cdef int _read_head(self) except -1
    cdef bint _worth_parsing(self, const char* fresh, size_t n, size_t old) noexcept
    cdef int _take_head(self, char* p, size_t n, bint* more) except -1
    cdef bint _is_preface(self, const char* p, size_t n) noexcept
    cdef int _become_http2(self, const char* p, size_t n, bint* more) except -1
    cdef int _begin(self, Head* head, char* p, size_t n) except -1
    cdef Exchange _open(self, const Head* head)
    cdef bytes _own_fields(self, Exchange x, const Head* head)
    cdef int _take_body(self, Exchange x, Head* head, char* p, size_t n) except -1
    cdef void _watch_body(self) noexcept
    cdef int _pump(self, Exchange x) except -1
    cdef int _written(self, int result) noexcept
    cdef int _refuse(self, int reason) except -1
    cdef int _after_response(self) except -1
    cdef void _linger(self)
    cdef int _read_lingering(self) except -1
    cdef void _end(self, bint reset) noexcept
