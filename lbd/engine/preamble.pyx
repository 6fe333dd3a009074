# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The PROXY header that goes first on a connection to an endpoint: who the client is and where it came in."""

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy, memset, strlen

from lbd.engine cimport sys as c
from lbd.engine.exchange cimport Downstream
from lbd.engine.proxy_protocol cimport write_proxy_v1, write_proxy_v2
from lbd.engine.tls_stream cimport TlsStream


cdef uint16_t _local_address(Downstream client, uint8_t* address) noexcept:
    """Where the client connected to; its port, 0 when that is no IP address."""
    cdef c.sockaddr_storage name
    cdef c.socklen_t size = sizeof(name)
    if client.local_port:                           # a PROXY header told us
        memcpy(address, client.local, 16)
        return client.local_port
    if c.getsockname(client.stream.fd, <c.sockaddr*> &name, &size) < 0:
        return 0
    memset(address, 0, 16)
    if name.ss_family == c.AF_INET:
        address[10] = address[11] = 0xff
        memcpy(address + 12, &(<c.sockaddr_in*> &name).sin_addr, 4)
        return c.ntohs((<c.sockaddr_in*> &name).sin_port)
    if name.ss_family == c.AF_INET6:
        memcpy(address, &(<c.sockaddr_in6*> &name).sin6_addr, 16)
        return c.ntohs((<c.sockaddr_in6*> &name).sin6_port)
    return 0


cdef size_t write_preamble(char* out, int version, Downstream client, const char* request_id) noexcept:
    """A PROXY header of that version into PROXY_V2_ROOM bytes; its length. request_id: 32 characters, or NULL."""
    cdef uint8_t[16] local
    cdef const uint8_t* source = client.peer
    cdef uint16_t port = _local_address(client, local)
    cdef const unsigned char* alpn = NULL
    cdef const char* name = NULL
    cdef int alpn_len = 0
    if client.peer_port == 0 or port == 0:
        source = NULL                               # a Unix socket: nothing that the header could say
    if version == 1:
        return write_proxy_v1(out, source, client.peer_port, local, port)
    if client.secure:
        alpn_len = (<TlsStream> client.stream).alpn(&alpn)
        name = (<TlsStream> client.stream).server_name()
    return write_proxy_v2(out, source, client.peer_port, local, port, <const char*> alpn, <size_t> alpn_len,
                          name, strlen(name) if name != NULL else 0, request_id, 32 if request_id != NULL else 0,
                          client.secure)


cdef size_t write_unknown(char* out, int version) noexcept:
    """The same for a connection that is about no client: lbd's own checks."""
    cdef uint8_t[16] nowhere
    memset(nowhere, 0, 16)
    if version == 1:
        return write_proxy_v1(out, NULL, 0, nowhere, 0)
    return write_proxy_v2(out, NULL, 0, nowhere, 0, NULL, 0, NULL, 0, NULL, 0, False)
