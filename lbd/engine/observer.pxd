# cython: language_level=3
"""Observers: who is told of finished exchanges and tunnels, and what they are told. See observer.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lbd.engine.http1 cimport Head
from lbd.engine.trace_context cimport Trace

cdef enum:
    TRACE_ROOM = 512                # bytes that the fields of a trace take in a head, the name of the route apart
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
    const Trace* trace              # NULL without tracing
    void* endpoint_object           # borrowed Endpoint of the last attempt, or None
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


cdef class Observer:
    """Base of those who are told of each finished exchange: access log, recorder, tracer."""
    cdef readonly uint32_t wants

    cdef int take(self, const Facts* facts, list attempts) except -1


cdef class Tracing(Observer):
    """Base of the tracer: it has a part in requests as well."""
    cdef readonly bint id_fields    # X-Trace-ID and its kin are written, too

    cdef void begin(self, Trace* trace, const Head* head, bint trusted) noexcept
    cdef void next_attempt(self, Trace* trace, char* head) noexcept
    cdef uint32_t write_fields(self, char* head, uint32_t n, Trace* trace, str route) noexcept


cdef class Attempt:
    """An attempt that was not the last, or failed."""
    cdef readonly object endpoint               # an Endpoint
    cdef readonly int status, reason
    cdef readonly uint64_t began_us, us, span   # span: 0 without tracing


cdef Attempt new_attempt(object endpoint, int status, int reason, uint64_t began_us, uint64_t now_us, uint64_t span)
cdef Text text_of(str value) noexcept
