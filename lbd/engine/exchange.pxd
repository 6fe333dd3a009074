# cython: language_level=3
"""Exchange: one request with its response, whatever protocols carry the two sides. See exchange.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from lbd.engine.body cimport Body
from lbd.engine.cluster cimport Cluster, Endpoint
from lbd.engine.http1 cimport Field, Head, Limits
from lbd.engine.pool cimport PooledConnection, Waiter
from lbd.engine.reactor cimport Handler, Reactor, Stream
from lbd.engine.router cimport Respond, Route, Router
from lbd.engine.shared cimport ListenerStats
from lbd.engine.tls cimport ClientIdentity, ServerTls

cdef enum:
    HEAD_BLOCK = 2048               # a request head that fits is kept in a block of the worker's free list
    INLINE_BODY_MAX = 16384         # a whole body up to this size travels, and is replayed, with the head
    INFORMATIONAL_MAX = 16          # 1xx heads that one exchange may pass


cdef struct Http2Limits:                # see ListenerHttp2 in the schema
    bint off
    uint32_t streams, window, header_table, continuations, settings, pending_acks, resets, glitches


cdef class AccessLog:
    cdef bint wants_head                    # fields of the request are in the line

    cdef int record(self, Exchange x) except -1


cdef class Listener:
    """What connections of one configured listener share."""
    cdef readonly str name
    cdef readonly Reactor reactor
    cdef public Router router               # swapped by a reload
    cdef readonly Cluster cluster           # tcp mode
    cdef public AccessLog access_log        # or None
    cdef ListenerStats* stats
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
    cdef bint wants_head                    # the access log needs fields of the request
    cdef void* first                        # list of its Downstreams (borrowed; each unlinks itself)
    cdef uint32_t n_connections
    cdef bint paused                        # not accepting: no free slot, fd or memory
    cdef list acceptors                     # Streams of its listening sockets
    cdef void** blocks                      # free list of HEAD_BLOCKs
    cdef int n_blocks

    cdef void enlist(self, Downstream connection) noexcept
    cdef void delist(self, Downstream connection) noexcept
    cdef int resume_accept(self) except -1
    cdef char* take_block(self) noexcept
    cdef void return_block(self, char* block) noexcept
    cdef bint trusts(self, const uint8_t* address) noexcept


cdef class Downstream(Handler):
    """The client's side of exchanges."""
    cdef Stream stream
    cdef Listener listener
    cdef uint8_t[16] peer                   # IPv4 mapped into IPv6
    cdef char[46] peer_text
    cdef uint8_t peer_text_len
    cdef bint secure                        # over TLS
    cdef uint16_t peer_port
    cdef uint16_t local_port                # with local, from a PROXY header; 0: ask the socket
    cdef uint8_t[16] local
    cdef ClientIdentity identity            # of a verified client certificate, or None
    cdef void* listed_prev                  # in Listener.first
    cdef void* listed_next

    cdef int start_drain(self) except -1
    cdef int begin_response(self, Exchange x, Head* head) except -1
    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100
    cdef int write_informational(self, Exchange x, Head* head) except -1
    cdef Stream splice_sink(self, Exchange x) noexcept
    cdef int resume_request(self, Exchange x) except -1
    cdef int reply(self, Exchange x, int reason) except -1
    cdef int answer(self, Exchange x, int status, bytes fields, bytes body) except -1
    cdef void take_over(self, Downstream old) noexcept
    cdef int become_tunnel(self, Exchange x, Head* head, const char* rest, size_t n) except -1
    cdef int on_finished(self, Exchange x, bint clean) except -1
    cdef void wait(self, uint64_t after_ms) noexcept
    cdef bint is_blocked(self, Exchange x) noexcept


cdef class Upstream(PooledConnection):
    """The endpoint's side of an exchange."""
    cdef Exchange exchange

    cdef int send_request(self, Exchange x) except -100
    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100
    cdef bint is_blocked(self) noexcept
    cdef int resume_response(self, Exchange x) except -1
    cdef int on_request_done(self, Exchange x) except -1
    cdef void detach(self, bint reusable)


cdef class Exchange(Waiter):
    cdef Downstream downstream
    cdef Upstream upstream
    cdef Listener listener
    cdef Route route
    cdef Respond respond                    # answered by lbd itself, in place of a cluster
    cdef Cluster cluster
    cdef Endpoint endpoint
    cdef char* head                         # request as written for endpoints, with a small body; kept for replay
    cdef uint32_t head_len, head_cap
    cdef uint32_t inline_len                # body bytes behind the head: all of the body, as payload
    cdef uint64_t deadline                  # ms on the wheel's clock (grpc-timeout), 0 = none
    cdef int grpc_status                    # -1: none seen
    cdef bint grpc
    cdef bint http2                         # the client's protocol
    cdef uint64_t started_us, sent_us
    cdef uint64_t bytes_received, bytes_sent
    cdef uint64_t pick_key
    cdef bytes raw_head                     # as received, when the access log asks for it
    cdef uint16_t status
    cdef int reason
    cdef uint8_t method, minor
    cdef uint8_t request_framing
    cdef uint8_t connects, informational, refusals
    cdef bint request_done                  # all of the request has been taken from the client
    cdef bint body_given                    # some of its body went to an upstream connection and is not kept
    cdef bint response_begun                # the client has seen a final head
    cdef bint keep_alive                    # the client would like to go on
    cdef bint upgrade                       # asked for, and passed on
    cdef bint as_json                       # the client prefers JSON errors
    cdef bint reused                        # the present upstream connection served before
    cdef bint unsent                        # the present connection has taken no byte of it yet
    cdef bint holds_endpoint
    cdef bint replayed
    cdef bint finished
    cdef uint8_t[16] client                 # address for limits and logs
    cdef char[32] request_id

    cdef int grow_head(self, size_t room) except -1
    cdef int take_inline(self, const char* p, size_t n) except -1
    cdef uint64_t within_deadline(self, uint64_t after_ms) noexcept
    cdef bint past_deadline(self) noexcept
    cdef int start(self) except -1
    cdef int _next_endpoint(self, Endpoint avoid) except -1
    cdef int _connect(self) except? -100
    cdef int _drop_upstream(self) except -1
    cdef void _release_endpoint(self) noexcept
    cdef bint _replayable(self) noexcept
    cdef int on_response_head(self, Head* head) except -1
    cdef int on_response_done(self, bint reusable) except -1
    cdef int on_upstream_failed(self, int reason, bint silent) except -1
    cdef int on_refused(self) except -1
    cdef int on_client_gone(self, int reason) except -1
    cdef int fail(self, int reason) except -1
    cdef int finish(self, bint clean) except -1


cdef Exchange new_exchange(Downstream downstream)
