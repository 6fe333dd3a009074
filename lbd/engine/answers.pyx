# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Answers that lbd makes itself: errors with their reason code and request id, and the fixed answers of routes.

Not on the path of a proxied request, so plain bytes formatting serves.
"""

from http import HTTPStatus

from lbd.engine.reasons cimport (
    R_DEADLINE, R_NO_ROUTE, R_RESPONSE_BODY_TIMEOUT, R_RESPONSE_TIMEOUT, reason_code, reason_status,
)

PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
PHRASES[413] = b"Content Too Large"                 # RFC 9110's name; Python 3.11 has the old one


cdef int grpc_status(int reason) noexcept:
    """The gRPC status code of a reason (gRPC: HTTP to gRPC Status Code Mapping, and what lbd knows better)."""
    cdef int status = reason_status(reason)
    if reason == R_DEADLINE or reason == R_RESPONSE_TIMEOUT or reason == R_RESPONSE_BODY_TIMEOUT:
        return 4                                    # DEADLINE_EXCEEDED
    if reason == R_NO_ROUTE:
        return 12                                   # UNIMPLEMENTED
    if status == 413 or status == 431:
        return 8                                    # RESOURCE_EXHAUSTED
    if status >= 502 or status == 429:
        return 14                                   # UNAVAILABLE
    if status == 403:
        return 7                                    # PERMISSION_DENIED
    if status == 401:
        return 16                                   # UNAUTHENTICATED
    return 13 if status != 499 else 1               # INTERNAL, CANCELLED


cdef bytes error_fields(int reason, bint as_json):
    """Field lines of an error."""
    cdef int status = reason_status(reason)
    cdef bytes kind = b"application/json" if as_json else b"text/plain; charset=utf-8"
    cdef bytes extra = b""
    if status == 405:
        extra = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n"
    elif status == 503:
        extra = b"Retry-After: 1\r\n"
    return b"Content-Type: %b\r\nCache-Control: no-store\r\n%b" % (kind, extra)


cdef bytes error_body(int reason, bytes request_id, bint as_json):
    """Status, reason code and request id: the same three that the log has."""
    cdef int status = reason_status(reason)
    cdef bytes code = reason_code(reason)
    if as_json:
        return b'{"status":%d,"reason":"%b","request_id":"%b"}\n' % (status, code, request_id)
    return b"%d %b (request %b)\n" % (status, code, request_id)


cdef bytes add_hsts(bytes fields, bytes hsts):
    """Field lines of an answer with HSTS, unless they have a policy of their own."""
    return fields if b"\nstrict-transport-security:" in b"\n" + fields.lower() else fields + hsts


cdef bytes whole_answer(int status, bytes fields, bytes body, bint head_only, bint close, bint http10):
    """Head and body; without the body for HEAD, without a length where none may be (204, 304)."""
    cdef bytes length = b""
    cdef bytes connection = b""
    if close:
        connection = b"Connection: close\r\n"
    elif http10:
        connection = b"Connection: keep-alive\r\n"
    if status != 204 and status != 304:
        length = b"Content-Length: %d\r\n" % len(body)
    if head_only or not length:
        body = b""
    return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n%b" % (
        status, PHRASES.get(status, b""), fields, length, connection, body)
