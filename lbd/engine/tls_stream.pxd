# cython: language_level=3
"""The stream that encrypts. See tls_stream.pyx."""

from lbd.engine.buffer cimport Buffer
from lbd.engine.openssl cimport SSL, SSL_CTX
from lbd.engine.reactor cimport Stream
from lbd.engine.sys cimport ssize_t

cdef enum:
    # results of handshake()
    HANDSHAKE_FAILED = -1
    HANDSHAKE_AGAIN = 0
    HANDSHAKE_DONE = 1


cdef class TlsStream(Stream):
    cdef SSL* ssl
    cdef object owner               # ServerTls or ClientTls: keeps what callbacks point to
    cdef Buffer held                # records that go out with the next write
    cdef bint corked                # records are held
    cdef bint drained               # the kernel has no more bytes now
    cdef bint eof                   # the peer has closed its side without, or after, telling so
    cdef bint shaken                # the handshake is done
    cdef bint acme                  # its ClientHello offers acme-tls/1
    cdef bint told                  # our close_notify is out

    cdef int handshake(self) noexcept
    cdef bint _more(self) noexcept
    cdef ssize_t _not_read(self, int why) noexcept
    cdef void _tell(self) noexcept
    cdef str failure(self)
    cdef bytes peer_certificate(self)
    cdef const char* server_name(self) noexcept
    cdef int alpn(self, const unsigned char** name) noexcept


cdef int load_tls() except -1
cdef int attach_tls(TlsStream stream, SSL_CTX* ctx, object owner) except -1
