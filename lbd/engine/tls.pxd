# cython: language_level=3
"""TLS contexts: certificates, SNI, ALPN. See tls.pyx."""

from lbd.engine.openssl cimport SSL, SSL_CTX
from lbd.engine.tls_stream cimport TlsStream


cdef class Context:
    """An SSL_CTX."""
    cdef SSL_CTX* ctx

    cdef int set_up(self, bint server, str min_version, str ciphers, bytes alpn) except -1
    cdef int use_certificate(self, bytes chain, bytes key) except -1
    cdef int trust(self, bytes ca, bint announce) except -1


cdef class ServerTls:
    cdef readonly str name
    cdef Context base               # no certificate; makes the SSL objects
    cdef str min_version, ciphers
    cdef readonly bytes alpn        # as on the wire
    cdef bint strict_sni
    cdef readonly int contexts      # certificates installed
    cdef bint asks_certificate, needs_certificate
    cdef bytes client_ca
    cdef bytes ticket_keys
    cdef dict exact                 # host -> Context
    cdef dict wildcards             # what follows the first label -> Context
    cdef Context default
    cdef dict challenges            # host -> Context, for acme-tls/1
    cdef public object identify     # DER of a verified client certificate -> ClientIdentity

    cdef Context _context(self, bytes chain, bytes key, bytes alpn)
    cdef Context choose(self, str host)
    cdef bint shares_context(self, const char* name, const char* host, size_t n)
    cdef int _select(self, SSL* ssl, int* alert) except -1
    cdef TlsStream open(self)


cdef class ClientTls:
    cdef Context context
    cdef readonly bint verify

    cdef TlsStream open(self, bytes name, bint is_ip)


cdef class ClientIdentity:
    """Who a client's verified certificate says it is."""
    cdef readonly bytes subject
    cdef readonly tuple names           # subject alternative names, bytes
    cdef readonly bytes fingerprint     # SHA-256, lower-case hexadecimal
    cdef readonly bytes fields          # field lines for endpoints
