# cython: language_level=3
"""The table of reason codes. A row is (enum, code, status); the order is the enum's, which the import checks.

499 (client gone, nginx's convention) never reaches a wire: it exists for logs and metrics; the same goes for the status of
reasons that end a connection before any request.
"""

cdef struct Row:
    int reason
    const char* code
    int status

cdef Row[REASONS_COUNT] TABLE
TABLE[0] = Row(R_NONE, b"", 0)
TABLE[1] = Row(R_BAD_REQUEST, b"bad_request", 400)
TABLE[2] = Row(R_METHOD_REFUSED, b"method_refused", 405)
TABLE[3] = Row(R_HEAD_TIMEOUT, b"head_timeout", 408)
TABLE[4] = Row(R_BODY_TIMEOUT, b"body_timeout", 408)
TABLE[5] = Row(R_BODY_TOO_LARGE, b"body_too_large", 413)
TABLE[6] = Row(R_TARGET_TOO_LONG, b"target_too_long", 414)
TABLE[7] = Row(R_HEAD_TOO_LARGE, b"head_too_large", 431)
TABLE[8] = Row(R_NOT_IMPLEMENTED, b"not_implemented", 501)
TABLE[9] = Row(R_VERSION_REFUSED, b"version_refused", 505)
TABLE[10] = Row(R_NO_ROUTE, b"no_route", 404)
TABLE[11] = Row(R_NO_ENDPOINT, b"no_endpoint", 503)
TABLE[12] = Row(R_OVERFLOW, b"overflow", 503)
TABLE[13] = Row(R_QUEUE_TIMEOUT, b"queue_timeout", 503)
TABLE[14] = Row(R_CONNECT_FAILED, b"connect_failed", 502)
TABLE[15] = Row(R_CONNECT_TIMEOUT, b"connect_timeout", 504)
TABLE[16] = Row(R_UPSTREAM_RESET, b"upstream_reset", 502)
TABLE[17] = Row(R_UPSTREAM_INVALID, b"upstream_invalid", 502)
TABLE[18] = Row(R_UPSTREAM_TRUNCATED, b"upstream_truncated", 502)
TABLE[19] = Row(R_RESPONSE_TIMEOUT, b"response_timeout", 504)
TABLE[20] = Row(R_RESPONSE_BODY_TIMEOUT, b"response_body_timeout", 504)
TABLE[21] = Row(R_CLIENT_GONE, b"client_gone", 499)
TABLE[22] = Row(R_WRITE_TIMEOUT, b"write_timeout", 499)
TABLE[23] = Row(R_INTERNAL, b"internal_error", 500)
TABLE[24] = Row(R_MISDIRECTED, b"misdirected", 421)
TABLE[25] = Row(R_BAD_PROXY_HEADER, b"bad_proxy_header", 400)
TABLE[26] = Row(R_HANDSHAKE_TIMEOUT, b"handshake_timeout", 408)
TABLE[27] = Row(R_HANDSHAKE_FAILED, b"handshake_failed", 400)
TABLE[28] = Row(R_UNKNOWN_SNI, b"unknown_sni", 421)
TABLE[29] = Row(R_CERTIFICATE_REFUSED, b"client_certificate_refused", 403)
TABLE[30] = Row(R_HTTP2_PROTOCOL, b"http2_protocol_error", 400)
TABLE[31] = Row(R_HTTP2_FLOOD, b"http2_flood", 429)
TABLE[32] = Row(R_TOO_MANY_TUNNELS, b"too_many_tunnels", 503)
TABLE[33] = Row(R_DEADLINE, b"deadline_exceeded", 504)
TABLE[34] = Row(R_STREAM_REFUSED, b"stream_refused", 503)
TABLE[35] = Row(R_UPSTREAM_TLS, b"upstream_tls_failed", 502)
TABLE[36] = Row(R_BREAKER_OPEN, b"breaker_open", 503)
TABLE[37] = Row(R_OVERLOAD, b"overload", 503)
TABLE[38] = Row(R_STALE, b"stale_connection", 502)
TABLE[39] = Row(R_HEDGED, b"hedged", 499)


cdef int reason_status(int reason) noexcept nogil:
    return TABLE[reason].status


cdef const char* reason_code(int reason) noexcept nogil:
    return TABLE[reason].code


def _rows():
    cdef int i
    for i in range(REASONS_COUNT):
        if TABLE[i].reason != i:
            raise AssertionError(f"reason table out of order at {i}")
        yield TABLE[i].code.decode(), TABLE[i].status


CODES = tuple(_rows())
