# cython: language_level=3
"""Check: the active checks of one endpoint. See check.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.pool cimport ConnectionPool
from lbd.engine.reactor cimport Handler, Reactor
from lbd.engine.timers cimport Timer

cdef str said_of(int reason)


cdef class Check(Handler):
    cdef Reactor reactor
    cdef readonly Cluster cluster
    cdef readonly Endpoint endpoint
    cdef Timer timer                    # until the next check, or until the one under way is late
    cdef uint64_t interval_ms, fast_ms, timeout_ms
    cdef double jitter
    cdef uint32_t healthy, unhealthy    # results in a row that change the state
    cdef uint32_t good, bad             # in a row
    cdef readonly bint under_way
    cdef bint decided                   # a result has been seen, in this run or (by the shared block) before
    cdef bint stopped

    cdef int begin(self) except -1
    cdef int cut(self) except -1
    cdef int done(self, bint ok, str why) except -1
    cdef bint _settle(self, bint ok) noexcept
    cdef void note_rtt(self, int fd) noexcept
    cdef bint take_address(self, ConnectionPool pool, int port) noexcept
