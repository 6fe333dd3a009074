# cython: language_level=3
"""How long an endpoint keeps unused connections. See idle_limit.pyx."""

from libc.stdint cimport uint64_t


cdef class IdleLimit:
    cdef uint64_t configured            # ms, 0 = none
    cdef readonly uint64_t known        # ms after which the endpoint closes, 0 = not known
    cdef readonly uint64_t ms           # connections that were idle this long are not used again
    cdef readonly bint unserved         # known from a connection that has served no request
    cdef uint64_t before                # what was known before the present burst of closes
    cdef uint64_t burst_at, burst_age   # its last close: when, and after how long
    cdef bint restarting                # it is a restart

    cpdef void ended(self, uint64_t age, bint served, uint64_t now) noexcept
    cpdef void announced(self, uint64_t after) noexcept
    cpdef void outlived(self, uint64_t age) noexcept
    cpdef bint can_refute(self, bint served) noexcept
    cdef void _set(self, uint64_t known) noexcept


cdef uint64_t announced_ms(const char* value, size_t n) noexcept nogil
