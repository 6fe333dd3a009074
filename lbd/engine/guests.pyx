# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The open connections of clients, described for people when they ask.

Nothing is kept for it while traffic flows, but when a connection was accepted. A list of many thousands is looked at in
one go, as it may change between two rounds of the loop: only what is wanted is described, and both are bounded.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from lbd.engine cimport sys as c
from lbd.engine.downstream_http1 cimport Http1Downstream
from lbd.engine.downstream_http2 cimport Http2Downstream
from lbd.engine.exchange cimport Downstream, Exchange
from lbd.engine.greeting cimport Greeting
from lbd.engine.http2_server cimport ServerStream
from lbd.engine.listener cimport Guest, Listener
from lbd.engine.matchers cimport in_networks
from lbd.engine.openssl cimport openssl
from lbd.engine.sys cimport monotonic_us
from lbd.engine.tls_stream cimport TlsStream
from lbd.engine.tunnel cimport Tunnel, TunnelClient

from lbd.engine.matchers import network_table

cdef enum:
    MOST_LOOKED_AT = 50000      # connections of a listener, in one go: about 5 ms
    MOST_STREAMS = 8            # of an HTTP/2 connection that are described
    METHOD_MAX = 32

KINDS = ("handshake", "http1", "http2", "websocket", "tcp")


cdef struct TcpInfo:            # as far as it is read here, of struct tcp_info in linux/tcp.h
    char[120] before
    uint64_t bytes_acked
    uint64_t bytes_received


def describe_guests(listeners, int most, *, str kind=None, client=None):
    """Connections of these listeners, at most so many, the newest of each listener first; and whether those are all.

    kind: one of KINDS. client: an address or network."""
    cdef bytes networks = network_table([client]) if client is not None else None
    cdef Listener listener
    cdef Guest guest
    cdef void* at
    cdef int looked
    cdef bint complete = True
    cdef list found = []
    for listener in listeners:
        at = listener.first
        looked = 0
        while at != NULL:
            if looked == MOST_LOOKED_AT:
                complete = False
                break
            looked += 1
            guest = <Guest> at
            at = guest.listed_next
            if kind is not None and _kind(<Downstream> guest) != kind:
                continue
            if networks is not None and not in_networks(
                    <const uint8_t*> <const char*> networks, <size_t> len(networks), (<Downstream> guest).peer):
                continue
            if len(found) == most:
                return found, False
            found.append(_describe(<Downstream> guest))
    return found, complete


cdef str _kind(Downstream guest):
    if isinstance(guest, Http1Downstream):
        return "http1"
    if isinstance(guest, Http2Downstream):
        return "http2"
    if isinstance(guest, TunnelClient):
        if (<TunnelClient> guest).tunnel is None or (<TunnelClient> guest).tunnel.exchange is None:
            return "tcp"
        return "websocket"
    return "handshake"


cdef dict _describe(Downstream guest):
    """Names and units as in the model Connection of admin/connections.py."""
    cdef list exchanges = []
    cdef uint64_t now = guest.listener.reactor.wheel.now
    cdef object streams = None
    cdef TcpInfo info
    cdef bint is_known = _tcp_info(guest, &info)
    if isinstance(guest, Http1Downstream):
        if (<Http1Downstream> guest).exchange is not None:
            exchanges.append(_exchange((<Http1Downstream> guest).exchange))
    elif isinstance(guest, Http2Downstream):
        streams = _streams(<Http2Downstream> guest, exchanges)
    elif isinstance(guest, TunnelClient) and (<TunnelClient> guest).tunnel is not None:
        exchanges.append(_tunnel((<TunnelClient> guest).tunnel))
    return {
        "listener": guest.listener.name,
        "client": guest.peer_text[:guest.peer_text_len].decode(),
        "port": guest.peer_port or None,
        "kind": _kind(guest),
        "tls": _tls(guest),
        "age": (now - guest.born) / 1000.0 if now > guest.born else 0.0,
        "busy": len(exchanges) > 0 or isinstance(guest, Greeting),
        "streams": streams,
        "bytes_received": info.bytes_received if is_known else None,
        "bytes_sent": info.bytes_acked if is_known else None,
        "exchanges": exchanges,
    }


cdef bint _tcp_info(Downstream guest, TcpInfo* info) noexcept:
    cdef c.socklen_t size = sizeof(TcpInfo)
    memset(info, 0, sizeof(TcpInfo))
    return (guest.stream is not None and guest.peer_port != 0
            and c.getsockopt(guest.stream.fd, c.IPPROTO_TCP, c.TCP_INFO, info, &size) == 0 and size == sizeof(TcpInfo))


cdef str _tls(Downstream guest):
    """The version, once it is agreed on."""
    if guest.stream is None or not isinstance(guest.stream, TlsStream) or not (<TlsStream> guest.stream).shaken:
        return None
    return (<const char*> openssl.SSL_get_version((<TlsStream> guest.stream).ssl)).decode()


cdef int _streams(Http2Downstream guest, list exchanges) except -1:
    """How many are open; the newest of them are described."""
    cdef void* at = guest.session.first if guest.session is not None else NULL
    cdef ServerStream stream
    cdef int found = 0
    while at != NULL:
        stream = <ServerStream> at
        at = stream.next
        found += 1
        if len(exchanges) < MOST_STREAMS:
            if stream.tunnel is not None and stream.tunnel.exchange is not None:
                exchanges.append(_exchange(stream.tunnel.exchange))
            elif stream.exchange is not None:
                exchanges.append(_exchange(stream.exchange))
    return found


cdef dict _exchange(Exchange x):
    cdef const char* p = x.head
    cdef size_t n = 0
    while n < x.head_len and n < METHOD_MAX and p[n] != c' ':
        n += 1
    return {
        "request_id": x.request_id[:32].decode("latin-1"),
        "method": p[:n].decode("latin-1") if n else None,
        "route": x.route.name if x.route is not None else None,
        "cluster": x.cluster.name if x.cluster is not None else None,
        "endpoint": x.endpoint.name if x.endpoint is not None else None,
        "seconds": (monotonic_us() - x.started_us) / 1e6,
    }


cdef dict _tunnel(Tunnel tunnel):
    if tunnel.exchange is not None:
        found = _exchange(tunnel.exchange)
        found["endpoint"] = tunnel.endpoint.name if tunnel.endpoint is not None else None
        return found
    return {
        "request_id": None, "method": None, "route": None,
        "cluster": tunnel.cluster.name if tunnel.cluster is not None else None,
        "endpoint": tunnel.endpoint.name if tunnel.endpoint is not None else None,
        "seconds": (monotonic_us() - tunnel.started_us) / 1e6,
    }
