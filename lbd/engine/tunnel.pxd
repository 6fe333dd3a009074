# cython: language_level=3
"""Two streams joined byte for byte: TCP mode and upgraded connections. See tunnel.pyx."""

from libc.stdint cimport uint64_t

from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.exchange cimport Downstream, Exchange
from lbd.engine.listener cimport Listener
from lbd.engine.pool cimport PooledConnection, Waiter
from lbd.engine.reactor cimport Stream
from lbd.engine.splice cimport Pipe
from lbd.engine.websocket cimport Frames


cdef struct Direction:
    Pipe pipe
    uint64_t moved          # bytes that reached the sink
    bint bulk               # splice: the last reads were long
    int short_splices       # in a row
    bint ended              # the source has ended
    bint shut               # and the sink was told


cdef class TunnelClient(Downstream):
    cdef Tunnel tunnel


cdef class TunnelServer(PooledConnection):
    cdef Tunnel tunnel


cdef class Tunnel(Waiter):
    cdef TunnelClient client
    cdef TunnelServer server
    cdef Listener listener
    cdef Cluster cluster
    cdef Endpoint endpoint
    cdef Exchange exchange          # of an upgraded connection: finished when the tunnel ends
    cdef Direction up, down         # to the endpoint, to the client
    cdef Frames frames              # of an upgraded connection: those that the endpoint sends
    cdef uint64_t idle_ms           # without a byte in either direction
    cdef uint64_t pick_key
    cdef uint64_t began_us          # the present attempt to connect
    cdef uint64_t started_us, queue_us, connect_us      # see Facts
    cdef list attempts              # Attempts of observer.pxd that failed, or None
    cdef const char* tls            # version of TLS with the client, or NULL
    cdef int reason                 # why it ended, when lbd had to end it
    cdef bint waited                # the present attempt stood in the queue
    cdef list tried                 # endpoints that failed, or None
    cdef bint outcome_due
    cdef bint holds_endpoint
    cdef bint over

    cdef int start(self, TunnelClient client) except -1
    cdef int adopt(self, Exchange x, Downstream old, bint broken, const char* early, size_t n) except -1
    cdef int _next_endpoint(self) except -1
    cdef void _tell(self, int outcome)
    cdef int on_event(self) except -1
    cdef int _pump(self, Stream source, Stream sink, Direction* way) except -1
    cdef int _copy(self, Stream source, Stream sink, Direction* way) except -1
    cdef int _splice(self, Stream source, Stream sink, Direction* way) except -1
    cdef int _refused(self, int reason) except -1
    cdef void _release_endpoint(self)
    cdef uint64_t _splice_limit(self, Direction* way) noexcept
    cdef int _pass_down(self, const char* p, size_t n) except -100
    cdef int go_away(self) except -1
    cdef int _say_away(self) except -1
    cdef bint _client_reset(self) noexcept
    cdef int end(self, bint reset) except -1
