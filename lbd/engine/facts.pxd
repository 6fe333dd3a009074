# cython: language_level=3
"""Facts: what there is to say about a finished exchange or tunnel, for all who write it down. See facts.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lbd.engine.http1 cimport Head

cdef enum:
    # Observer.wants
    WANTS_REQUEST = 1               # method, target and host
    WANTS_FIELDS = 2                # Referer and User-Agent
    SEEN_MAX = 2048                 # bytes of one text of a client; what is longer is cut


cdef struct Text:
    const char* p
    size_t n


cdef struct Facts:                  # texts and pointers are borrowed: they hold until the end of Observer.take
    uint64_t now_us, started_us     # on the monotonic clock
    uint64_t queue_us, connect_us   # waited for a connection that others use or make; for new connections of its own
    uint64_t first_byte_us          # from the start to the head of the response; 0: there was none of an endpoint
    uint64_t attempt_us             # when the last attempt began
    uint64_t bytes_received, bytes_sent
    uint64_t trace_high, trace_low  # id of the trace, 0 without tracing
    const uint8_t* client           # 16 bytes, IPv4 mapped into IPv6
    const char* request_id          # 32 hexadecimal digits, or NULL
    const char* protocol
    const char* tls                 # version of TLS with the client, or NULL
    Text method, target, host, referer, agent       # without p: not known, or not there
    Text listener, route, cluster, endpoint
    int status                      # 0: none, as of tunnels
    int reason
    int grpc_status                 # -1: none
    bint tunnel                     # TCP, or an upgraded connection
    bint last_is_open               # the last attempt is not in the list of attempts


cdef struct Seen:                   # lengths of the texts that stand one behind the other in Exchange.seen_text
    uint32_t method, target, host, referer, agent
    bint has_host, has_referer, has_agent


cdef class Observer:
    """Base of those who are told of each finished exchange: access log, recorder, tracer."""
    cdef readonly uint32_t wants

    cdef int take(self, const Facts* facts, list attempts) except -1


cdef class Attempt:
    """An attempt that was not the last, or failed."""
    cdef readonly object endpoint               # an Endpoint
    cdef readonly int status, reason
    cdef readonly uint64_t began_us, us


cdef Attempt new_attempt(object endpoint, int status, int reason, uint64_t began_us, uint64_t now_us)
cdef int see(object exchange, const Head* head, uint32_t wants) except -1
cdef int observe_exchange(object exchange) except -1
cdef int observe_tunnel(object tunnel) except -1
cdef Text text_of(str value) noexcept
