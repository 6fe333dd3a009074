# cython: language_level=3
"""Cluster, Selection, Endpoint, and what Balancers and Guards are to the engine. See cluster.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lbd.engine.pool cimport ConnectionPool, Protocol
from lbd.engine.reactor cimport Handler, Reactor
from lbd.engine.retry cimport RetryBudget, RetryPolicy
from lbd.engine.shared cimport ClusterState, ClusterStats, EndpointState, EndpointStats, Shared
from lbd.engine.timers cimport Timer

cdef enum:                      # Outcome
    OUTCOME_NONE = 0            # nothing was learnt: the client went away, the request was bad
    OUTCOME_OK
    OUTCOME_FAILED


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
    cdef EndpointStats* stats
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
    cdef double latency_us              # averaged, where a guard wants it
    cdef uint64_t latency_samples


cdef class Balancer:
    cdef readonly tuple endpoints
    cdef readonly bint needs_key        # pick() looks at the key (a hash of something in the request)
    cdef readonly bint tracks_load      # on_acquired and on_released are wanted
    cdef readonly bint tracks_latency   # on_response is wanted
    cdef const uint64_t* now_ms         # the clock: monotonic milliseconds
    cdef uint64_t own_now
    cdef dict slots                     # Endpoint -> index, for calls from Python

    cdef int pick(self, uint64_t key, int attempt) noexcept
    cdef void on_acquired(self, int index) noexcept
    cdef void on_released(self, int index) noexcept
    cdef void on_response(self, int index, uint64_t us, bint failed) noexcept
    cdef int _slot(self, Endpoint endpoint)


cdef class Guard:
    cdef bint admit(self, Endpoint endpoint, uint64_t now) noexcept
    cdef void on_outcome(self, Endpoint endpoint, int outcome, uint64_t us, uint64_t now) noexcept
    cdef bint holds_back(self, Endpoint endpoint, uint64_t now) noexcept
    cdef bint tries(self, Endpoint endpoint) noexcept


cdef class ConcurrencyLimit:
    cdef readonly uint32_t limit

    cdef void on_sample(self, uint64_t us, uint32_t active, int outcome, uint64_t now) noexcept


cdef class Selection:
    cdef readonly tuple parts           # Balancers
    cdef readonly tuple names           # of the parts: tiers, zones
    cdef readonly tuple shares          # of the parts, summing up to 1
    cdef readonly bint panic
    cdef object wants                   # which endpoints it is about, or None: all
    cdef Balancer only                  # the one part, or None
    cdef uint32_t[16] bounds            # of the parts, cumulated, of 2^32

    cdef Endpoint pick(self, uint64_t key, int attempt) noexcept


cdef class Cluster(Handler):
    cdef readonly str name
    cdef readonly tuple endpoints
    cdef readonly Selection selection   # of all endpoints
    cdef readonly dict subsets          # labels -> Selection
    cdef readonly Protocol protocol     # spoken to its endpoints; None in tcp mode
    cdef readonly bytes host            # rewritten Host, or None
    cdef object balancer_class
    cdef dict options
    cdef object divide                  # (endpoints, now in ms) -> Division, see balance/division.py
    cdef Reactor reactor                # or None: then changes take effect at once
    cdef Shared shared
    cdef ClusterState* state
    cdef ClusterStats* stats
    cdef ClusterState own_state
    cdef ClusterStats own_stats
    cdef Timer timer
    cdef bint dirty
    cdef uint8_t[75] failure_statuses   # bit set: responses that count as failures of the endpoint
    cdef readonly bint watched          # somebody wants to know how attempts end
    cdef readonly Guard passive         # holds endpoints back, or None
    cdef readonly Guard breaker         # holds the cluster back, or None
    cdef readonly ConcurrencyLimit limiter
    cdef readonly RetryPolicy retry
    cdef readonly RetryBudget budget
    cdef readonly Cluster fallback      # serves while the breaker is open or no endpoint is left, or None
    cdef readonly object fallback_respond    # a Respond of router.pxd, or None
    cdef readonly object key            # a KeySource of key.pxd, or None
    cdef readonly object sticky         # a Sticky of sticky.pxd, or None
    cdef readonly uint64_t response_ms, body_ms, queue_ms
    cdef readonly uint32_t max_requests     # exchanges under way in this worker, 0 = any
    cdef readonly bint gated            # requests have to be admitted
    cdef readonly uint32_t active       # exchanges and tunnels under way in this worker
    cdef uint64_t seed
    cdef uint64_t own_now
    cdef public object on_change        # called with (cluster, kind, detail) when something of note happens, or None

    cdef int admit(self, int urgency) noexcept
    cdef Endpoint pick(self, Selection selection, uint64_t key, list tried)
    cdef Endpoint _look(self, Selection selection, uint64_t key, list tried)
    cdef bint may_take(self, Endpoint endpoint) noexcept
    cdef uint64_t now(self) noexcept
    cdef void _judge(self, Endpoint endpoint, uint64_t now)
    cdef uint64_t _random(self) noexcept
    cdef void acquire(self, Endpoint endpoint) noexcept
    cdef void release(self, Endpoint endpoint) noexcept
    cdef void on_outcome(self, Endpoint endpoint, int outcome, uint64_t us) noexcept
    cdef void hold_back(self, Endpoint endpoint) noexcept
    cdef void mark_dirty(self) noexcept
