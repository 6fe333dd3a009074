# cython: language_level=3
"""Exchange: one request with its response, whatever protocols carry the two sides. See exchange.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport Buffer
from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.facts cimport Seen
from lbd.engine.selection cimport Selection
from lbd.engine.http1 cimport Head
from lbd.engine.listener cimport Guest, Listener
from lbd.engine.pool cimport PooledConnection, Waiter
from lbd.engine.reactor cimport Handler, Reactor, Stream
from lbd.engine.retry cimport RetryPolicy
from lbd.engine.router cimport Respond, Route, Router
from lbd.engine.shared cimport ListenerStats
from lbd.engine.sticky cimport Sticky
from lbd.engine.timers cimport Timer
from lbd.engine.tls cimport ClientIdentity, ServerTls
from lbd.engine.trace_context cimport Trace

cdef enum:
    INLINE_BODY_MAX = 16384         # a whole body up to this size travels, and is replayed, with the head
    INFORMATIONAL_MAX = 16          # 1xx heads that one exchange may pass


cdef class Downstream(Guest):
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
    cdef uint64_t born                      # ms on the wheel's clock: when the connection was accepted

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
    cdef Selection selection                # of the cluster: what the route wants of it
    cdef Endpoint endpoint
    cdef Endpoint pinned                    # the endpoint of the session, or None
    cdef uint64_t session                   # for Cluster.sticky, 0 = none
    cdef bytes own_fields                   # field lines that lbd adds to the response, or None
    cdef RetryPolicy retry                  # or None
    cdef list tried                         # endpoints that failed, None while there is none
    cdef list attempts                      # Attempts of observer.pxd that ended before the exchange did, or None
    cdef Handler alarm                      # an Alarm of attempts.pxd, or None
    cdef Waiter hedge                       # a Hedge of attempts.pxd, or None
    cdef Buffer kept                        # body bytes that have been given away, for another attempt
    cdef char* head                         # request as written for endpoints, with a small body; kept for replay
    cdef uint32_t head_len, head_cap
    cdef uint32_t inline_len                # body bytes behind the head: all of the body, as payload
    cdef uint64_t deadline                  # ms on the wheel's clock (grpc-timeout), 0 = none
    cdef int grpc_status                    # -1: none seen
    cdef bint grpc
    cdef bint http2                         # the client's protocol
    cdef uint64_t started_us, sent_us       # sent_us: when the present attempt began
    cdef uint64_t bytes_received, bytes_sent
    cdef uint64_t pick_key
    cdef Seen seen                          # with seen_text: what observers want to know of the request
    cdef bytes seen_text                    # or None
    cdef Trace trace
    cdef const char* tls                    # version of TLS with the client, or NULL
    cdef uint64_t queue_us, connect_us, first_byte_us   # see Facts
    cdef uint16_t status
    cdef int reason
    cdef uint8_t method, minor
    cdef uint8_t request_framing
    cdef uint8_t retries, informational, refusals
    cdef bint request_done                  # all of the request has been taken from the client
    cdef bint body_given                    # some of its body went to an upstream connection
    cdef bint keeping                       # all of what was given is in `kept`
    cdef bint pausing                       # waits for the end of a back-off
    cdef bint outcome_due                   # the cluster has not been told yet how the attempt ended
    cdef bint response_begun                # the client has seen a final head
    cdef bint keep_alive                    # the client would like to go on
    cdef bint upgrade                       # asked for, and passed on
    cdef bint as_json                       # the client prefers JSON errors
    cdef bint reused                        # the present upstream connection served before
    cdef bint unsent                        # the present connection has taken no byte of it yet
    cdef bint holds_endpoint
    cdef bint waited                        # the present attempt stood in the queue
    cdef bint last_is_open                  # the last attempt is not among `attempts`
    cdef bint replayed
    cdef bint finished
    cdef uint8_t[16] client                 # address for limits and logs
    cdef char[32] request_id

    cdef int grow_head(self, size_t room) except -1
    cdef int take_inline(self, const char* p, size_t n) except -1
    cdef uint64_t within_deadline(self, uint64_t after_ms) noexcept
    cdef uint64_t body_wait(self) noexcept
    cdef bint past_deadline(self) noexcept
    cdef int start(self) except -1
    cdef uint64_t response_wait(self) noexcept
    cdef int _next_endpoint(self) except -1
    cdef int _take(self, Endpoint endpoint) except -1
    cdef int _connect(self) except? -100
    cdef int on_alarm(self) except -1
    cdef void _promote(self, Waiter second)
    cdef bint _hand_over(self, Waiter second)
    cdef int _drop_upstream(self) except -1
    cdef void _tell(self, int outcome) noexcept
    cdef void _end_attempt(self, int status, int reason, int outcome)
    cdef void _release_endpoint(self) noexcept
    cdef bint _is_held(self) noexcept
    cdef bint _is_stale(self) noexcept
    cdef int _retry(self, int cause, int code) except -1
    cdef bint _is_failure(self, int status) noexcept
    cdef int on_response_head(self, Upstream upstream, Head* head, bint whole) except -1
    cdef int _bind_session(self, Sticky sticky) except -1
    cdef void on_switched(self) noexcept
    cdef int on_response_done(self, bint reusable) except -1
    cdef int on_upstream_failed(self, Upstream upstream, int reason, bint silent) except -1
    cdef int on_refused(self, Upstream upstream) except -1
    cdef int on_client_gone(self, int reason) except -1
    cdef int fail(self, int reason) except -1
    cdef int finish(self, bint clean) except -1


cdef Exchange new_exchange(Downstream downstream)
