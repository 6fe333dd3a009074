# cython: language_level=3
"""Why an exchange did not go as asked: one table for the status line, the body, the log and the metrics."""

cdef enum:
    R_NONE = 0
    R_BAD_REQUEST
    R_METHOD_REFUSED
    R_HEAD_TIMEOUT
    R_BODY_TIMEOUT
    R_BODY_TOO_LARGE
    R_TARGET_TOO_LONG
    R_HEAD_TOO_LARGE
    R_NOT_IMPLEMENTED
    R_VERSION_REFUSED
    R_NO_ROUTE
    R_NO_ENDPOINT
    R_OVERFLOW
    R_QUEUE_TIMEOUT
    R_CONNECT_FAILED
    R_CONNECT_TIMEOUT
    R_UPSTREAM_RESET
    R_UPSTREAM_INVALID
    R_UPSTREAM_TRUNCATED
    R_RESPONSE_TIMEOUT
    R_RESPONSE_BODY_TIMEOUT
    R_CLIENT_GONE
    R_WRITE_TIMEOUT
    R_INTERNAL
    R_MISDIRECTED
    R_BAD_PROXY_HEADER          # from here to R_HTTP2_FLOOD: of connections, not of exchanges
    R_HANDSHAKE_TIMEOUT
    R_HANDSHAKE_FAILED
    R_UNKNOWN_SNI
    R_CERTIFICATE_REFUSED
    R_HTTP2_PROTOCOL
    R_HTTP2_FLOOD
    R_TOO_MANY_TUNNELS
    R_DEADLINE
    R_STREAM_REFUSED
    R_UPSTREAM_TLS
    R_BREAKER_OPEN
    R_OVERLOAD
    R_STALE                     # of attempts: a pooled connection had ended
    R_HEDGED                    # of attempts: another one was faster
    REASONS_COUNT

cdef int reason_status(int reason) noexcept nogil
cdef const char* reason_code(int reason) noexcept nogil
