# cython: language_level=3
"""The tracer. See trace.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lbd.engine.observer cimport Facts, Tracing
from lbd.engine.recorder cimport ATTEMPTS_KEPT, Record
from lbd.engine.trace_context cimport Trace

cdef enum:
    PARENT_ALWAYS = 0
    PARENT_TRUSTED = 1
    PARENT_NEVER = 2


cdef struct SpanRecord:
    Record record
    uint64_t parent, span
    bint secure
    void* endpoints[ATTEMPTS_KEPT]  # Endpoints of record.tries, owned
    uint64_t[ATTEMPTS_KEPT] spans
    uint64_t[ATTEMPTS_KEPT] began_us        # from the start of the exchange
    int endpoints_held


cdef class Tracer(Tracing):
    cdef SpanRecord* queue
    cdef uint64_t size, head, tail  # finished exchanges: put at the tail, taken from the head
    cdef uint64_t below             # random numbers below it are in the sample
    cdef bint always                # all are
    cdef int parent                 # PARENT_*: whose traceparent is taken up
    cdef readonly uint64_t dropped  # exchanges that found the queue full
    cdef readonly uint64_t sampled
    cdef uint64_t[2] random_state
    cdef object wake                # called when the queue is half full

    cdef uint64_t _random(self, int half) noexcept
    cdef object _taken(self, SpanRecord* spans)


cdef bint read_traceparent(const char* p, size_t n, Trace* trace) noexcept nogil
cdef bint is_tracestate(const char* p, size_t n) noexcept nogil
