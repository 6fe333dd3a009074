# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What comes before the protocol on a client's connection: the PROXY header, then the TLS handshake.

    accepted -> [PROXY header of a listed source] -> [TLS: SNI, client certificate, ALPN] -> HTTP/1 | HTTP/2 | tunnel

One deadline covers both; bytes do not extend it. Whatever goes wrong costs this connection alone: it is counted by
reason and closed (a failed handshake after OpenSSL's alert), and said in the log at debug level only, because any
scanner can cause it.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

cimport cython

from lbd.engine cimport sys as c
from lbd.engine.downstream_http1 cimport Http1Downstream
from lbd.engine.downstream_http2 cimport Http2Downstream
from lbd.engine.exchange cimport Downstream
from lbd.engine.forwarded cimport format_address
from lbd.engine.openssl cimport SSL_R_CERTIFICATE_VERIFY_FAILED, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, openssl
from lbd.engine.proxy_protocol cimport PROXY_MORE, ProxyInfo, parse_proxy
from lbd.engine.reactor cimport Stream
from lbd.engine.reasons cimport (
    R_BAD_PROXY_HEADER, R_CERTIFICATE_REFUSED, R_HANDSHAKE_FAILED, R_HANDSHAKE_TIMEOUT, R_UNKNOWN_SNI, reason_code,
)
from lbd.engine.sys cimport ssize_t
from lbd.engine.tls_stream cimport HANDSHAKE_AGAIN, HANDSHAKE_DONE, TlsStream
from lbd.engine.tunnel cimport Tunnel, TunnelClient

cdef enum:
    PEEK = 4096 + 16            # a PROXY header fits, see proxy_protocol.pyx
    SSL_R_CALLBACK_FAILED = 234
    REASON_MASK = 0x7fffff      # of an OpenSSL error code


@cython.no_gc
@cython.final
cdef class Greeting(Downstream):

    def __repr__(self):
        return f"<Greeting {self.peer_text[:self.peer_text_len].decode()}>"

    cdef int on_readable(self, Stream stream) except -1:
        if self.wants_proxy:
            self._read_proxy(stream)
            if self.wants_proxy or stream.closed:
                return 0
        if self.secure:
            return self._shake(<TlsStream> stream)
        return self._go_on(stream)

    cdef int on_writable(self, Stream stream) except -1:
        stream.flush()
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        return self._refuse(R_HANDSHAKE_TIMEOUT, "no handshake in time")

    cdef int on_fault(self, Stream stream) except -1:
        return self._refuse(R_HANDSHAKE_FAILED, "internal error")

    cdef int close_idle(self, bint fresh) except -1:
        if fresh and not self.heard:
            self.listener.delist(self)
            self.stream.close()
        return 0

    cdef int _read_proxy(self, Stream stream) except -1:
        """Look at what is there without taking it: what follows the header belongs to TLS or to the protocol."""
        cdef ProxyInfo info
        cdef char* p = stream.reactor.rbuf
        cdef ssize_t got = c.recv(stream.fd, p, PEEK, c.MSG_PEEK)
        cdef int used
        if got < 0 and c.errno == c.EAGAIN:
            return 0
        if got <= 0:
            return self._refuse(R_BAD_PROXY_HEADER, "closed before its PROXY header")
        self.heard = True
        used = parse_proxy(p, <size_t> got, &info)
        if used == PROXY_MORE and not stream.hangup:
            return 0
        if used <= 0:
            return self._refuse(R_BAD_PROXY_HEADER, "not a PROXY header")
        c.recv(stream.fd, p, <size_t> used, 0)
        self.wants_proxy = False
        if info.family == 4 or info.family == 6:
            memcpy(self.peer, info.source, 16)
            memcpy(self.local, info.destination, 16)
            self.peer_port = info.source_port
            self.local_port = info.destination_port
            self.peer_text_len = <uint8_t> format_address(self.peer, self.peer_text)
        return 0

    cdef int _shake(self, TlsStream stream) except -1:
        cdef int state = stream.handshake()
        self.heard = True
        if state == HANDSHAKE_AGAIN:
            return 0
        if state != HANDSHAKE_DONE:
            return self._failed(stream)
        self.listener.stats.handshakes += 1
        self.listener.stats.resumed += openssl.SSL_session_reused(stream.ssl)
        if self.listener.tls.asks_certificate:
            der = stream.peer_certificate()
            if der is not None:
                self.identity = self.listener.tls.identify(der)
        return self._go_on(stream)

    cdef int _failed(self, TlsStream stream) except -1:
        """Sort the failure, for the metric, by what OpenSSL says of it."""
        cdef unsigned long code = openssl.ERR_peek_last_error() & REASON_MASK
        cdef int reason = R_HANDSHAKE_FAILED
        if code == SSL_R_CERTIFICATE_VERIFY_FAILED or code == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            reason = R_CERTIFICATE_REFUSED
        elif code == SSL_R_CALLBACK_FAILED:
            reason = R_UNKNOWN_SNI
        return self._refuse(reason, stream.failure())

    cdef int _go_on(self, Stream stream) except -1:
        """Hand the connection to the protocol that was agreed on."""
        cdef const unsigned char* name = NULL
        cdef int n = 0
        if self.secure:
            n = (<TlsStream> stream).alpn(&name)
            if n == 10 and memcmp(name, b"acme-tls/1", 10) == 0:        # the certificate was all that it is about
                self.listener.delist(self)
                stream.close()
                return 0
        begin_protocol(self, n == 2 and memcmp(name, b"h2", 2) == 0, self.tcp)
        if stream.readable and not stream.closed:
            stream.handler.on_readable(stream)
        if not stream.closed and not stream.readable:
            stream.uncork()             # the client asks nothing yet: let it have its session tickets
        return 0

    cdef int _refuse(self, int reason, str why) except -1:
        self.listener.stats.reasons[reason] += 1
        if self.listener.on_refused is not None:
            self.listener.on_refused(self.listener.name, self.peer_text[:self.peer_text_len].decode(),
                                     reason_code(reason).decode(), why)
        self.listener.delist(self)
        self.stream.close()
        return 0


cdef int begin_protocol(Downstream old, bint http2, bint tcp) except -1:
    """Put the protocol's Downstream in the place of the one that found it out."""
    cdef Stream stream = old.stream
    cdef Http1Downstream http
    cdef Http2Downstream h2
    cdef TunnelClient client
    if tcp:
        client = TunnelClient.__new__(TunnelClient)
        client.take_over(old)
        stream.set_timer(0)
        return (<Tunnel> Tunnel.__new__(Tunnel)).start(client)
    if http2:
        h2 = Http2Downstream.__new__(Http2Downstream)
        h2.take_over(old)
        return h2.open()
    http = Http1Downstream.__new__(Http1Downstream)
    http.take_over(old)
    stream.set_timer(http.listener.head_ms)
    return 0
