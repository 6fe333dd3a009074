# cython: language_level=3
"""The PROXY protocol, versions 1 and 2. See proxy_protocol.pyx."""

from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    PROXY_BAD = -1          # no PROXY header, or one that breaks a rule: the connection must be closed
    PROXY_MORE = 0          # all bytes so far fit a header that is not complete

cdef enum:
    PROXY_NONE = 0          # UNKNOWN, LOCAL, UNSPEC: the addresses of the socket itself stay in force
    PROXY_UNIX = 1          # the client came by a Unix socket; its path is not kept
    PROXY_IPV4 = 4
    PROXY_IPV6 = 6

cdef enum:
    # bytes
    PROXY_V1_MAX = 107              # a line with its CR LF (2.1); also the room that write_proxy_v1 needs
    PROXY_V2_HEAD = 16              # signature, version and command, family and transport, length
    PROXY_V2_MAX = 4096             # what may follow the head; our bound, the protocol's is 65535
    PROXY_MAX = 4112                # PROXY_V2_HEAD + PROXY_V2_MAX: a receiver never needs to hold more
    PROXY_ALPN_MAX = 255            # RFC 7301 3.1: a ProtocolName
    PROXY_AUTHORITY_MAX = 255       # a host name (RFC 1035 2.3.4)
    PROXY_UNIQUE_ID_MAX = 128       # 2.2.5
    PROXY_V2_ROOM = 707             # for write_proxy_v2: 16 + 36 + (3 + 255) + (3 + 255) + (3 + 128) + (3 + 5)

cdef struct ProxyInfo:
    # valid after parse_proxy returned a length
    uint8_t family                  # PROXY_NONE, _UNIX, _IPV4, _IPV6
    uint8_t[16] source              # IPv4 mapped: ::ffff:a.b.c.d; zero unless the family is IPV4 or IPV6, like the ports
    uint8_t[16] destination
    uint16_t source_port            # host order
    uint16_t destination_port
    bint tls                        # the client spoke TLS to the sender
    uint16_t alpn                   # offsets from the first byte of the header; opaque bytes; length 0: not given
    uint16_t alpn_len
    uint16_t authority
    uint16_t authority_len
    uint16_t unique_id
    uint16_t unique_id_len

cdef int parse_proxy(const char* p, size_t n, ProxyInfo* info) noexcept nogil
cdef size_t write_proxy_v1(char* out, const uint8_t* source, uint16_t sport,
                           const uint8_t* destination, uint16_t dport) noexcept nogil
cdef size_t write_proxy_v2(char* out, const uint8_t* source, uint16_t sport, const uint8_t* destination, uint16_t dport,
                           const char* alpn, size_t alpn_len, const char* authority, size_t authority_len,
                           const char* unique_id, size_t unique_id_len, bint tls) noexcept nogil
