# cython: language_level=3
"""See selection.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.endpoint cimport Balancer, Endpoint


cdef class Selection:
    cdef readonly tuple parts           # Balancers
    cdef readonly tuple names           # of the parts: tiers, zones
    cdef readonly tuple shares          # of the parts, summing up to 1
    cdef readonly bint panic
    cdef readonly str region            # in use, empty where there are none
    cdef object divide
    cdef object wants                   # which endpoints it is about, or None: all
    cdef Balancer only                  # the one part, or None
    cdef uint32_t[16] bounds            # of the parts, cumulated, of 2^32

    cdef bint holds(self, Endpoint endpoint) except -1
    cdef Endpoint pick(self, uint64_t key, int attempt) noexcept
