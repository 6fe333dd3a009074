# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Facts of finished exchanges and tunnels: gathered once, given to everybody who writes them down.

Strategy: while nobody observes a listener nothing is gathered. Else the few texts of a request that are wanted are
copied when its head is at hand, one small object per exchange; names are read in place. Observers format or copy at
once, in C, and keep no pointer.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from lbd.engine.exchange cimport Exchange
from lbd.engine.fields cimport find_field
from lbd.engine.http1 cimport Head
from lbd.engine.listener cimport Listener
from lbd.engine.observer cimport SEEN_MAX, WANTS_FIELDS, Facts, Observer, Text, text_of
from lbd.engine.reasons cimport R_NONE
from lbd.engine.sys cimport monotonic_us
from lbd.engine.tunnel cimport Tunnel

cdef enum:
    METHOD_MAX = 32


# the request, while its head is at hand --------------------------------------------------------------------------

cdef inline uint32_t _cut(size_t n) noexcept:
    return <uint32_t> min(n, <size_t> SEEN_MAX)


cdef uint32_t _find(const Head* head, const char* name, size_t n, bint* there, const char** p) noexcept:
    cdef int at = find_field(head, name, n, 0)
    there[0] = at >= 0
    if at < 0:
        return 0
    p[0] = head.base + head.fields[at].value
    return _cut(head.fields[at].value_len)


cdef int see(object exchange, const Head* head, uint32_t wants) except -1:
    """Keep the texts that observers want."""
    cdef Exchange x = <Exchange> exchange
    cdef Seen* seen = &x.seen
    cdef const char* referer = NULL
    cdef const char* agent = NULL
    cdef char* out
    seen.method = min(head.method_len, <uint32_t> METHOD_MAX)
    seen.target = _cut(head.target_len)
    seen.has_host = head.authority != NULL
    seen.host = _cut(head.authority_len) if seen.has_host else 0
    if wants & WANTS_FIELDS:
        seen.referer = _find(head, b"referer", 7, &seen.has_referer, &referer)
        seen.agent = _find(head, b"user-agent", 10, &seen.has_agent, &agent)
    x.seen_text = PyBytes_FromStringAndSize(NULL, seen.method + seen.target + seen.host + seen.referer + seen.agent)
    out = <char*> x.seen_text
    memcpy(out, head.base, seen.method)
    memcpy(out + seen.method, head.base + head.target, seen.target)
    out += seen.method + seen.target
    if seen.host:
        memcpy(out, head.authority, seen.host)
    if seen.referer:
        memcpy(out + seen.host, referer, seen.referer)
    if seen.agent:
        memcpy(out + seen.host + seen.referer, agent, seen.agent)
    return 0


cdef inline Text _text(const char* p, size_t n) noexcept:
    cdef Text text
    text.p = p
    text.n = n
    return text


cdef void _say_request(Facts* facts, Exchange x) noexcept:
    cdef const Seen* seen = &x.seen
    cdef const char* p
    if x.seen_text is None:
        return
    p = <const char*> x.seen_text
    facts.method = _text(p, seen.method)
    p += seen.method
    facts.target = _text(p, seen.target)
    p += seen.target
    if seen.has_host:
        facts.host = _text(p, seen.host)
    p += seen.host
    if seen.has_referer:
        facts.referer = _text(p, seen.referer)
    p += seen.referer
    if seen.has_agent:
        facts.agent = _text(p, seen.agent)


# the end ---------------------------------------------------------------------------------------------------------

cdef int _tell(Listener listener, const Facts* facts, list attempts) except -1:
    if listener.access_log is not None:
        (<Observer> listener.access_log).take(facts, attempts)
    if listener.recorder is not None:
        (<Observer> listener.recorder).take(facts, attempts)
    if listener.tracer is not None:
        (<Observer> listener.tracer).take(facts, attempts)
    return 0


cdef int observe_exchange(object exchange) except -1:
    """It is over: tell those who observe its listener."""
    cdef Exchange x = <Exchange> exchange
    cdef Facts facts
    memset(&facts, 0, sizeof(facts))
    facts.now_us = monotonic_us()
    facts.started_us = x.started_us
    facts.queue_us = x.queue_us
    facts.connect_us = x.connect_us
    facts.first_byte_us = x.first_byte_us
    facts.attempt_us = x.sent_us
    facts.bytes_received = x.bytes_received
    facts.bytes_sent = x.bytes_sent
    facts.client = x.client
    facts.request_id = x.request_id
    facts.protocol = b"HTTP/2.0" if x.http2 else b"HTTP/1.1" if x.minor else b"HTTP/1.0"
    facts.tls = x.tls
    _say_request(&facts, x)
    facts.listener = text_of(x.listener.name)
    facts.route = text_of(x.route.name)
    if x.endpoint is not None:
        facts.cluster = text_of(x.cluster.name)
        facts.endpoint = text_of(x.endpoint.name)
    facts.status = x.status
    facts.reason = x.reason
    facts.grpc_status = x.grpc_status if x.grpc else -1
    facts.tunnel = x.status == 101
    facts.last_is_open = x.last_is_open
    facts.endpoint_object = <void*> x.endpoint
    if x.trace.high | x.trace.low:
        facts.trace = &x.trace
    return _tell(x.listener, &facts, x.attempts)


cdef int observe_tunnel(object tunnel) except -1:
    """A TCP connection has ended."""
    cdef Tunnel t = <Tunnel> tunnel
    cdef Facts facts
    memset(&facts, 0, sizeof(facts))
    facts.now_us = monotonic_us()
    facts.started_us = t.started_us
    facts.queue_us = t.queue_us
    facts.connect_us = t.connect_us
    facts.attempt_us = t.began_us
    facts.bytes_received = t.up.moved
    facts.bytes_sent = t.down.moved
    facts.client = t.client.peer
    facts.protocol = b"tcp"
    facts.tls = t.tls
    facts.listener = text_of(t.listener.name)
    facts.cluster = text_of(t.cluster.name)
    if t.endpoint is not None:
        facts.endpoint = text_of(t.endpoint.name)
    facts.reason = t.reason
    facts.grpc_status = -1
    facts.tunnel = True
    facts.last_is_open = t.server is not None and t.reason == R_NONE
    return _tell(t.listener, &facts, t.attempts)
