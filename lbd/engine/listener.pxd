# cython: language_level=3
"""Listener: what the connections of one accepting socket share. See listener.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from lbd.engine.cluster cimport Cluster
from lbd.engine.http1 cimport Limits
from lbd.engine.reactor cimport Handler, Reactor
from lbd.engine.router cimport Respond, Route, Router
from lbd.engine.shared cimport ListenerStats
from lbd.engine.tls cimport ServerTls

cdef enum:
    HEAD_BLOCK = 2048               # a request head that fits is kept in a block of the worker's free list


cdef enum:                          # what is under way on a connection
    KIND_REQUEST = 1
    KIND_WEBSOCKET = 2
    KIND_TCP = 4


cdef struct Http2Limits:                # see ListenerHttp2 in the schema
    bint off
    uint32_t streams, window, header_table, continuations, settings, pending_acks, resets, glitches


cdef class Guest(Handler):
    """A client's connection, as far as its listener is concerned."""
    cdef void* listed_prev                  # in Listener.first
    cdef void* listed_next

    cdef int start_drain(self) except -1
    cdef int close_idle(self, bint fresh) except -1
    cdef int websockets(self) noexcept
    cdef int go_away(self) except -1
    cdef int cut(self, int kinds) except -1


cdef class Listener:
    """What connections of one configured listener share."""
    cdef readonly str name
    cdef readonly Reactor reactor
    cdef public Router router               # swapped by a reload
    cdef readonly Cluster cluster           # tcp mode
    cdef readonly object access_log         # an Observer of observer.pxd, or None; as the next two
    cdef readonly object recorder
    cdef readonly object tracer             # a Tracer of trace.pxd
    cdef ListenerStats* stats               # of this worker
    cdef int worker, workers                # its place among the records of all workers
    cdef size_t stats_step
    cdef Limits limits
    cdef int64_t body_limit
    cdef uint32_t max_connections
    cdef uint64_t head_ms, body_ms, idle_ms, write_ms, tunnel_ms
    cdef int path_mode                      # path.PATH_NORMALIZE, ...
    cdef bytes trusted                      # network table
    cdef bytes proxy_sources                # network table of those that send a PROXY header, or None
    cdef readonly ServerTls tls             # or None
    cdef bytes hsts                         # field line for responses over TLS, or None
    cdef bint rfc7239                       # write Forwarded beside the X-Forwarded fields
    cdef Respond redirect                   # answers everything with the way to https, or None
    cdef public dict well_known             # path -> body of ACME challenges under way, or None
    cdef uint64_t handshake_ms
    cdef public object on_refused           # called with (listener, client, reason, why), or None
    cdef Http2Limits http2
    cdef frozenset trailers
    cdef bytes authority                    # for HTTP/1.0 requests without Host
    cdef public bint draining
    cdef readonly Route unrouted            # stands for the route of requests that reach none
    cdef uint32_t body_rate                 # bytes per second that a request body must keep up on average; 0 = any
    cdef readonly bint observed             # somebody is told of finished exchanges and tunnels
    cdef uint32_t wants                     # what observers want to know of requests: WANTS_* of observer.pxd
    cdef void* first                        # list of its Guests (borrowed; each unlinks itself)
    cdef uint32_t n_connections
    cdef bint paused                        # not accepting: no free slot, fd or memory
    cdef list acceptors                     # Streams of its listening sockets
    cdef void** blocks                      # free list of HEAD_BLOCKs
    cdef int n_blocks

    cdef void enlist(self, Guest connection) noexcept
    cdef void delist(self, Guest connection) noexcept
    cdef bint is_full(self) noexcept
    cdef int resume_accept(self) except -1
    cdef char* take_block(self) noexcept
    cdef void return_block(self, char* block) noexcept
    cdef bint trusts(self, const uint8_t* address) noexcept
