# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What lbd understands of gRPC (gRPC over HTTP/2): that a request is a call, its deadline, and how it ended."""

from libc.stdint cimport uint64_t

from lbd.engine.exchange cimport Exchange
from lbd.engine.fields cimport find_field, same_name
from lbd.engine.http1 cimport Head


cdef void begin_grpc(Exchange x, const Head* head) noexcept:
    """Is it a gRPC call (not gRPC-Web, which is plain HTTP to a proxy)? Then its deadline is ours, too."""
    cdef int at = find_field(head, b"content-type", 12, 0)
    cdef const char* value
    if at < 0 or head.fields[at].value_len < 16:
        return
    value = head.base + head.fields[at].value
    if not same_name(value, b"application/grpc", 16) or (head.fields[at].value_len > 16 and value[16] == c'-'):
        return
    x.grpc = True
    x.grpc_status = -1
    at = find_field(head, b"grpc-timeout", 12, 0)
    if at >= 0:
        x.deadline = _grpc_timeout(head.base + head.fields[at].value, head.fields[at].value_len)
        if x.deadline:
            x.deadline += x.listener.reactor.wheel.now
    return


cdef void note_grpc_status(Exchange x, const char* p, size_t n) noexcept:
    """The value of a grpc-status field."""
    cdef int code = 0
    cdef size_t i
    if n == 0 or n > 3:
        return
    for i in range(n):
        if p[i] < c'0' or p[i] > c'9':
            return
        code = code * 10 + (p[i] - c'0')
    x.grpc_status = code


cdef void note_grpc_trailers(Exchange x, const char* p, size_t n) noexcept:
    """Find grpc-status among field lines that lbd wrote."""
    cdef size_t at = 0
    cdef size_t end
    if not x.grpc:
        return
    while at + 13 < n:
        end = at
        while end < n and p[end] != c'\r':
            end += 1
        if same_name(p + at, b"grpc-status:", 12):
            at += 12
            while at < end and p[at] == c' ':
                at += 1
            note_grpc_status(x, p + at, end - at)
            return
        at = end + 2


cdef uint64_t _grpc_timeout(const char* p, size_t n) noexcept:
    """`100m`, `5S` (gRPC over HTTP/2: at most 8 digits and a unit) -> ms, at least 1; 0 when it is none."""
    cdef uint64_t value = 0
    cdef size_t i
    cdef char unit
    if n < 2 or n > 9:
        return 0
    for i in range(n - 1):
        if p[i] < c'0' or p[i] > c'9':
            return 0
        value = value * 10 + <uint64_t> (p[i] - c'0')
    unit = p[n - 1]
    if unit == c'H':
        value *= 3600000
    elif unit == c'M':
        value *= 60000
    elif unit == c'S':
        value *= 1000
    elif unit == c'u':
        value = (value + 999) // 1000
    elif unit == c'n':
        value = (value + 999999) // 1000000
    elif unit != c'm':
        return 0
    return max(value, <uint64_t> 1)
