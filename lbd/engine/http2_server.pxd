# cython: language_level=3
"""Requests of HTTP/2 clients. See http2_server.pyx."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport Buffer
from lbd.engine.exchange cimport Downstream, Exchange
from lbd.engine.http1 cimport Head
from lbd.engine.http2 cimport Http2Half, Http2Session
from lbd.engine.reactor cimport Stream
from lbd.engine.timers cimport Timer
from lbd.engine.tunnel_http2 cimport StreamTunnel


cdef class ServerSession(Http2Session):
    cdef Downstream connection
    cdef void* first                # its streams (borrowed; nghttp2 holds a reference to each)
    cdef list starting              # streams whose exchange starts when all received frames have been handled
    cdef list resumable             # streams whose kept body bytes have all been sent
    cdef bint in_head               # a head is incomplete

    cdef ServerStream find(self, int32_t id)
    cdef int trailers(self, int32_t id) except -1
    cdef int start_all(self) except -1
    cdef int resume_all(self) except -1


cdef class ServerStream(Downstream):
    """One request on an HTTP/2 connection."""
    cdef ServerSession session
    cdef Http2Half half             # the response
    cdef Exchange exchange
    cdef StreamTunnel tunnel        # after a successful extended CONNECT
    cdef Buffer inbuf               # request body bytes that the endpoint has not taken
    cdef Body body                  # of the request: its total and its trailers
    cdef Timer timer
    cdef uint64_t body_started      # ms
    cdef void* next                 # in ServerSession.first (borrowed)
    cdef void* prev
    cdef int32_t id
    cdef bint ended                 # the client has sent END_STREAM
    cdef bint started               # the exchange is on its way
    cdef bint bodiless              # the response is all in its head
    cdef bint answered              # the head of the response has been handed over
    cdef size_t waits_for_endpoint  # bytes that the tunnel has buffered, not consumed for flow control
    cdef bint failed                # closed with an error
    cdef bint waits                 # listed in resumable when its bytes are sent

    cdef void join(self, ServerSession session, int32_t id)
    cdef int take(self, bint ended) except -1
    cdef int start(self) except -1
    cdef int receive(self, const char* p, size_t n) except -1
    cdef int end_request(self) except -1
    cdef int refuse(self, int reason) except -1
    cdef int closed(self, uint32_t error) except -1
    cdef int _let_go(self, bint failed) except -1
    cdef int _parse(self, bint ended, int* reason) except -1
    cdef int _inline_body(self, Exchange x) except -1
    cdef void _consume(self, size_t n) noexcept
    cdef void _watch_body(self) noexcept
    cdef void _watch_call(self, Exchange x) noexcept
    cdef uint64_t _sooner(self, uint64_t after_ms) noexcept
    cdef int _pump(self, Exchange x) except -1
    cdef int _feed_tunnel(self) except -1
    cdef int _submit(self, Exchange x, const Head* head, const char* status) except -1
    cdef int _written(self, int result) noexcept
    cdef int _answer_grpc(self, Exchange x, int reason) except -1
