# cython: language_level=3
"""Requests to HTTP/2 endpoints. See http2_client.pyx."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport Buffer
from lbd.engine.exchange cimport Exchange, Upstream
from lbd.engine.http2 cimport Http2Half, Http2Session
from lbd.engine.pool cimport SharedConnection
from lbd.engine.timers cimport Timer


cdef class ClientSession(Http2Session):
    cdef SharedConnection connection
    cdef void* first                # its streams (borrowed; nghttp2 holds a reference to each)
    cdef list beginning             # streams whose response head waits for what came with it
    cdef list resumable             # streams whose kept request bytes have all been sent, or that were closed meanwhile

    cdef ClientStream find(self, int32_t id)
    cdef int begin_all(self) except -1
    cdef int resume_all(self) except -1
    cdef int end_all(self) except -1


cdef class ClientStream(Upstream):
    """One exchange on a connection that it shares."""
    cdef ClientSession session
    cdef Http2Half half             # the request's body
    cdef Buffer head_text           # of the final response, as a head of HTTP/1, until it is handed over
    cdef Buffer inbuf               # response bytes that the client has not taken
    cdef Body body                  # of the response: its trailers
    cdef Timer timer
    cdef void* next                 # in ClientSession.first (borrowed)
    cdef void* prev
    cdef int32_t id
    cdef uint32_t error             # that the stream was closed with
    cdef bint ended                 # END_STREAM has come
    cdef bint begun                 # the response's head has been handed over
    cdef bint opened                # nghttp2 knows it
    cdef bint waits                 # listed in resumable when its bytes are sent

    cdef int take_head(self, bint ended) except -1
    cdef int receive(self, const char* p, size_t n, bint last) except -1
    cdef int end_response(self) except -1
    cdef int closed(self, uint32_t error) except -1
    cdef int begin(self) except -1
    cdef int settle(self) except -1
    cdef bint _submit(self, Exchange x) except -1
    cdef int _pass_informational(self, Exchange x, char* out, size_t n) except -1
    cdef int _pump_first(self, Exchange x) except -1
    cdef int _written(self, Exchange x, int result) noexcept
    cdef int _pump(self, Exchange x) except -1
    cdef void _reset(self, uint32_t code) noexcept
