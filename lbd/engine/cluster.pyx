# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cluster: a named group of endpoints with a balancer. What the control plane compiles; what exchanges pick from.

Strategy: a request only picks: a part of the Selection by its share, an endpoint by the part's Balancer, both O(1).
Whatever may change which endpoints serve (health, ejection, drain, weight, slow start, another region) marks the cluster
dirty; at the end of the round it is divided anew: a `divide` (balance/division.py) says which endpoints stand in which
part with which weight, and new Balancers are built. Their measurements live in the Endpoints and go on.

Guards are told how attempts ended, and hold back endpoints or the whole cluster.
"""

from libc.string cimport memset
from libc.stdint cimport uint64_t

from lbd.engine.endpoint cimport Balancer, Endpoint, Seat
from lbd.engine.guard cimport OUTCOME_FAILED, OUTCOME_NONE, OUTCOME_OK, ConcurrencyLimit, Guard
from lbd.engine.pool cimport Protocol
from lbd.engine.reactor cimport Handler, Reactor, Stream
from lbd.engine.reasons cimport R_BREAKER_OPEN, R_NO_ENDPOINT, R_NONE, R_OVERFLOW, R_OVERLOAD
from lbd.engine.retry cimport RETRY_RESET, RetryBudget, RetryPolicy
from lbd.engine.shared cimport (
    ADMIN_DISABLED, ADMIN_READY, HEALTH_DOWN, ClusterState, ClusterStats, EndpointState, Shared, lbd_grow,
)
from lbd.engine.selection cimport Selection
from lbd.engine.sys cimport monotonic_us
from lbd.engine.timers cimport timer_set, timer_unlink
from lbd.engine.xorshift cimport next_random

from lbd.engine.reasons import CODES
from lbd.engine.retry import CAUSES
from lbd.engine.selection import divide_plain

cdef enum:
    PICK_EFFORT = 3         # picks before others are looked at one by one
    LOOK_EFFORT = 16        # endpoints looked at so
    FALLBACK_HOPS = 4       # clusters that may stand in for each other
    SHED_EARLIER = 15       # percent of the limit that requests leave to those of the next higher urgency


cdef class Cluster(Handler):
    """Its endpoints change by discovery and reload, its selection with them; the rest is as compiled."""

    def __cinit__(self, str name not None, endpoints, *, Reactor reactor=None, Shared shared=None, int worker=0,
                  seed=None, **settings):
        self.name = name
        self.highest = 1
        self.endpoints = tuple(endpoints)
        self.reactor = reactor
        self.shared = shared
        self.seed = (monotonic_us() if seed is None else <uint64_t> seed) | 1
        self.state = &self.own_state
        self.stats = &self.own_stats
        self.workers = 1
        if shared is not None:
            self.worker, self.workers = worker, shared.workers
            self.stats_step = shared.step_of(sizeof(ClusterStats))
            self.stats = <ClusterStats*> shared.find("cluster", name, sizeof(ClusterStats), worker)
            self.state = <ClusterState*> shared.find("cluster_state", name, sizeof(ClusterState), 0)
        self.timer.owner = <void*> self
        self.timer.bare = True
        self.subsets = {}
        self.configure(**settings)

    def configure(self, *, balancer_class, dict options=None, new_divide=None, Protocol protocol=None, bytes host=None,
                  response_ms=0, body_ms=0, queue_ms=0, max_requests=0, Guard passive=None, Guard breaker=None,
                  ConcurrencyLimit limiter=None, RetryPolicy retry=None, RetryBudget budget=None,
                  failure_statuses=(502, 503, 504), bint measures=False, key=None, sticky=None):
        """All of its settings but its fallback. What is under way goes on, what is known of the endpoints is kept."""
        cdef Selection selection
        cdef Balancer part
        cdef int status
        for status in range(75):
            self.failure_statuses[status] = 0
        for status in failure_statuses:
            self.failure_statuses[status >> 3] |= 1 << (status & 7)
        self.protocol = protocol
        self.host = host
        self.response_ms = response_ms
        self.body_ms = body_ms
        self.queue_ms = queue_ms
        self.max_requests = max_requests
        self._forget_guards(passive, breaker)
        self.passive = passive
        self.breaker = breaker
        self.limiter = limiter
        self.retry = retry
        self.budget = budget
        self._look_at_gates()
        self.measures = measures or (passive is not None and passive.measures)
        self.watched = passive is not None or breaker is not None or limiter is not None or self.measures
        self.balancer_class = balancer_class
        self.options = options or {}
        self.new_divide = new_divide or (lambda: divide_plain)
        self.key = key
        self.sticky = sticky
        if self.selection is None:
            self.selection = Selection(self.new_divide())
        for selection in (self.selection, *self.subsets.values()):
            selection.divide = self.new_divide()
            for part in selection.parts:
                part.basis = None                   # options may be others: build it anew
        for guard in (passive, breaker):
            if guard is not None:
                guard.bind(self)
        self.refresh()

    def _forget_guards(self, Guard passive, Guard breaker):
        """What a guard that goes has said counts no more."""
        cdef Endpoint endpoint
        if self.passive is not None and passive is None:
            for endpoint in self.endpoints:
                memset(&endpoint.state.ejection, 0, sizeof(endpoint.state.ejection))
        if self.breaker is not None and (breaker is None or breaker.gates != self.breaker.gates):
            memset(&self.state.breaker, 0, sizeof(self.state.breaker))
            for endpoint in self.endpoints:
                memset(&endpoint.state.breaker, 0, sizeof(endpoint.state.breaker))

    def _look_at_gates(self):
        self.gated = ((self.breaker is not None and self.breaker.gates) or self.limiter is not None
                      or self.max_requests != 0 or self.fallback is not None or self.fallback_respond is not None)

    def __dealloc__(self):
        timer_unlink(&self.timer)

    def __repr__(self):
        return f"<Cluster {self.name} {self.selection!r}>"

    # the control plane's side ------------------------------------------------------------------------------------

    @property
    def balancer(self):
        """Of the first part; None when there is none."""
        return self.selection.parts[0] if self.selection.parts else None

    def set_fallback(self, Cluster cluster, respond):
        """What serves while this cluster cannot: another cluster, or a Respond; None, None: nothing does."""
        self.fallback = cluster
        self.fallback_respond = respond
        self._look_at_gates()

    def subset(self, dict labels):
        """The Selection of the endpoints that carry all of these labels; made at first use."""
        key = tuple(sorted(labels.items()))
        found = self.subsets.get(key)
        if found is None:
            wanted = {name: values if isinstance(values, tuple) else (values,) for name, values in labels.items()}
            found = self.subsets[key] = Selection(
                self.new_divide(),
                lambda endpoint: all(endpoint.labels.get(name) in values for name, values in wanted.items()))
            self.refresh()
        return found

    def set_endpoints(self, endpoints):
        """Other members. Those that stay are the same objects; those that go finish what they have."""
        cdef Endpoint endpoint
        kept = set(endpoints)
        for endpoint in self.endpoints:
            if endpoint not in kept:
                endpoint.removed = True
                endpoint.seats = None
                endpoint.available = endpoint.usable = False
                if endpoint.pool is not None:
                    endpoint.pool.close_idle()
        self.endpoints = tuple(endpoints)
        self.refresh()
        self.tell("members", None)

    def refresh(self):
        """Look at the state of all endpoints and build the selections anew."""
        cdef uint64_t now = self.now()
        cdef uint64_t due = 0
        cdef Endpoint endpoint
        cdef Selection selection
        self.dirty = False
        if self.sticky is not None:
            self.sticky.set_members(self.endpoints)
        lenient = self.passive is not None and not self._is_any_left(now)
        for endpoint in self.endpoints:
            self._judge(endpoint, now, lenient)
            if endpoint.pool is not None:
                endpoint.pool.set_usable(endpoint.usable)
            endpoint.seats = None
            endpoint.available = False
        for selection in (self.selection, *self.subsets.values()):
            members = self.endpoints if selection.wants is None else [e for e in self.endpoints if selection.wants(e)]
            division = selection.divide(members, now)
            was = (selection.panic, selection.region)
            standing = {part.endpoints: part for part in selection.parts}
            selection.set_parts(
                [(name, share, self._seat(part, members, standing)) for name, share, part in division.parts],
                division.panic, division.region)
            due = _sooner(due, division.next_change)
            if selection.panic != was[0]:
                self._tell_panic(selection)
            if was[1] and selection.region != was[1]:
                self.tell(f"region {selection.region or 'none'}", None)
        for guard in (self.passive, self.breaker):
            if guard is not None:
                due = _sooner(due, guard.next_change(self.endpoints, now))
        self.own_due = due
        if self.reactor is not None:
            timer_set(&self.reactor.wheel, &self.timer, max(1, due - now) if due else 0)

    cdef bint _is_any_left(self, uint64_t now):
        """Is there an endpoint that nothing speaks against? Else those that only passive checks hold back are better than
        nobody: active checks may have taken the others down since."""
        cdef Endpoint endpoint
        for endpoint in self.endpoints:
            if (endpoint.resolved and not endpoint.removed and endpoint.state.admin == ADMIN_READY
                    and endpoint.state.health != HEALTH_DOWN and not self.passive.holds_back(endpoint, now)
                    and (self.breaker is None or not self.breaker.holds_back(endpoint, now))):
                return True
        return False

    cdef void _judge(self, Endpoint endpoint, uint64_t now, bint lenient):
        """Is it usable by its own state? lenient: what passive checks say does not count."""
        cdef EndpointState* state = endpoint.state
        cdef bint was = endpoint.usable
        cdef bint held = ((self.passive is not None and not lenient and self.passive.holds_back(endpoint, now))
                          or (self.breaker is not None and self.breaker.holds_back(endpoint, now)))
        endpoint.keeps = (endpoint.resolved and not endpoint.removed and state.admin != ADMIN_DISABLED
                          and state.health != HEALTH_DOWN and not held)
        endpoint.usable = endpoint.keeps and state.admin == ADMIN_READY
        endpoint.on_probation = ((self.passive is not None and self.passive.tries(endpoint))
                                 or (self.breaker is not None and self.breaker.tries(endpoint)))
        if endpoint.usable and not was:
            state.up_since = now

    def _seat(self, endpoints, members, standing):
        """A balancer over these, and their seats in it. members: all that could serve in their place. standing: those of the
        last division by their endpoints; where nothing has changed it goes on, in the middle of its turns."""
        cdef Balancer made = standing.get(tuple(endpoints))
        cdef Endpoint endpoint
        cdef Seat seat
        cdef int i
        basis = [(endpoint, endpoint.weight) for endpoint in (*endpoints, *members)]
        if made is None or made.basis != basis:
            more = {"members": members} if getattr(self.balancer_class, "wants_members", False) else {}
            made = self.balancer_class(endpoints, **self.options, **more)
            made.basis = basis
        if self.reactor is not None:
            made.now_ms = &self.reactor.wheel.now
        else:
            made.own_now = self.own_now
        for i, endpoint in enumerate(made.endpoints):
            endpoint.available = True
            if made.tracks_load or made.tracks_latency:
                seat = Seat.__new__(Seat)
                seat.balancer = made
                seat.index = i
                seat.next = endpoint.seats
                endpoint.seats = seat
        if made.tracks_latency:
            self.watched = True
        return made

    def _tell_panic(self, Selection selection):
        if selection is self.selection:
            self.state.panic = selection.panic
        if selection.panic:
            self.state.panics += 1
        self.tell("panic begins" if selection.panic else "panic ends", None)

    cdef void tell(self, str kind, Endpoint endpoint) noexcept:
        """Something that an operator wants to hear of."""
        if self.on_change is not None:
            self.on_change(self, kind, endpoint)

    cdef uint64_t now(self) noexcept:
        return self.reactor.wheel.now if self.reactor is not None else self.own_now

    def set_time(self, double seconds):
        """The clock of a cluster without a reactor: the simulator's."""
        cdef Balancer part
        cdef Selection selection
        self.own_now = <uint64_t> (seconds * 1000 + 0.001)      # a whole millisecond stays one, written as seconds
        for selection in (self.selection, *self.subsets.values()):
            for part in selection.parts:
                part.own_now = self.own_now
        if self.own_due and self.own_due <= self.own_now:
            self.refresh()
        if self.dirty:                              # by what a guard found while it looked
            self.refresh()

    cdef void mark_dirty(self) noexcept:
        """Something changed that selections depend on."""
        self.seen = lbd_grow(&self.state.generation)
        if self.shared is not None:
            lbd_grow(self.shared.generation)
        if self.dirty:
            return
        self.dirty = True
        if self.reactor is not None:
            self.reactor.at_round_end(self)

    def look(self):
        """Another worker may have changed the state of endpoints."""
        if self.state.generation != self.seen:
            self.seen = self.state.generation
            if not self.dirty:
                self.dirty = True
                self.reactor.at_round_end(self)

    cdef uint64_t all_active(self) noexcept:
        """Exchanges and tunnels under way in all workers."""
        cdef uint64_t found = 0
        cdef int worker
        for worker in range(self.workers):
            found += (<ClusterStats*> (<char*> self.stats + <ssize_t> self.stats_step * (worker - self.worker))).active
        return found

    @property
    def under_way(self):
        """Exchanges and tunnels, in all workers."""
        return self.all_active()

    def changed(self):
        """The control plane has changed the state of endpoints: all workers shall look at it."""
        self.mark_dirty()
        if self.reactor is None:
            self.refresh()

    cdef void hold_back(self, Endpoint endpoint) noexcept:
        """A guard has had enough of it: not picked from now on, out of the selection with the end of this round."""
        endpoint.available = False
        self.mark_dirty()

    cdef int on_round_end(self) except -1:
        if self.dirty:
            self.refresh()
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        self.refresh()
        return 0

    # the exchange's side -----------------------------------------------------------------------------------------

    cdef Cluster serving(self, int urgency, Selection selection, dict labels, int* reason):
        """This cluster, or the first of its fallbacks that takes one more exchange (*reason R_NONE). When none does: the
        last one asked, and why it does not. selection: of the endpoints with these labels, if the route names any."""
        cdef Cluster cluster = self
        cdef int _hop
        for _hop in range(FALLBACK_HOPS):
            reason[0] = cluster.refusal(urgency, selection, labels)
            if reason[0] == R_NONE or cluster.fallback is None:
                return cluster
            cluster.stats.fallbacks += 1
            cluster = cluster.fallback
            if labels:
                selection = cluster.subset(labels)
        return cluster

    cdef int refusal(self, int urgency, Selection selection, dict labels) noexcept:
        """Why this very cluster takes no more exchange for the endpoints with these labels; R_NONE: it does."""
        if labels and not selection.parts:
            return R_NO_ENDPOINT
        return self.admit(urgency) if self.gated else R_NONE

    cdef int admit(self, int urgency) noexcept:
        """May one more exchange go here? R_NONE, or the Reason why not. urgency: 0 high, 1 normal, 2 low."""
        cdef uint64_t most
        if not self.selection.parts:
            return R_NO_ENDPOINT
        if self.max_requests and self.all_active() >= self.max_requests:
            self.stats.shed += 1
            return R_OVERFLOW
        if self.limiter is not None:
            most = self.limiter.limit
            if urgency > self.highest:
                most -= most * SHED_EARLIER * (urgency - self.highest) // 100
            if self.active >= most:
                self.stats.shed += 1
                return R_OVERLOAD
        if self.breaker is not None and not self.breaker.admit(None, self.now()):
            self.stats.broken += 1
            return R_BREAKER_OPEN
        return R_NONE

    cdef Endpoint pick(self, Selection selection, uint64_t key, list tried):
        """Bounded effort to find one that is available, was not tried, and has room for a connection; else the first
        one found that was not tried; else any. None: there is none at all."""
        cdef Endpoint first = None
        cdef Endpoint endpoint
        cdef int attempt
        if key == 0 and selection.only is None:
            key = self._random()
        for attempt in range(PICK_EFFORT):
            endpoint = selection.pick(key, attempt)
            if endpoint is None:
                return None
            if not endpoint.available or (tried is not None and endpoint in tried):
                continue
            if first is None:
                first = endpoint
            if (endpoint.pool is None or endpoint.pool.has_room()) and self.may_take(endpoint):
                if selection.panic:
                    self.stats.panic_picks += 1
                self.stats.cross_zone += endpoint.foreign
                return endpoint
        return first if first is not None and not first.on_probation else self._look(selection, key, tried)

    cdef Endpoint pick_again(self, Selection selection, uint64_t key, list tried, RetryPolicy policy, int cause):
        """Where to go with one more attempt, which is paid for and counted then; None: there is to be none."""
        cdef Endpoint endpoint = self.pick(selection, key, tried)
        if endpoint is None:
            return None
        if policy.base_ms == 0 and endpoint in tried:       # at once, only elsewhere
            self.spare(endpoint)
            return None
        # what reached nobody loads nobody: it is not for the budget
        if cause >= RETRY_RESET and self.budget is not None and not self.budget.withdraw(self.now()):
            self.spare(endpoint)
            self.stats.retries_denied += 1
            return None
        self.stats.retries[cause] += 1
        return endpoint

    cdef Endpoint _look(self, Selection selection, uint64_t key, list tried):
        """The balancer's favourites will not do: look at some of the others."""
        cdef Balancer part
        cdef Endpoint endpoint
        cdef Endpoint any_one = None
        cdef uint64_t start
        cdef int i
        for part in selection.parts:
            start = self._random()
            for i in range(min(LOOK_EFFORT, <int> len(part.endpoints))):
                endpoint = <Endpoint> part.endpoints[(start + i) % len(part.endpoints)]
                if self._is_last_resort(endpoint):
                    any_one = endpoint
                if endpoint.available and (tried is None or endpoint not in tried) and self.may_take(endpoint):
                    return endpoint
        return any_one

    cdef bint _is_last_resort(self, Endpoint endpoint) noexcept:
        """May it serve when there is no better one? What only passive checks hold back, may: better than nobody."""
        return (self.breaker is None
                or not (self.breaker.tries(endpoint) or self.breaker.holds_back(endpoint, self.now())))

    cdef bint may_take(self, Endpoint endpoint) noexcept:
        """One on probation takes single exchanges."""
        if not endpoint.on_probation:
            return True
        if self.passive is not None and self.passive.tries(endpoint) and not self.passive.admit(endpoint, self.now()):
            return False
        if self.breaker is None or not self.breaker.tries(endpoint) or self.breaker.admit(endpoint, self.now()):
            return True
        if self.passive is not None and not self.rehearsing:
            self.passive.on_outcome(endpoint, OUTCOME_NONE, 0, self.now())
        return False

    cdef void spare(self, Endpoint endpoint) noexcept:
        """It was picked, but nothing goes there after all: if that was to be a try, it is still to be made."""
        if not endpoint.on_probation or self.rehearsing:
            return
        if self.passive is not None and self.passive.tries(endpoint):
            self.passive.on_outcome(endpoint, OUTCOME_NONE, 0, self.now())
        if self.breaker is not None and self.breaker.tries(endpoint):
            self.breaker.on_outcome(endpoint, OUTCOME_NONE, 0, self.now())

    cdef uint64_t _random(self) noexcept:
        return next_random(&self.seed)

    cdef void acquire(self, Endpoint endpoint) noexcept:
        cdef Seat seat = endpoint.seats
        self.active += 1
        self.stats.active = self.active
        endpoint.active += 1
        endpoint.stats.active += 1
        while seat is not None:
            seat.balancer.on_acquired(seat.index)
            seat = seat.next

    cdef void release(self, Endpoint endpoint) noexcept:
        cdef Seat seat = endpoint.seats
        self.active -= 1
        self.stats.active = self.active
        endpoint.active -= 1
        endpoint.stats.active -= 1
        while seat is not None:
            seat.balancer.on_released(seat.index)
            seat = seat.next

    cdef void on_outcome(self, Endpoint endpoint, int outcome, uint64_t us) noexcept:
        """How an attempt ended, once for each; us: to the first byte of the response, or until it failed."""
        cdef Seat seat = endpoint.seats
        cdef uint64_t now = self.now()
        if outcome != OUTCOME_NONE:
            if self.measures:
                endpoint.note(outcome == OUTCOME_FAILED, us, now)
            while seat is not None:
                if seat.balancer.tracks_latency:
                    seat.balancer.on_response(seat.index, us, outcome == OUTCOME_FAILED)
                seat = seat.next
            if self.limiter is not None:
                self.limiter.on_sample(us, self.active, outcome, now)
                self.stats.limit = self.limiter.limit
        if self.passive is not None:
            self.passive.on_outcome(endpoint, outcome, us, now)
        if self.breaker is not None:
            self.breaker.on_outcome(endpoint, outcome, us, now)

    # The same calls for tests, the simulator and explain, which run outside of the engine.
    def admit_one(self, int urgency=1):
        """None when one more exchange may go here, else the reason why not."""
        cdef int reason = self.admit(urgency) if self.gated else R_NONE
        return None if reason == R_NONE else CODES[reason][0]

    def pick_one(self, uint64_t key=0, list tried=None):
        """Where an exchange would go, None: nowhere. outcome_one says how that ended."""
        return self.pick(self.selection, key, tried)

    def pick_one_again(self, str cause not None, list tried not None, uint64_t key=0):
        """One for a further attempt by the cluster's own policy, or None. cause: of CAUSES in retry.pyx."""
        return None if self.retry is None else self.pick_again(self.selection, key, tried, self.retry, CAUSES[cause])

    def acquire_one(self, Endpoint endpoint):
        self.acquire(endpoint)

    def release_one(self, Endpoint endpoint):
        self.release(endpoint)

    def outcome_one(self, Endpoint endpoint, failed, double seconds=0.0):
        """An attempt that took so long has ended; failed None: nothing was learnt. Endpoints are judged at once."""
        self.on_outcome(endpoint, OUTCOME_NONE if failed is None else OUTCOME_FAILED if failed else OUTCOME_OK,
                        <uint64_t> (seconds * 1e6))
        if self.dirty:
            self.refresh()

    @property
    def next_refresh(self):
        """Seconds on the clock of set_time when it is time to look at the endpoints again; 0 = not by itself."""
        return <double> self.own_due / 1000


cdef uint64_t _sooner(uint64_t a, uint64_t b) noexcept:
    """The earlier of two times, 0 meaning never."""
    if a == 0 or b == 0:
        return a | b
    return min(a, b)
