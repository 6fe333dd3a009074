# cython: language_level=3
"""Further attempts of an exchange. See attempts.pyx."""

from libc.stdint cimport uint64_t

from lbd.engine.body cimport Body
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.exchange cimport Exchange, Upstream
from lbd.engine.http1 cimport Head
from lbd.engine.pool cimport Waiter
from lbd.engine.reactor cimport Handler
from lbd.engine.timers cimport Timer

cdef class Alarm(Handler):
    """A deadline of an exchange itself: the end of a back-off, or the time for a second attempt beside the first."""
    cdef Exchange exchange
    cdef Timer timer

    cdef void set(self, uint64_t after_ms) noexcept
    cdef void stop(self) noexcept


cdef class Hedge(Waiter):
    """A second attempt beside the first; whose response begins first serves the client."""
    cdef Exchange exchange              # None: it is over
    cdef Endpoint endpoint
    cdef Upstream upstream              # None while it connects
    cdef uint64_t began_us
    cdef uint64_t span                  # its Trace.attempt, or 0

    cdef void _mark(self, Exchange x) noexcept
    cdef int _why(self, Exchange x, int outcome) noexcept
    cdef void cancel(self, int outcome)


cdef void keep_body(Exchange x, const char* p, size_t n, Body* end) noexcept
cdef int give_kept(Exchange x, Upstream upstream) except -100
cdef Endpoint another(Exchange x, int cause, int code)
cdef int go_on(Exchange x, Endpoint endpoint) except -1
cdef bint try_again(Exchange x, Upstream upstream, Head* head, bint whole)
cdef void note_connected(Exchange x, uint64_t now) noexcept
cdef void set_alarm(Exchange x, uint64_t after_ms)
cdef int start_hedge(Exchange x) except -1
