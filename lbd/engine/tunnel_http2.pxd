# cython: language_level=3
"""A WebSocket that a client carries on an HTTP/2 stream. See tunnel_http2.pyx."""

from libc.stdint cimport uint64_t

from lbd.engine.exchange cimport Exchange
from lbd.engine.listener cimport Listener
from lbd.engine.http2 cimport Http2Half
from lbd.engine.pool cimport PooledConnection
from lbd.engine.reactor cimport Stream
from lbd.engine.websocket cimport Frames


cdef class StreamTunnel(PooledConnection):
    cdef Http2Half half             # towards the client
    cdef Exchange exchange
    cdef Listener listener
    cdef uint64_t idle_ms
    cdef Frames frames              # those that the endpoint sends
    cdef bint shut                  # the endpoint has been told that the client is done
    cdef bint ended                 # the endpoint is done

    cdef int adopt(self, Exchange x, Http2Half half, const char* rest, size_t n) except -1
    cdef int take(self, const char* p, size_t n) except -1
    cdef int shut_up(self) except -1
    cdef int resume(self) except -1
    cdef int _pass_down(self, char* p, size_t n) except -100
    cdef int go_away(self) except -1
    cdef int end(self, bint reset) except -1
