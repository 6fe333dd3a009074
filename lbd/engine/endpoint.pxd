# cython: language_level=3
"""Endpoint, Balancer, and the Seat of the one in the other. See endpoint.pyx."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from lbd.engine.pool cimport ConnectionPool
from lbd.engine.shared cimport EndpointState, EndpointStats


cdef enum:
    LATENCY_BUCKETS = 40        # two per power of two from 64 us to 2^26 us (67 s), one below, one above

cdef struct Measured:           # what balancers find out about an endpoint in this worker; 0 = not yet
    float ewma_us               # peak-sensitive average of response times, as of ewma_ms
    uint32_t ewma_ms            # the clock's lowest 32 bits, as all times below
    float p95_us                # of the latencies below
    float responses, failures   # what was long ago counts less
    uint32_t window_ms          # when these and the latencies were halved
    uint32_t response_ms        # of the last response
    uint64_t used_ms            # when an exchange last went to it, plus one
    uint16_t[LATENCY_BUCKETS] latencies     # histogram


cdef class Seat:
    """The place of an endpoint in a balancer that wants to be told of load or latency."""
    cdef Balancer balancer
    cdef int index
    cdef Seat next


cdef class Endpoint:
    cdef readonly str name
    cdef readonly str address
    cdef readonly uint32_t configured_weight
    cdef public uint32_t weight         # what balancers go by: with slow start, penalties and what the operator set
    cdef readonly uint32_t priority     # tier, 0 first
    cdef readonly dict labels
    cdef readonly str zone, region
    cdef readonly ConnectionPool pool
    cdef EndpointStats* stats           # of this worker
    cdef int worker, workers            # its place among the records of all workers
    cdef size_t stats_step
    cdef EndpointState* state
    cdef EndpointState own_state        # where there is no shared block (tests, simulator)
    cdef EndpointStats own_stats
    cdef readonly uint32_t active       # exchanges and tunnels under way in this worker
    cdef readonly bint resolved         # has an address
    cdef readonly bint usable           # resolved, wanted by the operator, healthy, not held back
    cdef readonly bint keeps            # serves the sessions that it has: usable, or draining
    cdef readonly bint available        # stands in a balancer now
    cdef readonly bint on_probation     # a guard lets single exchanges through
    cdef readonly bint foreign          # in another zone than lbd
    cdef readonly bint removed          # no longer in the cluster
    cdef Seat seats
    cdef public str trouble             # what the last active check found wrong, or None
    cdef Measured measured              # balancers keep dense copies and write both together

    cdef void fade(self, uint64_t now) noexcept
    cdef EndpointStats* stats_of(self, int worker) noexcept
    cdef void note(self, bint failed, uint64_t us, uint64_t now) noexcept


cdef class Balancer:
    cdef readonly tuple endpoints
    cdef readonly bint needs_key        # pick() looks at the key (a hash of something in the request)
    cdef readonly bint tracks_load      # on_acquired and on_released are wanted
    cdef readonly bint tracks_latency   # on_response is wanted
    cdef const uint64_t* now_ms         # the clock: monotonic milliseconds
    cdef uint64_t own_now
    cdef list basis                     # what the cluster built it from: endpoints and weights
    cdef dict slots                     # Endpoint -> index, for calls from Python

    cdef int pick(self, uint64_t key, int attempt) noexcept
    cdef void on_acquired(self, int index) noexcept
    cdef void on_released(self, int index) noexcept
    cdef void on_response(self, int index, uint64_t us, bint failed) noexcept
    cdef bytes bookmark(self)
    cdef void go_back(self, bytes place) noexcept
    cdef int _slot(self, Endpoint endpoint)
