# cython: language_level=3
"""HTTP/1 heads: bytes in, offsets out, no sockets and no Python objects. See http1.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

cdef enum:
    PARSE_MORE = 0
    PARSE_DONE = 1              # below zero: minus a Reason
    MAX_FIELDS = 1024
    MAX_NOMINATED = 32          # names a Connection field may list
    RESPONSE_HEAD_MAX = 65536
    RESPONSE_FIELDS_MAX = 512

cdef enum:
    BODY_NONE = 0
    BODY_LENGTH = 1
    BODY_CHUNKED = 2
    BODY_CLOSE = 3              # responses only: ends with the connection

cdef enum:
    M_OTHER = 0
    M_GET
    M_HEAD
    M_POST
    M_PUT
    M_DELETE
    M_OPTIONS
    M_TRACE
    M_PATCH
    M_CONNECT
    # RFC 9110 9.2.2, as a bit set
    IDEMPOTENT = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7     # GET HEAD PUT DELETE OPTIONS TRACE

cdef enum:
    K_PLAIN = 0                 # forwarded untouched
    K_HOP                       # hop-by-hop or never forwarded
    K_CONNECTION
    K_UPGRADE
    K_TE
    K_TRAILER
    K_TRANSFER_ENCODING
    K_CONTENT_LENGTH
    K_HOST
    K_EXPECT
    K_FORWARDED_FOR
    K_FORWARDED_PROTO
    K_FORWARDED_HOST
    K_FORWARDED                 # RFC 7239
    K_FORWARDED_OTHER           # X-Real-IP, X-Forwarded-Port, ...: only trusted peers may set them
    K_CLIENT_CERTIFICATE        # Client-Cert (RFC 9440), X-Client-Cert-*: what lbd says of a verified certificate
    K_REQUEST_ID
    K_VIA
    K_UNDERSCORE
    K_NOMINATED                 # named by Connection
    K_KEEP_ALIVE                # becomes K_HOP, see Head.announced
    K_TRACEPARENT               # from here on: forwarded untouched, unless lbd takes part in the trace
    K_TRACESTATE
    K_TRACE_ID                  # X-Trace-ID and its kin

cdef struct Field:
    uint32_t name
    uint32_t value
    uint32_t value_len
    uint16_t name_len
    uint16_t kind

cdef struct Limits:
    uint32_t request_line       # bytes
    uint32_t head               # bytes, request line included
    uint32_t fields
    bint keep_underscore

cdef struct Head:
    const char* base            # all offsets count from here
    uint32_t length             # the head with its final CRLF CRLF
    uint32_t fields_start       # first byte of the first field line
    uint32_t n_fields
    Field* fields
    # request line
    uint32_t method_len
    uint32_t target, target_len
    uint32_t path, path_len     # within target, without the query
    uint32_t query, query_len   # without "?"; has_query tells "" from none
    const char* authority       # of the target, else of Host; NULL when there is none
    uint32_t authority_len
    uint32_t host_len           # authority without the port
    uint8_t method
    bint has_query
    bint absolute               # absolute-form target
    bint path_plain             # path is in normal form: no %, ;, // or dot segment
    # status line
    uint16_t status
    uint32_t reason, reason_len
    # both
    uint8_t minor               # HTTP/1.minor
    uint8_t framing
    int64_t content_length      # with BODY_LENGTH; else -1
    bint keep_alive
    bint expect_continue
    bint te_trailers
    bint special                # some field is not K_PLAIN/K_HOST: the slow way of writing is needed
    int announced               # index of the last Keep-Alive field, or -1
    int upgrade            # index of the Upgrade field that Connection names, or -1
    uint16_t n_forwarded        # fields of the forwarding kinds, to skip their handling when there are none

cdef int parse_request(const char* p, size_t n, const Limits* limits, Head* head) noexcept nogil
cdef int parse_response(const char* p, size_t n, uint8_t method, Head* head) noexcept nogil
