# cython: language_level=3
"""HTTP/2 towards endpoints: the connection. See upstream_http2.pyx."""

from libc.stdint cimport uint32_t

from lbd.engine.http2_client cimport ClientSession
from lbd.engine.pool cimport PooledConnection, SharedConnection, Waiter
from lbd.engine.reactor cimport Stream


cdef class Http2Upstream(SharedConnection):
    cdef ClientSession session
    cdef uint32_t streams               # most at a time, as configured
    cdef bint may_be_http1              # what ALPN says decides
    cdef bint settled                   # the endpoint's SETTINGS have come
    cdef bint full                      # it has refused a stream: no more until one has ended
    cdef bint leaving                   # no more exchanges

    cdef bint _agreed_on_http2(self) noexcept
    cdef int _become_http1(self, Waiter waiter) except -1
    cdef int _open(self) except -1
    cdef int _read(self, Stream stream) except -1
    cdef int _end(self) except -1
    cdef void _unlist(self) noexcept
    cdef void _join(self) noexcept
    cdef void _note_end(self) noexcept
    cdef void _rest(self, bint rests) noexcept
