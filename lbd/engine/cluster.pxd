# cython: language_level=3
"""See cluster.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lbd.engine.endpoint cimport Endpoint
from lbd.engine.guard cimport ConcurrencyLimit, Guard
from lbd.engine.pool cimport Protocol
from lbd.engine.reactor cimport Handler, Reactor
from lbd.engine.retry cimport RetryBudget, RetryPolicy
from lbd.engine.selection cimport Selection
from lbd.engine.shared cimport ClusterState, ClusterStats, Shared
from lbd.engine.timers cimport Timer

cdef class Cluster(Handler):
    cdef readonly str name
    cdef readonly tuple endpoints
    cdef readonly Selection selection   # of all endpoints
    cdef readonly dict subsets          # labels -> Selection
    cdef readonly Protocol protocol     # spoken to its endpoints; None in tcp mode
    cdef readonly bytes host            # rewritten Host, or None
    cdef object balancer_class
    cdef dict options
    cdef object new_divide              # () -> the `divide` of a Selection, see balance/division.py
    cdef Reactor reactor                # or None: then changes take effect at once
    cdef Shared shared
    cdef ClusterState* state
    cdef ClusterStats* stats
    cdef ClusterState own_state
    cdef ClusterStats own_stats
    cdef Timer timer
    cdef bint dirty
    cdef uint64_t seen                  # of state.generation
    cdef int worker, workers            # its place among the records of all workers
    cdef size_t stats_step
    cdef bint rehearsing                # what it is asked leaves no trace, see rehearsal.pyx
    cdef uint8_t[75] failure_statuses   # bit set: responses that count as failures of the endpoint
    cdef readonly bint measures         # Endpoint.recent is wanted
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
    cdef public int highest             # urgency of the most urgent routes that come here, see admit
    cdef readonly uint32_t max_requests     # exchanges under way in this worker, 0 = any
    cdef readonly bint gated            # requests have to be admitted
    cdef readonly uint32_t active       # exchanges and tunnels under way in this worker
    cdef uint64_t seed
    cdef uint64_t own_now, own_due      # without a reactor: the time, and when to look again
    cdef public object on_change        # called with (cluster, kind, detail) when something of note happens, or None

    cdef Cluster serving(self, int urgency, Selection selection, dict labels, int* reason)
    cdef int refusal(self, int urgency, Selection selection, dict labels) noexcept
    cdef int admit(self, int urgency) noexcept
    cdef Endpoint pick(self, Selection selection, uint64_t key, list tried)
    cdef Endpoint pick_again(self, Selection selection, uint64_t key, list tried, RetryPolicy policy, int cause)
    cdef Endpoint _look(self, Selection selection, uint64_t key, list tried)
    cdef bint _is_last_resort(self, Endpoint endpoint) noexcept
    cdef void spare(self, Endpoint endpoint) noexcept
    cdef bint may_take(self, Endpoint endpoint) noexcept
    cdef uint64_t now(self) noexcept
    cdef void _judge(self, Endpoint endpoint, uint64_t now, bint lenient)
    cdef bint _is_any_left(self, uint64_t now)
    cdef uint64_t _random(self) noexcept
    cdef void acquire(self, Endpoint endpoint) noexcept
    cdef void release(self, Endpoint endpoint) noexcept
    cdef void on_outcome(self, Endpoint endpoint, int outcome, uint64_t us) noexcept
    cdef void hold_back(self, Endpoint endpoint) noexcept
    cdef void tell(self, str kind, Endpoint endpoint) noexcept
    cdef uint64_t all_active(self) noexcept
    cdef void mark_dirty(self) noexcept
