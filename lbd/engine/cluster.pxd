# cython: language_level=3
"""Cluster, Endpoint, and what a Balancer is to the engine. See cluster.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.pool cimport ConnectionPool, Protocol
from lbd.engine.shared cimport EndpointStats


cdef class Endpoint:
    cdef readonly str name
    cdef readonly str address
    cdef readonly uint32_t weight
    cdef readonly dict labels
    cdef readonly ConnectionPool pool
    cdef EndpointStats* stats
    cdef readonly uint32_t active       # exchanges and tunnels under way in this worker
    cdef readonly bint available        # may be picked
    # links of the balancer that holds it; -1 = none (see balance/least_conn.pyx)
    cdef int slot, before, after, level


cdef class Balancer:
    cdef readonly tuple endpoints
    cdef readonly bint needs_key        # pick() looks at the key (a hash of something in the request)

    cdef int pick(self, uint64_t key) noexcept
    cdef void on_acquired(self, Endpoint endpoint) noexcept
    cdef void on_released(self, Endpoint endpoint) noexcept


cdef class Cluster:
    cdef readonly str name
    cdef readonly tuple endpoints
    cdef readonly Balancer balancer
    cdef readonly Protocol protocol     # spoken to its endpoints; None in tcp mode
    cdef readonly bytes host            # rewritten Host, or None
    cdef object balancer_class
    cdef dict options
    cdef readonly uint64_t response_ms, body_ms, queue_ms
    cdef readonly uint64_t attempts     # connects tried for one exchange

    cdef Endpoint pick(self, uint64_t key, Endpoint avoid)
    cdef void acquire(self, Endpoint endpoint) noexcept
    cdef void release(self, Endpoint endpoint) noexcept
