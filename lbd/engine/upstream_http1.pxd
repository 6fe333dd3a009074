# cython: language_level=3
"""HTTP/1.1 towards endpoints. See upstream_http1.pyx."""

from libc.stdint cimport uint8_t, uint64_t

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport Buffer
from lbd.engine.exchange cimport Exchange, Upstream
from lbd.engine.http1 cimport Field
from lbd.engine.splice cimport Pipe

cdef enum:
    U_HEAD = 0              # the response head is awaited
    U_BODY = 1


cdef class Http1Upstream(Upstream):
    cdef Buffer inbuf               # a partial response head
    cdef Body body                  # of the response
    cdef Pipe pipe
    cdef uint8_t state
    cdef bint keep                  # may serve again after this response
    cdef bint write_failed          # the endpoint reads no more; it may still answer

    cdef bint _looks_dead(self) noexcept
    cdef int _write_request(self, Exchange x) except -100
    cdef void _stop_writing(self)
    cdef uint64_t _body_ms(self, Exchange x) noexcept
    cdef int _read_head(self, Exchange x) except -1
    cdef int _take_head(self, Exchange x, char* p, size_t n) except -1
    cdef int _final_head(self, Exchange x, char* p, size_t n) except -1
    cdef void _take_announcement(self, const Field* field) noexcept
    cdef bint _switched_as_asked(self) noexcept
    cdef int _pump(self, Exchange x) except -1
    cdef int _splice(self, Exchange x, bint* done) except -1
    cdef int _finish_body(self, Exchange x) except -1
    cdef int _broken(self, Exchange x, int reason) except -1
