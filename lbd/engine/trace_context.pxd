# cython: language_level=3
"""The place of an exchange in a trace (W3C Trace Context). See trace.pyx."""

from libc.stdint cimport uint32_t, uint64_t


cdef struct Trace:
    uint64_t high, low              # its id; both 0: there is none
    uint64_t parent                 # span of the caller, 0: the trace begins here
    uint64_t span                   # of the exchange
    uint64_t attempt                # of the present attempt, a child of it
    uint32_t at, id_at              # where it stands in Exchange.head, in traceparent and X-Span-ID; 0: nowhere
    bint sampled
    bint keeps_state                # the caller's tracestate goes on
