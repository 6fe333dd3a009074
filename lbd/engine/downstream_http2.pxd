# cython: language_level=3
"""HTTP/2 towards clients: the connection. See downstream_http2.pyx."""

from libc.stdint cimport uint32_t

from lbd.engine.exchange cimport Downstream
from lbd.engine.http2_server cimport ServerSession


cdef class Http2Downstream(Downstream):
    """A client's connection."""
    cdef ServerSession session
    cdef uint32_t lingered
    cdef int watching               # what the timer stands for, see _watch
    cdef bint closing               # reading on for a moment, so that the last frames arrive
    cdef bint leaving               # GOAWAY is out; what is under way may finish

    cdef int open(self) except -1
    cdef int feed(self, const char* p, size_t n) except -1
    cdef int _read(self) except -1
    cdef int _read_lingering(self) except -1
    cdef void _drop_streams(self, int reason)
    cdef void _watch(self) noexcept
    cdef int _leave(self) except -1
    cdef int _finish(self, int reason) except -1
    cdef int _end(self, int reason) except -1
